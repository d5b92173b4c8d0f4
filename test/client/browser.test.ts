/** The library in a real browser, on a page of another origin than the server's. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, suite, test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Browser, Page } from 'playwright-core'
import type { SignalingClient } from '../../src/client/index.ts'
import { startBrowser } from '../browser/demo-page.ts'
import { startTcpProxy } from '../harness/tcp-proxy.ts'
import { tokenFor } from '../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { clientFor } from './recorded.ts'

/** What the page has. */
interface Scope { client: SignalingClient, SignalingClient: typeof SignalingClient, heard: unknown[] }

const ENTRY = fileURLToPath(new URL('../../src/client/index.ts', import.meta.url))

await suite('in a browser', async () => {
  let server: TurnipProcess
  let pages: Server
  let browser: Browser
  let origin: string
  before(async () => {
    const { outputFiles: [library] } = await build({ entryPoints: [ENTRY], bundle: true, format: 'esm', write: false })
    pages = createServer((request, response) => {
      if (request.url === '/client.js') response.writeHead(200, { 'content-type': 'text/javascript' }).end(library?.contents)
      else response.writeHead(200, { 'content-type': 'text/html' }).end("<!doctype html><script type=module>Object.assign(window, await import('./client.js'), { heard: [] })</script>")
    }).listen(0, '127.0.0.1')
    await once(pages, 'listening')
    origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`
    server = await startTurnip({ env: { ALLOWED_ORIGINS: origin, MAX_CONNECTIONS_PER_USER: '1' } })
    browser = await startBrowser({ backForwardCache: true })
  })
  after(async () => {
    await browser.close()
    await server.stop()
    pages.close()
  })

  async function open (t: TestContext, from = origin): Promise<Page> {
    const context = await browser.newContext()
    t.after(async () => { await context.close() })
    const page = await context.newPage()
    await page.goto(from)
    await page.waitForFunction('window.SignalingClient !== undefined')
    return page
  }

  /** Makes a client in a page; what it tells of its state is in `heard`. */
  async function connect (page: Page, url: string, token: string, room: string): Promise<unknown> {
    return await page.evaluate(async ([url, token, room]) => {
      const scope = globalThis as unknown as Scope
      scope.client = new scope.SignalingClient({ url, token })
      scope.client.on('state', change => { scope.heard.push(change) })
      return await scope.client.join(room).then(() => 'joined', (error: unknown) => ({ ...(error as object), message: String((error as Error).message) }))
    }, [url, token, room] as const)
  }

  await test('it joins, though the page comes from elsewhere; who leaves the page has left the room', async t => {
    const page = await open(t)
    assert.equal(await connect(page, server.url, tokenFor('ada'), 'tea'), 'joined')
    const bob = clientFor(t, server.url, 'bob')
    assert.equal((await bob.client.join('tea')).members.size, 1)
    await page.close()
    assert.equal((await bob.next('user_left')).username, 'ada')
  })

  await test('it learns why it is refused, and when to come again', async t => {
    const page = await open(t)
    const { code, status } = await connect(page, server.url, tokenFor('ada', { realm: 'another' }), 'tea') as { code: string, status: number }
    assert.deepEqual([code, status], ['realm_mismatch', 401])
    const first = clientFor(t, server.url, 'crowd')
    await first.client.connect()
    void connect(page, server.url, tokenFor('crowd'), 'tea').catch(() => {})
    await page.waitForFunction('heard.some(({ retryInMs }) => retryInMs >= 10000)')
  })

  await test('where the browser hides why, it says that', async t => {
    const page = await open(t, origin.replace('127.0.0.1', 'localhost'))
    void connect(page, server.url, tokenFor('ada'), 'tea').catch(() => {})
    await page.waitForFunction('heard.some(({ cause }) => cause.includes("ALLOWED_ORIGINS"))')
  })

  await test('the network goes and comes: it is back in its place, and nobody saw it leave', async t => {
    const proxy = await startTcpProxy(Number(new URL(server.url).port))
    t.after(async () => { await proxy.close() })
    const bob = clientFor(t, server.url, 'bob')
    await bob.client.join('net')
    const page = await open(t)
    await connect(page, `http://127.0.0.1:${proxy.port}`, tokenFor('ada'), 'net')
    await page.context().setOffline(true)
    await proxy.cut()
    await page.waitForFunction('heard.some(({ state, retryInMs }) => state === "reconnecting" && retryInMs >= 10000)')
    await proxy.heal()
    await page.context().setOffline(false)
    await page.waitForFunction('heard.at(-1).cause === "Resumed"')
    bob.client.send('there?')
    assert.deepEqual(bob.all('user_left'), [])
  })

  await test('back from the back/forward cache it joins its room again', async t => {
    const bob = clientFor(t, server.url, 'bob')
    await bob.client.join('cache')
    const page = await open(t)
    await connect(page, server.url, tokenFor('ada'), 'cache')
    await page.goto('about:blank')
    await bob.next('user_left')
    await page.goBack({ waitUntil: 'commit' }) // no page is loaded
    await bob.next('user_joined')
    await page.waitForFunction('window.heard?.at(-1)?.cause === "Back in the room"')
  })
})
