import assert from 'node:assert/strict'
import { after, before, test, type TestContext } from 'node:test'
import type { Browser } from 'playwright-core'
import { Client } from '../harness/client.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { startTcpProxy, type TcpProxy } from '../harness/tcp-proxy.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { DemoPage, NOBODY_THERE, startBrowser } from './demo-page.ts'

let redis: RedisServer
let one: TurnipProcess
let two: TurnipProcess
/** The way to instance two. */
let line: TcpProxy
let browser: Browser

// Longer than anything here takes on a busy machine: what has to be seen is that nobody leaves.
const env = { ENVIRONMENT: 'development', RESUME_WINDOW_MS: '60000', LEASE_MS: '60000' }

before(async () => {
  redis = await startRedisServer();
  [one, two, browser] = await Promise.all([startTurnip({ env: { ...env, REDIS_URL: redis.url } }), startTurnip({ env: { ...env, REDIS_URL: redis.url } }), startBrowser()])
  line = await startTcpProxy(Number(new URL(two.url).port))
})

after(async () => {
  await browser.close()
  await line.close()
  await Promise.all([one.stop(), two.stop()])
  await redis.stop()
})

/** Ada on instance one and Bob, behind the line, on instance two: in a call. */
async function callOf (t: TestContext, room: string): Promise<{ ada: DemoPage, bob: DemoPage }> {
  const ada = await DemoPage.open(t, browser, one.url)
  const bob = await DemoPage.open(t, browser, `http://127.0.0.1:${line.port}`, { expected: NOBODY_THERE })
  await ada.join({ name: 'Ada', room })
  await ada.state('in-room')
  await bob.join({ name: 'Bob', room })
  await Promise.all([ada, bob].map(async page => {
    await page.connected()
    await page.seesVideo()
  }))
  return { ada, bob }
}

/** Somebody without a browser, whose words can only come by way of the server. */
async function guest (t: TestContext, room: string): Promise<Client> {
  const client = await Client.open(one.wsUrl, 'Cleo')
  t.after(async () => { await client.close() })
  await client.join(room)
  return client
}

/** What a guest was told in chat lines so far. */
function heardBy (client: Client): unknown[] {
  return client.frames.flatMap(frame => frame.type === 'data' ? [frame.data as { type: string, text?: string }] : [])
    .filter(({ type }) => type === 'chat').map(({ text }) => text)
}

/** While Bob is away: he stays where he was, on both pages, and the two go on talking. */
async function goesOn ({ ada, bob }: { ada: DemoPage, bob: DemoPage }): Promise<void> {
  await bob.say('Can you still hear me?')
  await ada.hears('Can you still hear me?')
  await ada.say('Yes, and see you.')
  await bob.hears('Yes, and see you.')
  await Promise.all([ada, bob].map(async page => {
    await page.sees('Ada', 'Bob')
    await page.seesVideo()
  }))
}

/** Bob is back: nobody saw him leave, no call was made anew, and what the guest said and did meanwhile has come, once. */
async function isAsBefore ({ ada, bob }: { ada: DemoPage, bob: DemoPage }, cleo: Client): Promise<void> {
  await bob.state('in-room')
  await bob.page.locator('#trouble').waitFor({ state: 'hidden' })
  await bob.say('Here I am.')
  await Promise.all([ada, bob].map(async page => {
    await page.sees('Ada', 'Bob', 'Cleo')
    assert.equal(await page.page.evaluate<number>('connections.filter(connection => connection.connectionState === "connected").length'), 1)
    assert.deepEqual((await page.logged('user_left')), [])
  }))
  await ada.hears('Here I am.')
  cleo.send({ type: 'data', data: { type: 'chat', text: 'I came while you were away.' } })
  await Promise.all([ada, bob].map(async page => { await page.hears('I came while you were away.') }))
  await cleo.fence()
  assert.deepEqual(heardBy(cleo), ['Here I am.'])
}

