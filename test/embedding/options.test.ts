import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import fastifyWebsocket from '@fastify/websocket'
import Fastify from 'fastify'
import turnip, { webSocketOptions, type Config, type TurnipOptions } from '../../src/app.ts'
import { settings } from '../../src/config.ts'
import { Client } from '../harness/client.ts'
import { claimsOf, sign, tokenFor } from '../harness/token.ts'
import { ACCESS_SECRET } from '../harness/turnip-process.ts'
import { getJson } from './full-host.ts'

const basics = { prefix: '/rtc', accessSecret: ACCESS_SECRET, redisUrl: 'memory:' }

/** An application that listens, with nothing but Turnip in it. */
async function start (t: TestContext, options: TurnipOptions = {}): Promise<{ config: Config, url: string, wsUrl: string }> {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(turnip, { ...basics, ...options })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  return { config: app.turnip.config, url, wsUrl: `${url.replace('http', 'ws')}/rtc/ws` }
}

/** @param options of any kind: JavaScript checks none */
async function refusal (t: TestContext, options: object): Promise<Error & { code?: string }> {
  const app = Fastify()
  t.after(() => app.close())
  try {
    await app.register(turnip, { ...basics, ...options })
  } catch (error) {
    return error as Error
  }
  throw new Error('these options were taken')
}

await test('neither the environment nor a .env in the current directory says anything', async t => {
  const { config: expected } = await start(t)

  // Values that would be taken, all other than the defaults.
  const others: Record<keyof Config, string> = {
    port: '1', publicIp: '127.0.0.9', accessSecret: 'a secret of the environment, which nobody asked for', accessSecretPrevious: 'another of its secrets, of thirty-two bytes', jwtPublicKey: '', jwtJwksUrl: 'https://id.example/keys', logLevel: 'debug', redisUrl: 'redis://127.0.0.1:1', redisPassword: 'x', redisDb: '9', instanceId: 'environment', threads: '3', environment: 'development', realm: 'environment', enableMetrics: 'false', metricsPort: '2', metricsAuth: 'basic', metricsUsername: 'x', metricsPassword: 'x', metricsBindIp: '127.0.0.9', tokenExpRequired: 'false', allowedOrigins: 'https://environment.example', trustProxy: 'true', iceServers: '', turnUrls: 'turn:environment.example', turnSecret: 'of the environment', turnTtlS: '60', maxPayloadBytes: '2048', messagesPerSecond: '7', bytesPerSecond: '7', maxRoomMembers: '1', maxConnectionsPerUser: '1', maxConnectionsPerIp: '1', authFailuresPerIp: '1', pingIntervalMs: '2000', pongTimeoutMs: '2000', sendBufferBytes: '1', authTimeoutMs: '1', redisTimeoutMs: '51', leaseMs: '501', drainTimeoutMs: '1', resumeWindowMs: '1', sessionSecret: 'a third of its secrets, of thirty-two bytes'
  }
  const variables = (Object.keys(settings) as Array<keyof Config>).map(name => [settings[name].env, others[name]] as const)
  const directory = await mkdtemp(join(tmpdir(), 'turnip-embedding-'))
  await writeFile(join(directory, '.env'), variables.map(([name, value]) => `${name}="${value}"\n`).join(''))
  const before = { cwd: process.cwd(), env: { ...process.env } }
  t.after(async () => {
    process.chdir(before.cwd)
    for (const [name] of variables) {
      delete process.env[name]
      if (before.env[name] !== undefined) process.env[name] = before.env[name]
    }
    await rm(directory, { recursive: true })
  })
  process.chdir(directory)
  const fromFile = await start(t)
  assert.deepEqual(fromFile.config, expected)
  for (const [name, value] of variables) process.env[name] = value
  const { config, url, wsUrl } = await start(t)
  assert.deepEqual(config, expected)
  assert.equal(config.realm, 'development')

  const ann = await Client.open(wsUrl, 'ann')
  const bob = await Client.open(wsUrl, 'bob')
  await ann.join('standup')
  await bob.join('standup')
  const secret = others.accessSecret
  assert.equal((await getJson(`${url}/rtc/ws?token=${sign(claimsOf('eve', { realm: 'environment' }), { secret })}`)).status, 401)
  assert.equal((await getJson(`${url}/rtc/generate-token`)).status, 404)
})

await test('options are taken as numbers, booleans and lists', async t => {
  const { config, url, wsUrl } = await start(t, {
    maxRoomMembers: 1, enableMetrics: false, tokenExpRequired: false, allowedOrigins: ['https://App.example.com', 'http://localhost:3000'], pingIntervalMs: 5000
  })
  assert.deepEqual(config.allowedOrigins, ['https://app.example.com', 'http://localhost:3000'])
  assert.equal(config.pingIntervalMs, 5000)
  assert.equal((await getJson(`${url}/rtc/metrics`)).status, 404)

  const from = async (origin: string, claims = {}): Promise<Client> => await Client.openWith(`${wsUrl}?token=${tokenFor('ann', claims)}`, [], { origin })
  await assert.rejects(from('https://evil.example'), /^Error: 403/)
  const ann = await from('https://app.example.com', { exp: undefined })
  const bob = await from('http://localhost:3000')
  await ann.join('standup')
  assert.equal((await bob.refused({ type: 'join', room: 'standup' })).code, 'room_full')
})

