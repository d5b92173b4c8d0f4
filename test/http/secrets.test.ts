/** A token or a session, wherever a client puts it, stands nowhere but there; nor does a password, what gives access to TURN, or what users say to each other. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { Redis } from 'ioredis'
import { Client } from '../harness/client.ts'
import { createKey, signWith, startProvider } from '../harness/identity-provider.ts'
import { startRedisServer } from '../harness/redis-server.ts'
import { claimsOf, sign } from '../harness/token.ts'
import { ACCESS_SECRET, startTurnip } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'
import { basic, logTo, serve, upgrade } from './serve.ts'

/** What is looked for: the middle of a token is claims in base64, the end its signature. */
function traces (...tokens: string[]): string[] {
  return tokens.flatMap(token => token.split('.').slice(1)).filter(part => part.length > 8)
}

function sessionOf ({ opening }: Client): string {
  assert.ok(opening?.data.session !== undefined)
  return opening.data.session
}

/** Everything in Redis as one text. */
async function dump (url: string): Promise<string> {
  const redis = new Redis(url)
  try {
    const keys = await redis.keys('*')
    return JSON.stringify(await Promise.all(keys.map(async key => [key, await redis.type(key) === 'hash' ? await redis.hgetall(key) : await redis.dump(key)])))
  } finally {
    redis.disconnect()
  }
}

/** Everything that is said to Redis from now on: keys, values, channels and messages. */
async function monitor (t: TestContext, url: string): Promise<string[]> {
  const redis = new Redis(url)
  const monitor = await redis.monitor()
  t.after(() => {
    monitor.disconnect()
    redis.disconnect()
  })
  const said: string[] = []
  monitor.on('monitor', (_time: string, args: string[]) => { said.push(args.join(' ')) })
  return said
}

