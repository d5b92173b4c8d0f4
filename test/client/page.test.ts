/** What the browser tells a page, told here by a page that is none: real ones are in test/browser. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { clientFor, type Recorded } from './recorded.ts'
import { ScriptedServer, type Scripted } from './scripted-server.ts'

class FakeDocument extends EventTarget { hidden = false }

/** Makes this process look like a page. */
function page (t: TestContext): { tell: (event: string, more?: object) => void, document: FakeDocument, listening: () => number } {
  const target = new EventTarget()
  const document = new FakeDocument()
  let listening = 0
  const define = (name: string, value: unknown): void => { Object.defineProperty(globalThis, name, { value, configurable: true, writable: true }) }
  define('document', document)
  define('addEventListener', (type: string, listener: () => void, options: { signal: AbortSignal }) => {
    listening++
    options.signal.addEventListener('abort', () => { listening-- })
    target.addEventListener(type, listener, options)
  })
  t.after(() => { for (const name of ['document', 'addEventListener']) Reflect.deleteProperty(globalThis, name) })
  const tell = (type: string, more: object = {}): void => { target.dispatchEvent(Object.assign(new Event(type), more)) }
  return { tell, document, listening: () => listening }
}

async function inRoom (t: TestContext, options = {}): Promise<{ server: ScriptedServer, ada: Recorded, line: Scripted }> {
  const server = await ScriptedServer.start(t)
  const ada = clientFor(t, server.url, 'ada', { backoffMs: 60_000, maxBackoffMs: 60_000, ...options })
  const joined = ada.client.join('tea')
  const line = await server.next()
  line.welcome({ session: 's1', resume_window_ms: 10_000 })
  await line.letIn()
  await joined
  return { server, ada, line }
}

test('online, or looked at again: it comes back at once, not when it had meant to', async t => {
  const { tell, document } = page(t)
  const { server, ada, line } = await inRoom(t)
  t.mock.method(Math, 'random', () => 1)
  line.terminate()
  assert.equal((await ada.state('reconnecting')).retryInMs, 60_000)
  tell('online')
  const second = await server.next()
  second.terminate() // before it has said anything
  assert.equal((await ada.state('reconnecting')).retryInMs, 60_000)
  document.hidden = true
  document.dispatchEvent(new Event('visibilitychange'))
  document.hidden = false
  document.dispatchEvent(new Event('visibilitychange'))
  const third = await server.next()
  assert.equal(server.attempts.length, 3)
  third.welcome()
  await third.letIn()
})

test('online does not come before the time that the server has asked for', async t => {
  const { tell } = page(t)
  const { server, ada, line } = await inRoom(t, { backoffMs: 1 })
  line.send({ type: 'goaway', data: { reason: 'restart', reconnect_after_ms: 300 } })
  const since = performance.now()
  line.close(1012)
  await ada.state('reconnecting')
  tell('online')
  await server.next()
  assert.ok(performance.now() - since >= 300)
})

test('online or looked at with an open connection: a ping shows whether it still is one', async t => {
  const { tell, document } = page(t)
  const { server, ada, line } = await inRoom(t)
  tell('online')
  await line.next('ping')
  line.send({ type: 'pong' })
  await ada.replies('pong', 1)
  document.dispatchEvent(new Event('visibilitychange'))
  await line.next('ping') // and no answer
  assert.equal((await ada.state('reconnecting')).cause, 'The server has gone silent')
  tell('online')
  assert.equal((await server.next()).query.get('session'), 's1')
})

test('offline: no attempt before it is online again, or a long time has passed', async t => {
  const { tell } = page(t)
  const { server, ada, line } = await inRoom(t, { backoffMs: 1, maxBackoffMs: 60_000 })
  tell('offline')
  line.terminate()
  assert.equal((await ada.state('reconnecting')).retryInMs, 60_000)
  server.isOpen = false
  tell('online')
  const { retryInMs = 60_000 } = await ada.state('reconnecting')
  assert.ok(retryInMs < 2, 'from now on as ever')
})

test('a page that is put aside leaves, and is back in its room when it is shown again', async t => {
  const { tell, listening } = page(t)
  const { server, ada, line } = await inRoom(t)
  tell('pagehide')
  assert.equal(await line.closed, 1000)
  assert.equal((await ada.state('reconnecting')).cause, 'The page was put aside')
  tell('pageshow', { persisted: false })
  assert.equal(server.attempts.length, 1)
  tell('pageshow', { persisted: true })
  const back = await server.next()
  assert.equal(back.query.get('session'), null, 'it had said that it leaves')
  back.welcome()
  await back.letIn()
  await ada.state('open')
  assert.notEqual(listening(), 0)
  ada.client.close()
  assert.equal(listening(), 0, 'nothing is left behind')
})

test('a connection that is closed for good listens to the page no more', async t => {
  const { listening } = page(t)
  const { ada, line } = await inRoom(t)
  line.close(4403)
  await ada.state('closed')
  assert.equal(listening(), 0)
})

test('without an address, the server is where the page comes from', async t => {
  page(t)
  const server = await ScriptedServer.start(t)
  Object.defineProperty(globalThis, 'location', { value: new URL(`${server.url}/rtc/index.html?room=tea#x`), configurable: true })
  t.after(() => { Reflect.deleteProperty(globalThis, 'location') })
  for (const url of [undefined, '/other', 'deeper/']) {
    const { client } = clientFor(t, '', 'ada', { url, resume: false } as object)
    void client.connect().catch(() => {})
    await server.next()
  }
  assert.deepEqual(server.attempts.map(({ url }) => url), ['/rtc/ws', '/other/ws', '/rtc/deeper/ws'])
})