await test('ICE servers are taken as objects, one or many, and as JSON', async t => {
  const [stun, turn] = [{ urls: 'stun:stun.example.com' }, { urls: ['turn:turn.example.com'], username: 'ann', credential: 'hidden' }]
  const configs = await Promise.all([[stun, turn], turn, JSON.stringify([stun]), []].map(async iceServers => (await start(t, { iceServers } as TurnipOptions)).config.iceServers))
  assert.deepEqual(configs, [[stun, turn], [turn], [stun], []])
  const { config } = await start(t, { turnUrls: ['turn:a.example', 'turns:b.example:443?transport=tcp'], turnSecret: 'hidden', turnTtlS: 600 })
  assert.deepEqual(config.turnUrls, ['turn:a.example', 'turns:b.example:443?transport=tcp'])
})

await test('options are taken as the words of the environment too', async t => {
  const { config } = await start(t, { maxRoomMembers: '7', enableMetrics: 'false', allowedOrigins: 'https://a.example, https://b.example', trustProxy: 'true' })
  assert.equal(config.maxRoomMembers, 7)
  assert.equal(config.enableMetrics, false)
  assert.equal(config.trustProxy, true)
  assert.deepEqual(config.allowedOrigins, ['https://a.example', 'https://b.example'])
})

await test('an option that is absent, undefined or empty has its default', async t => {
  // From JavaScript, whatever the types say.
  const nothing = { maxRoomMembers: null, tokenExpRequired: null, sendBufferBytes: '', realm: undefined } as unknown as TurnipOptions
  const { config } = await start(t, nothing)
  assert.equal(config.maxRoomMembers, 100)
  assert.equal(config.tokenExpRequired, true)
  assert.equal(config.sendBufferBytes, 1_048_576)
  assert.equal(config.realm, 'development')
})

const wrong: Array<[object, RegExp]> = [
  [{ accessSecret: '' }, /^accessSecret is not set; it takes the secret /],
  [{ accessSecret: 'short', environment: 'production' }, /^accessSecret has a wrong value; it takes .*32 bytes/],
  [{ realm: 'no spaces' }, /^realm is "no spaces"; it takes 1 to 64 of /],
  [{ port: 70_000 }, /^port is 70000; it takes an integer from 0 to 65535$/],
  [{ pingIntervalMs: 'soon' }, /^pingIntervalMs is "soon"; it takes milliseconds /],
  [{ maxRoomMembers: 1.5 }, /^maxRoomMembers is 1\.5; it takes an integer /],
  [{ enableMetrics: 'perhaps' }, /^enableMetrics is "perhaps"; it takes true or false$/],
  [{ metricsAuth: 'digest' }, /^metricsAuth is "digest"; it takes none, basic$/],
  [{ metricsAuth: 'basic', metricsUsername: 'ann' }, /^metricsPassword is not set; /],
  [{ allowedOrigins: ['https://a.example', 'b.example'] }, /^allowedOrigins is "https:\/\/a\.example,b\.example"; it takes \* or origins /],
  [{ allowedOrigins: [] }, /^allowedOrigins is "\[\]"; it takes \* or origins /],
  [{ iceServers: [{ urls: 'turn:a.example', credential: 'hidden' }] }, /^iceServers has a wrong value; it takes JSON/],
  [{ iceServers: ['stun:a.example'] }, /^iceServers has a wrong value; it takes JSON/],
  [{ turnUrls: [], turnSecret: 'hidden' }, /^turnUrls has a wrong value; it takes turn:/],
  [{ turnUrls: ['turn:a.example'] }, /^turnSecret is not set; it takes the static-auth-secret of the servers in TURN_URLS$/],
  [{ redisUrl: 'http://:hidden@localhost' }, /^redisUrl has a wrong value; it takes redis:/]
]

for (const [options, message] of wrong) {
  await test(`the wrong option ${JSON.stringify(options)} stops the start with one line that names it`, async t => {
    const error = await refusal(t, options)
    assert.equal(error.code, 'TURNIP_ERR_SETTING')
    assert.match(error.message, message)
    assert.doesNotMatch(error.message, /\n|short|hidden/)
  })
}

await test('a wrong option stops a host that does not wait for the registration too', async t => {
  const app = Fastify()
  t.after(() => app.close())
  void app.register(turnip, { ...basics, realm: 'no spaces' })
  await assert.rejects(async () => { await app.ready() }, { code: 'TURNIP_ERR_SETTING' })
})