async function canary (t: TestContext, environment: string): Promise<void> {
  const passwords = { redis: 'canary-redis-password', metrics: 'canary-metrics-password', secret: `${ACCESS_SECRET}, canary-secret`, previous: `${ACCESS_SECRET}, canary-previous`, query: 'canary-api-key', turn: 'canary-turn-secret', session: `canary-session-secret, ${ACCESS_SECRET}` }
  const redis = await startRedisServer({ password: passwords.redis })
  t.after(async () => { await redis.stop() })
  const said = await monitor(t, redis.url)
  const provider = await startProvider(t)
  provider.answer = response => { response.writeHead(500).end() }
  const server = await serving(await startTurnip({
    env: {
      REDIS_URL: redis.url,
      LOG_LEVEL: 'debug',
      ENVIRONMENT: environment,
      ALLOWED_ORIGINS: 'https://app.com',
      METRICS_AUTH: 'basic',
      METRICS_USERNAME: 'prometheus',
      METRICS_PASSWORD: passwords.metrics,
      ACCESS_SECRET: passwords.secret,
      ACCESS_SECRET_PREVIOUS: passwords.previous,
      JWT_JWKS_URL: `${provider.url}?key=${passwords.query}`,
      ICE_SERVERS: '{"urls":"turn:a.example","username":"a","credential":"canary-ice-credential"}',
      TURN_URLS: 'turn:b.example',
      TURN_SECRET: passwords.turn,
      SESSION_SECRET: passwords.session
    }
  }).catch((error: unknown) => assert.fail(String(error))))
  t.after(async () => { await server.stop() })
  const { url, wsUrl, metricsUrl = '' } = server
  const right = sign(claimsOf('canary'), { secret: passwords.secret })
  const wrong = [signWith(createKey('ES256', 'canary-key'), 'canary'), sign(claimsOf('canary', { realm: 'other' }), { secret: passwords.previous }), sign(claimsOf('canary'), { secret: 'another' }), sign(claimsOf('canary', { exp: 1 }), { secret: passwords.secret }), `${right}x`, 'canary-that-is-no-token-at-all']
  const credentials = ['prometheus:wrong-canary', `wrong:${passwords.metrics}`, `prometheus:${passwords.metrics}`].map(text => Buffer.from(text).toString('base64'))
  const secrets = [...traces(right, ...wrong), 'canary-that-is-no-token-at-all', 'wrong-canary', ...Object.values(passwords), ...credentials]
  const bodies: string[] = []
  /** What gives access to TURN: it stands in `welcome` and in the answers of this route, and nowhere else. */
  const given = ['canary-ice-credential']
  const answers: string[] = []

  for (const token of [right, ...wrong]) {
    for (const headers of [{}, { origin: 'https://evil.com' }]) answers.push(await (await fetch(`${url}/ice-servers?token=${token}`, { headers })).text())
    for (const [path, headers] of [
      [`/ws?token=${token}`, {}], ['/ws', { authorization: `Bearer ${token}` }], ['/ws', { 'sec-websocket-protocol': `turnip, bearer.${token}` }],
      [`/ws?token=${token}`, { origin: 'https://evil.com' }], [`/ws/?token=${token}`, {}], [`/nope?token=${token}`, {}], [`/nope/${token.length}?a=b&token=${token}#x`, {}],
      [`/health?token=${token}`, {}], [`/info?token=${token}`, {}], [`/ws%?token=${token}`, {}], [`/%zz?token=${token}`, {}], [`//ws?token=${token}`, {}]
    ] as Array<[string, Record<string, string>]>) {
      const opened = await upgrade(`${url}${path}`, headers)
      bodies.push(opened.body, JSON.stringify(opened.headers))
      const plain = await fetch(`${url}${path}`, { headers })
      bodies.push(await plain.text(), JSON.stringify([...plain.headers]))
      const posted = await fetch(`${url}${path}`, { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body: '{' })
      bodies.push(await posted.text())
    }
    for (const path of [`/ws?token=${token}`, `/nope?token=${token}`, `/metrics?token=${token}`, `/health?token=${token}`, `/%zz?token=${token}`]) {
      bodies.push(await (await fetch(`${metricsUrl}${path}`)).text())
      bodies.push((await upgrade(`${metricsUrl}${path}`)).body)
    }
  }

  for (const credential of credentials) {
    for (const address of [`${url}/info`, `${metricsUrl}/info`, `${metricsUrl}/metrics`]) bodies.push(await (await fetch(address, { headers: { authorization: `Basic ${credential}` } })).text())
  }

  const first = await Client.openWith(`${wsUrl}?resume=true`, ['turnip', `bearer.${right}`])
  assert.equal(first.socket.protocol, 'turnip')
  await first.join('r')
  const session = sessionOf(first)
  for (const token of [right, ...wrong]) {
    for (const path of [`/ws?token=${token}&session=${session}&seen=1`, `/ws/?session=${session}&token=${token}`, `/nope?session=${session}&token=${token}`, `/info?session=${session}`, `/%zz?session=${session}`]) {
      bodies.push(await (await fetch(`${url}${path}`, { headers: { connection: 'close' } })).text())
      if (token !== right) bodies.push((await upgrade(`${url}${path}`)).body)
    }
  }
  const forged = `${session}x`
  const stranger = await Client.openWith(`${wsUrl}?session=${forged}&seen=1`, ['turnip', `bearer.${right}`])
  const client = await Client.openWith(`${wsUrl}?session=${session}&seen=1`, ['turnip', `bearer.${right}`])
  assert.deepEqual([stranger.opening?.type, client.opening?.type, (await first.closed).code], ['welcome', 'resumed', 4409])
  await client.refused({ type: 'join', room: session, to: session })
  /** What takes over from a client: it stands in what that is told first, and nowhere else. */
  const sessions = [session, forged, ...[stranger, client].map(sessionOf)].flatMap(text => text.split('.'))
  for (const token of wrong) await client.refused({ type: 'refresh', token })
  client.send({ type: 'refresh', token: right })
  await client.next('refreshed')
  await client.refused({ type: 'refresh', token: [right] })
  await client.refused({ type: `unknown ${right}` })
  await client.refused(`no JSON ${right}`)

  const openings = [first, stranger, client].map(({ opening }) => opening)
  for (const text of [...answers, JSON.stringify(openings)]) for (const [, credential = ''] of text.matchAll(/"credential":"([^"]+)"/g)) given.push(credential)
  assert.ok(given.length >= 9, 'two in the answer to the right token, and in each opening')
  const frames = [first, stranger, client].flatMap(each => each.frames)
  const places = {
    bodies: bodies.join('\n'),
    answers: answers.join('\n'),
    frames: JSON.stringify(frames),
    otherFrames: JSON.stringify(frames.filter(({ type }) => type !== 'welcome' && type !== 'resumed')),
    metrics: await (await fetch(`${metricsUrl}/metrics`, { headers: basic('prometheus', passwords.metrics) })).text(),
    redis: `${await dump(redis.url)}\n${said.join('\n')}`
  }
  await redis.kill()
  await client.next('degraded')
  await Promise.all([stranger, client].map(each => each.close()))
  client.socket.terminate()
  await server.stop()
  const everywhere = { ...places, logs: server.logs.join('\n') }
  assert.match(everywhere.redis, /canary/, 'the member is there')
  assert.ok(said.some(line => /^HSET .*canary/i.test(line)), 'it was heard how it came there')
  assert.match(everywhere.metrics, /turnip_auth_failures_total\{[^}]*"unavailable"/)
  assert.match(everywhere.logs, /JWT_JWKS_URL cannot be fetched/)
  const leaks = Object.entries(everywhere).flatMap(([place, text]) => {
    const sought = place === 'answers' || place === 'frames' ? secrets : [...secrets, ...given, ...sessions]
    return text.split('\n').filter(line => sought.some(secret => line.includes(secret))).map(line => `${place}: ${line.slice(0, 200)}`)
  })
  assert.deepEqual(leaks, [])
  assert.doesNotMatch(everywhere.redis, /canary@example\.com/, 'no e-mail address either')
}

