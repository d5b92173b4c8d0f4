import { test } from 'node:test'
import { startTurnip } from '../harness/turnip-process.ts'
import { DemoPage, SCREENSHOTS, startBrowser } from './demo-page.ts'

// Four are a lot of video for one machine: only for those who want to look at it.
const NAMES = ['Ada Lovelace', 'Charlotte-Elisabeth von und zu Hohenstein', 'Bob', 'Dé'].slice(0, SCREENSHOTS === '' ? 2 : 4)
const SIZES = { wide: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } }

test('nothing is cut off at the sides, from a phone to a desk, alone or in company', async t => {
  const turnip = await startTurnip({ env: { ENVIRONMENT: 'development' } })
  const browser = await startBrowser()
  t.after(async () => {
    await browser.close()
    await turnip.stop()
  })

  const pages: DemoPage[] = []
  const look = async (scene: string, page: DemoPage): Promise<void> => {
    for (const [size, viewport] of Object.entries(SIZES)) {
      await page.page.setViewportSize(viewport)
      await page.fits()
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.page.emulateMedia({ colorScheme })
        await page.screenshot(`${scene}-${size}-${colorScheme}`)
      }
    }
  }

  for (const name of NAMES) {
    const page = await DemoPage.open(t, browser, turnip.url)
    if (pages.length === 0) await look('lobby', page)
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
})
