import { test } from 'node:test'
import { Client } from '../harness/client.ts'
import { startTcpProxy } from '../harness/tcp-proxy.ts'
import { startTurnip } from '../harness/turnip-process.ts'
import { DemoPage, NOBODY_THERE, SCREENSHOTS, startBrowser } from './demo-page.ts'

// Four are a lot of video for one machine: only for those who want to look at it.
const NAMES = ['Ada Lovelace', 'Charlotte-Elisabeth von und zu Hohenstein', 'Bob', 'Dé'].slice(0, SCREENSHOTS === '' ? 2 : 4)
const SIZES = { wide: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } }
const LONG_ROOM = 'a-room-whose-name-is-as-long-as-the-server-takes-and-that-is-much-longer-than-any-line-of-this-page-has-space-for.really.so:1@2'
/** What the library says in the console of a room that is too large for a mesh. */
const CROWDED = /this takes an SFU/

test('nothing is cut off at the sides and all can be reached, from a phone to a desk: alone, in company, in trouble, in a crowd', async t => {
  const turnip = await startTurnip({ env: { ENVIRONMENT: 'development' } })
  const proxy = await startTcpProxy(Number(new URL(turnip.url).port))
  const browser = await startBrowser()
  t.after(async () => {
    await browser.close()
    await proxy.close()
    await turnip.stop()
  })

  const look = async (scene: string, page: DemoPage): Promise<void> => {
    for (const [size, viewport] of Object.entries(SIZES)) {
      await page.page.setViewportSize(viewport)
      await page.fits()
      await page.reachesAll()
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.page.emulateMedia({ colorScheme })
        await page.screenshot(`${scene}-${size}-${colorScheme}`)
      }
    }
  }

  const pages: DemoPage[] = []
  const url = `http://127.0.0.1:${proxy.port}`
  for (const name of NAMES) {
    const page = await DemoPage.open(t, browser, url, { expected: new RegExp(`${NOBODY_THERE.source}|${CROWDED.source}`) })
    if (pages.length === 0) {
      await look('lobby', page)
      await page.page.goto(`${url}/?room=${LONG_ROOM}`)
      await look('invitation', page)
    }
    await page.join({ name, room: 'afternoon-tea' })
    pages.push(page)
    const [first = page] = pages
    await first.sees(...NAMES.slice(0, pages.length))
    if (page === first) {
      await look('alone', first)
      continue
    }
    await first.connected(pages.length - 1)
    await first.seesVideo(pages.length - 1)
    await page.say('https://example.com/a_word_that_is_too_long_for_a_line_and_has_no_place_to_break_at')
    await first.say('Yes, and I hear you too.')
    await look(`call-of-${pages.length}`, first)
  }

  const [first] = pages
  if (first === undefined) return
  // Robots: they answer no offer.
  const crowd = await Promise.all(Array.from({ length: 8 }, async (_, index) => {
    const client = await Client.open(turnip.wsUrl, `Robot number ${index + 1}`)
    await client.join('afternoon-tea')
    return client
  }))
  t.after(async () => { await Promise.all(crowd.map(async client => { await client.close() })) })
  await first.page.locator('#crowded').getByText(`${NAMES.length + 7} others are here.`).waitFor()
  await look('crowd', first)
  await proxy.cut()
  await first.state('reconnecting')
  await look('cut-off', first)
  await proxy.heal()
  await first.state('in-room')

  await first.page.locator('.member-way').getByText('Still trying').nth(7).waitFor()
  await look('failed', first)
})