test('a token, and a session, is in no log line, metric, key or answer, in production', async t => { await canary(t, 'production') })
test('nor in readable logs', async t => { await canary(t, 'staging') })

/** Waits until something was logged. @returns the lines that have a secret in them, as text or as the numbers of its bytes */
async function linesWith (secret: string, logs: string[], awaited: RegExp): Promise<string[]> {
  await until(`${awaited.source} is logged`, async () => logs.some(line => awaited.test(line)))
  return logs.filter(line => line.includes(secret) || line.includes(String([...Buffer.from(secret)])))
}

test('a password that Redis refuses is in no log line', async t => {
  const redis = await startRedisServer({ password: 'right' })
  t.after(async () => { await redis.stop() })
  const logs: string[] = []
  await serve(t, { redisUrl: `redis://127.0.0.1:${redis.port}`, redisPassword: 'canary-password' }, logTo(logs))
  assert.deepEqual(await linesWith('canary-password', logs, /WRONGPASS/), [])
})

test('a session that goes on at another instance is in no log line, and not said to Redis', async t => {
  const redis = await startRedisServer()
  t.after(async () => { await redis.stop() })
  const said = await monitor(t, redis.url)
  const logs: string[] = []
  const served = [await serve(t, { redisUrl: redis.url, instanceId: 'one' }, logTo(logs)), await serve(t, { redisUrl: redis.url, instanceId: 'two' }, logTo(logs))]
  await until('both serve', async () => (await Promise.all(served.map(async ({ url }) => await fetch(`${url}/health`)))).every(({ ok }) => ok))
  const [one = '', two = ''] = served.map(({ wsUrl }) => wsUrl)
  const token = sign(claimsOf('canary'))
  const clients = [await Client.openWith(`${one}?resume=true&token=${token}`)]
  for (const [wsUrl, opening] of [[two, 'resumed'], [one, 'resumed'], [one, 'welcome']] as const) {
    const [last] = clients
    assert.ok(last !== undefined)
    const session = opening === 'resumed' ? sessionOf(last) : sessionOf(clients.at(-1) ?? last) // the first of all is spent
    const client = await Client.openWith(`${wsUrl}?token=${token}&session=${session}&seen=${last.frames.length - 1}`)
    assert.equal(client.opening?.type, opening)
    await client.fence()
    clients.unshift(client)
  }
  const sought = clients.flatMap(client => sessionOf(client).split('.'))
  assert.ok(said.some(line => /"kind":"given"/.test(line)), 'it was heard how it went there')
  assert.deepEqual([...logs, ...said].filter(line => sought.some(secret => line.includes(secret))), [])
  await Promise.all(clients.map(client => client.close()))
})

test('what members say is in no log line when Redis refuses to carry it', async t => {
  const redis = await startRedisServer()
  t.after(async () => { await redis.stop() })
  const admin = new Redis(redis.url)
  t.after(() => { admin.disconnect() })
  const logs: string[] = []
  const served = [await serve(t, { redisUrl: redis.url, instanceId: 'one' }, logTo(logs)), await serve(t, { redisUrl: redis.url, instanceId: 'two' })]
  await until('both serve', async () => (await Promise.all(served.map(async ({ url }) => await fetch(`${url}/health`)))).every(({ ok }) => ok))
  const [ana, ben] = await Promise.all(served.map(async ({ wsUrl }, i) => await Client.open(wsUrl, `canary-user-${i}`)))
  assert.ok(ana !== undefined && ben !== undefined)
  await ana.join('r')
  await ben.join('r')
  await ana.next('user_joined')

  await admin.call('ACL', 'SETUSER', 'default', 'resetchannels')
  ana.send({ type: 'data', data: 'canary-offer' })
  assert.deepEqual(await linesWith('canary-offer', logs, /NOPERM/), [])
  await admin.call('ACL', 'SETUSER', 'default', 'allchannels')
  await Promise.all([ana.close(), ben.close()])
})