test('the network goes off and on: the call goes on, and the page is back as if it had not been away', async t => {
  const pages = await callOf(t, 'tea')
  const { ada, bob } = pages
  // The browser itself leaves an open WebSocket alone, so the line is cut besides.
  await bob.page.context().setOffline(true)
  await line.cut()
  await bob.state('reconnecting')
  await bob.page.locator('#trouble').getByText('This device is offline. Calls go on, and the page comes back by itself.').waitFor()
  await goesOn(pages)
  const cleo = await guest(t, 'tea')
  await ada.sees('Ada', 'Bob', 'Cleo')

  await line.heal()
  await bob.page.context().setOffline(false)
  await bob.isTold('You are back in tea, and nobody saw you leave')
  await isAsBefore(pages, cleo)
})

test('a line on which nothing passes any more is found when the browser says that the network is back', async t => {
  const pages = await callOf(t, 'coffee')
  const { ada, bob } = pages
  line.blackhole()
  await bob.page.context().setOffline(true)
  await goesOn(pages)
  const cleo = await guest(t, 'coffee')
  await ada.sees('Ada', 'Bob', 'Cleo')

  await line.heal({ held: 'discarded' })
  await bob.page.context().setOffline(false)
  await bob.isTold('You are back in coffee, and nobody saw you leave')
  await isAsBefore(pages, cleo)
})

test('the instance is killed and started again: the page is back under its connection_id, and the call never ended', async t => {
  const pages = await callOf(t, 'cocoa')
  const { ada, bob } = pages
  const id = await bob.page.locator('.member').first().getAttribute('data-member')
  two.signal('SIGKILL')
  await two.exited
  await bob.state('reconnecting')
  await bob.page.locator('#trouble').getByText('does not answer. Calls go on, and the page comes back by itself.').waitFor()
  await goesOn(pages)
  const cleo = await guest(t, 'cocoa')
  await ada.sees('Ada', 'Bob', 'Cleo')

  two = await startTurnip({ env: { ...env, REDIS_URL: redis.url, PORT: new URL(two.url).port } })
  await bob.isTold('You are back in cocoa')
  assert.equal(await bob.page.locator('.member').first().getAttribute('data-member'), id)
  await isAsBefore(pages, cleo)
})

test('a page that hangs is looked for, and found again when it goes on', async t => {
  const other = await startBrowser()
  let renderers: number[] = []
  const all = (signal: NodeJS.Signals): void => {
    for (const pid of renderers) {
      try {
        process.kill(pid, signal)
      } catch {
        // one that the browser kept for a page to come, and has given up
      }
    }
  }
  t.after(async () => {
    all('SIGCONT')
    await other.close()
  })
  const ada = await DemoPage.open(t, browser, one.url)
  const bob = await DemoPage.open(t, other, one.url)
  await ada.join({ name: 'Ada', room: 'milk' })
  await ada.state('in-room')
  await bob.join({ name: 'Bob', room: 'milk' })
  await Promise.all([ada.connected(), bob.connected()])
  await ada.page.locator('.tile[data-peer] .way').getByText(/^(host|prflx) · <?\d+ ms$/).waitFor()
  await ada.page.locator('.member-way').getByText(/^connected(host|prflx) · <?\d+ ms$/).waitFor()

  const session = await other.newBrowserCDPSession()
  const { processInfo } = await session.send('SystemInfo.getProcessInfo')
  renderers = processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => id)
  all('SIGSTOP')
  await ada.page.locator('.tile[data-connection-state="reconnecting"]').waitFor()
  await ada.page.locator('.member-way').getByText('reconnecting').waitFor()
  await ada.screenshot('reconnecting-wide-light')
  await ada.sees('Ada', 'Bob')
  all('SIGCONT')
  await Promise.all([ada.connected(), bob.connected()])
  await Promise.all([ada.seesVideo(), bob.seesVideo()])
})

test('a server that has lost its store says so quietly, and that it is back', async t => {
  const store = await startRedisServer()
  const server = await startTurnip({ env: { ...env, REDIS_URL: store.url } })
  t.after(async () => {
    await server.stop()
    await store.stop()
  })
  const ada = await DemoPage.open(t, browser, server.url)
  await ada.join({ name: 'Ada', room: 'water' })
  await ada.state('in-room')
  await store.kill()
  await ada.page.locator('#degraded').getByText('The server has lost its store').waitFor()
  await ada.fits()
  const again = await startRedisServer({ port: store.port })
  t.after(async () => { await again.stop() })
  await ada.page.locator('#degraded').waitFor({ state: 'hidden' })
  await ada.state('in-room')
})