await test('a host’s lax @fastify/websocket stops the start and is told what is laxer', async t => {
  const start = async (options: object, more: TurnipOptions = {}): Promise<void> => {
    const app = Fastify()
    t.after(() => app.close())
    await app.register(fastifyWebsocket, options)
    await app.register(turnip, { ...basics, ...more })
  }
  const laxer = (list: string): object => ({
    code: 'TURNIP_ERR_HOST_WEBSOCKET',
    message: `The host's @fastify/websocket is laxer than Turnip's limits (${list}): register it with { options: webSocketOptions() } from turnip`
  })
  await assert.rejects(start({}), laxer('maxPayload, maxFragments, closeTimeout, handleProtocols'))
  await assert.rejects(start({ options: { ...webSocketOptions(), perMessageDeflate: true, skipUTF8Validation: true } }), laxer('perMessageDeflate, skipUTF8Validation'))
  await assert.rejects(start({ options: { ...webSocketOptions(), maxPayload: 0, maxFragments: 0, allowSynchronousEvents: false } }), laxer('maxPayload, maxFragments, allowSynchronousEvents'))
  await assert.rejects(start({ options: webSocketOptions({ maxPayloadBytes: 65_537 }) }), laxer('maxPayload'))
  await assert.rejects(start({ options: webSocketOptions() }, { maxPayloadBytes: 65_535 }), laxer('maxPayload'))
  await start({ options: webSocketOptions() })
  await start({ options: webSocketOptions({ maxPayloadBytes: 1024 }) })
  await start({ options: webSocketOptions({ maxPayloadBytes: 1_000_000 }) }, { maxPayloadBytes: 1_000_000 })
})

await test('a host’s own limit for messages holds, and what it counts of a socket is no matter', async t => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(fastifyWebsocket, { options: webSocketOptions({ maxPayloadBytes: 1024 }) })
  let bytes = 0
  app.websocketServer.on('connection', (_socket, { socket }) => {
    socket.on('data', (chunk: Buffer) => { bytes += chunk.length }).on('end', () => {}).on('close', () => {})
  })
  await app.register(turnip, basics)
  const wsUrl = (await app.listen({ port: 0, host: '127.0.0.1' })).replace('http', 'ws')
  const ann = await Client.open(`${wsUrl}/rtc/ws`, 'ann')
  for (let i = 0; i < 20; i++) {
    ann.send({ type: 'ping', id: `${i} ${'x'.repeat(100)}` })
    await ann.fence()
  }
  assert.ok(bytes > 20 * 100, `${bytes} bytes were counted`)
  const closed = ann.closed
  ann.send({ type: 'ping', id: 'x'.repeat(1100) })
  assert.equal((await closed).code, 1009)
})

await test('no token comes into the log of a host that logs every request', async t => {
  const lines: string[] = []
  const app = Fastify({ logger: { level: 'trace', stream: { write: line => { lines.push(line) } } } })
  t.after(() => app.close())
  await app.register(turnip, { ...basics, authFailuresPerIp: 0 })
  app.get('/own', async () => 'own')
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const wsUrl = `${url.replace('http', 'ws')}/rtc`
  const tokens = [tokenFor('ann'), tokenFor('eve', { realm: 'other' }), sign(claimsOf('eve'), { secret: 'not ours' }), 'no.token.at-all']

  const ann = await Client.open(`${wsUrl}/ws`, 'ann')
  for (const token of tokens) {
    for (const path of ['ws', 'health', 'health/live', 'info', 'metrics']) {
      await (await fetch(`${url}/rtc/${path}?token=${token}`)).arrayBuffer()
      await (await fetch(`${url}/rtc/${path}`, { headers: { authorization: `Bearer ${token}` } })).arrayBuffer()
    }
    for (const path of ['health', 'metrics', 'info']) await assert.rejects(Client.openWith(`${wsUrl}/${path}?token=${token}`), /^Error: 404/)
    if (token !== tokens[0]) {
      await assert.rejects(Client.openWith(`${wsUrl}/ws?token=${token}`), /^Error: 401/)
      await assert.rejects(Client.openWith(`${wsUrl}/ws`, ['turnip', `bearer.${token}`]), /^Error: 401/)
    }
    ann.send({ type: 'refresh', token })
    await ann.fence()
  }
  const bob = await Client.openWith(`${wsUrl}/ws`, ['turnip', `bearer.${tokenFor('bob')}`])
  await (await fetch(`${url}/own?plain=yes`)).arrayBuffer()
  await Promise.all([ann.close(), bob.close()])
  await app.close()

  const log = lines.join('')
  assert.match(log, /"path":"\/rtc\/ws"/)
  assert.match(log, /"url":"\/own\?plain=yes"/) // the host's own routes are logged as before
  for (const token of [...tokens, tokenFor('bob')]) {
    const signature = token.slice(token.lastIndexOf('.') + 1)
    assert.equal(lines.find(line => line.includes(token) || line.includes(signature)), undefined)
  }
  assert.doesNotMatch(log, /eyJ|token=/)
})
