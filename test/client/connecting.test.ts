import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import WebSocket from 'ws'
import { SignalingClient, SignalingError } from '../../src/client/index.ts'
import { startTcpProxy } from '../harness/tcp-proxy.ts'
import { claimsOf, sign, tokenFor } from '../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'
import { clientFor } from './recorded.ts'
import { ScriptedServer } from './scripted-server.ts'

/** A port of this machine at which nobody listens. */
async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

await suite('connecting to a server', { concurrency: true }, async () => {
  let server: TurnipProcess
  before(async () => { server = await startTurnip({ env: { MAX_CONNECTIONS_PER_USER: '1', ALLOWED_ORIGINS: 'https://app.example.com' } }) })
  after(async () => { await server.stop() })

  await test('the token goes as a subprotocol, where no log keeps it; the address may be of any of the four kinds', async t => {
    const scripted = await ScriptedServer.start(t)
    const token = tokenFor('ada')
    for (const url of [scripted.url, `${scripted.url}/`, scripted.url.replace('http', 'ws'), new URL(scripted.url), `${scripted.url}?x#y`]) {
      const { client } = clientFor(t, String(url), 'ada', { token })
      const connected = client.connect()
      ;(await scripted.next()).welcome()
      await connected
      client.close()
    }
    for (const { protocols, url } of scripted.attempts) {
      assert.equal(protocols?.replaceAll(' ', ''), `turnip,bearer.${token}`)
      assert.equal(url, '/ws?resume=true')
    }
  })

  await test('a prefix of the address counts, with a slash or without; so does a wish for no session', async t => {
    const scripted = await ScriptedServer.start(t)
    for (const url of [`${scripted.url}/api/rtc`, `${scripted.url}/api/rtc/`]) void clientFor(t, url, 'ada', { resume: false }).client.connect().catch(() => {})
    await until('both came', async () => scripted.attempts.length === 2)
    assert.deepEqual(scripted.attempts.map(({ url }) => url), ['/api/rtc/ws', '/api/rtc/ws'])
  })

  await test('connect resolves when it is open, at once when it is already, for everybody who waits', async t => {
    const { client } = clientFor(t, server.url, 'one')
    await Promise.all([client.connect(), client.connect(), client.join('r')])
    await client.connect()
    assert.equal(client.state, 'open')
    assert.equal(client.cause, 'Connected')
    assert.notEqual(client.connectionId, '')
  })

  await test('a token that opens nothing: connect rejects with the reason of the server, and it is closed', async t => {
    const cases = {
      token_expired: sign(claimsOf('x', { exp: 1000 })),
      invalid_token: sign(claimsOf('x'), { secret: 'another one, which is long enough as well' }),
      realm_mismatch: tokenFor('x', { realm: 'another' }),
      parse_error: 'no-token'
    }
    for (const [code, token] of Object.entries(cases)) {
      const recorded = clientFor(t, server.url, 'x', { token })
      await assert.rejects(recorded.client.connect(), (error: unknown) => error instanceof SignalingError && error.code === code && error.status === 401)
      const { state, cause, error } = await recorded.state('closed')
      assert.equal(error?.code, code)
      assert.equal(recorded.client.state, state)
      assert.equal(recorded.client.cause, cause)
      assert.equal(cause, error.message)
    }
    const refused = clientFor(t, server.url, 'x', { token: cases.realm_mismatch })
    await assert.rejects(refused.client.join('r'), { code: 'realm_mismatch', request: 'join' })
  })

  await test('no token to be had: connect rejects with what the function says', async t => {
    const { client } = clientFor(t, server.url, 'x', { token: async () => { throw new Error('log in first') } })
    await assert.rejects(client.connect(), { code: 'token_failed', message: 'There is no token to connect with: log in first' })
    assert.equal(client.state, 'closed')
    for (const token of ['', 'with space', 'ümlaut']) await assert.rejects(clientFor(t, server.url, 'x', { token }).client.connect(), { name: 'SignalingError' })
  })

  await test('a function that has not noticed that its token has ended gets a second chance, and no third', async t => {
    const tokens = [sign(claimsOf('two', { exp: 1000 })), tokenFor('two')]
    const { client } = clientFor(t, server.url, 'two', { token: () => tokens.shift() ?? '' })
    await client.connect()
    const late = clientFor(t, server.url, 'x', { token: () => sign(claimsOf('x', { exp: 1000 })) })
    await assert.rejects(late.client.connect(), { code: 'token_expired' })
  })

  await test('too many connections: it waits as long as the server says, and comes in when there is room', async t => {
    const first = clientFor(t, server.url, 'crowd')
    await first.client.connect()
    const second = clientFor(t, server.url, 'crowd')
    const connected = second.client.connect()
    const { cause, retryInMs = 0, state } = await second.next('state', change => change.retryInMs !== undefined)
    assert.equal(state, 'connecting')
    assert.match(cause, /close one/)
    assert.ok(retryInMs >= 10_000, 'Retry-After is the least')
    second.client.close()
    await assert.rejects(connected, { code: 'closed' })
  })

  await test('an origin that may not connect is told so', async t => {
    class FromElsewhere extends WebSocket {
      constructor (url: string, protocols: string[]) { super(url, protocols, { origin: 'https://evil.example' }) }
    }
    const fetchFromElsewhere: typeof fetch = async (url, init) => await fetch(url, { ...init, headers: { ...init?.headers, origin: 'https://evil.example' } })
    const { client } = clientFor(t, server.url, 'x', { WebSocket: FromElsewhere, fetch: fetchFromElsewhere })
    await assert.rejects(client.connect(), { code: 'origin_forbidden', status: 403 })
  })

  await test('another server at the address: connect rejects and says what answers there', async t => {
    const scripted = await ScriptedServer.start(t)
    scripted.isOpen = false
    for (const body of ['<h1>Not found</h1>', '{"statusCode":404,"message":"Route GET:/elsewhere/ws not found","code":"not_found"}']) {
      scripted.answer = response => { response.writeHead(404).end(body) }
      const { client } = clientFor(t, `${scripted.url}/elsewhere`, 'x')
      await assert.rejects(client.connect(), error => error instanceof SignalingError && error.code === 'refused' && error.status === 404 && error.message.includes('/elsewhere/ws answers 404'), body)
    }
  })

  await test('nobody at the address: it goes on trying, and is in as soon as somebody is there', async t => {
    const nowhere = await freePort()
    const recorded = clientFor(t, `http://127.0.0.1:${nowhere}`, 'x')
    const joined = recorded.client.join('r')
    const { cause } = await recorded.next('state', ({ retryInMs }) => retryInMs !== undefined)
    assert.equal(cause, `127.0.0.1:${nowhere} does not answer`)
    const late = await startTurnip({ env: { PORT: String(nowhere) } })
    t.after(async () => { await late.stop() })
    await joined
    assert.equal(recorded.client.state, 'open')
    assert.deepEqual(recorded.all('state').filter(({ state }) => state !== 'connecting').map(({ state }) => state), ['open'])
  })

  await test('a server that starts, or drains, is asked again when it says', async t => {
    const scripted = await ScriptedServer.start(t)
    scripted.isOpen = false
    scripted.answer = response => { response.writeHead(503, { 'retry-after': '1', 'content-type': 'application/json' }).end('{"code":"starting","message":"This instance is starting"}') }
    const recorded = clientFor(t, scripted.url, 'x')
    const connected = recorded.client.connect()
    const { cause, retryInMs = 0 } = await recorded.next('state', change => change.retryInMs !== undefined)
    assert.equal(cause, 'This instance is starting')
    assert.ok(retryInMs >= 1000 && retryInMs <= 1300, String(retryInMs))
    scripted.isOpen = true
    ;(await scripted.next()).welcome()
    await connected
    const [first, second] = scripted.attempts
    assert.ok(first !== undefined && second !== undefined && second.at - first.at >= 990)
  })

  await test('an upgrade that does not get through, though the server would let it in, is told as that', async t => {
    const scripted = await ScriptedServer.start(t)
    scripted.isOpen = false
    const recorded = clientFor(t, scripted.url, 'x')
    void recorded.client.connect().catch(() => {})
    const { cause } = await recorded.next('state', change => change.retryInMs !== undefined)
    assert.match(cause, /would let this client in, but the WebSocket does not open/)
  })

  await test('a line that swallows everything ends an attempt after a while', async t => {
    const proxy = await startTcpProxy(Number(new URL(server.url).port))
    t.after(async () => { await proxy.close() })
    proxy.blackhole()
    const recorded = clientFor(t, `http://127.0.0.1:${proxy.port}`, 'hole', { connectTimeoutMs: 300 })
    const connected = recorded.client.connect()
    const { cause } = await recorded.next('state', ({ retryInMs }) => retryInMs !== undefined)
    assert.match(cause, /does not answer$/)
    await proxy.heal({ held: 'discarded' })
    await connected
  })

  await test('close while it connects rejects what waits; connect begins anew', async t => {
    const { client } = clientFor(t, server.url, 'again')
    const joined = client.join('r')
    client.close()
    assert.equal(client.state, 'closed')
    assert.equal(client.cause, 'Closed by this side')
    await assert.rejects(joined, { code: 'closed', request: 'join' })
    client.close()
    await client.join('r')
    assert.equal(client.room, 'r')
  })

  await test('close while the token is fetched: nothing is opened', async t => {
    const scripted = await ScriptedServer.start(t)
    let give: (token: string) => void = () => {}
    const { client } = clientFor(t, scripted.url, 'x', { token: async () => await new Promise<string>(resolve => { give = resolve }) })
    const connected = client.connect()
    client.close()
    await assert.rejects(connected, { code: 'closed' })
    give(tokenFor('x'))
    const other = clientFor(t, scripted.url, 'y').client.connect()
    ;(await scripted.next()).welcome()
    await other
    assert.equal(scripted.attempts.length, 1)
  })

  await test('without a WebSocket or a place to connect to, there is no client', () => {
    assert.throws(() => new SignalingClient({ token: 'x', WebSocket }), /tell where the server is/)
    assert.throws(() => new SignalingClient({ url: 'no url', token: 'x', WebSocket }), TypeError)
  })

  // Node 20 has a global WebSocket when it is asked for; with Node 22 and newer it is there anyway.
  await test("Node's own WebSocket serves as well as that of ws", async () => {
    const program = `
      import { SignalingClient } from ${JSON.stringify(new URL('../../src/client/index.ts', import.meta.url).href)}
      const client = new SignalingClient({ url: ${JSON.stringify(server.url)}, token: ${JSON.stringify(tokenFor('global'))} })
      await client.join('r')
      await client.leave()
      client.close()
      const refused = new SignalingClient({ url: ${JSON.stringify(server.url)}, token: 'x' })
      console.log(await refused.connect().catch(error => error.code))
    `
    const { stdout } = await promisify(execFile)(process.execPath, ['--no-warnings', '--experimental-websocket', '--import', import.meta.resolve('tsx'), '--input-type=module', '-e', program], { cwd: fileURLToPath(new URL('../../', import.meta.url)), timeout: 30_000 })
    assert.equal(stdout, 'parse_error\n')
  })
})
