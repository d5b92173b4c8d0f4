import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { IceServer } from '../../src/protocol/messages.ts'
import { Client } from '../harness/client.ts'
import { startRedisServer } from '../harness/redis-server.ts'
import { tokenFor } from '../harness/token.ts'
import { create, serve, type Served } from './serve.ts'

const STUN = { urls: 'stun:stun.example.com' }
const TURN = { turnUrls: ['turn:turn.example.com'], turnSecret: 'the secret of coturn', turnTtlS: 600 }

interface Answer { status: number, headers: Headers, body: { ice_servers: IceServer[], expires_at: number | null, code?: string } }

async function ask ({ url }: Pick<Served, 'url'>, query: string, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(`${url}/ice-servers${query}`, { headers })
  return { status: response.status, headers: response.headers, body: await response.json() as Answer['body'] }
}

test('welcome and GET /ice-servers give the same servers, ready for RTCPeerConnection, and the time they end', async t => {
  const served = await serve(t, { iceServers: [STUN], ...TURN })
  const before = Math.floor(Date.now() / 1000)
  const client = await Client.open(served.wsUrl, 'ada')
  const { status, headers, body } = await ask(served, '', { authorization: `Bearer ${tokenFor('ada')}` })
  assert.equal(status, 200)
  assert.equal(headers.get('cache-control'), 'no-store')
  const { expires_at: expiresAt } = body
  assert.ok(expiresAt !== null && expiresAt >= before + 600 && expiresAt <= Date.now() / 1000 + 600)
  const [welcome] = client.all('welcome')
  for (const servers of [body.ice_servers, welcome?.data.ice_servers ?? []]) {
    assert.equal(servers.length, 2)
    assert.deepEqual(servers[0], STUN)
    const { urls, username = '', credential } = servers[1] ?? {}
    assert.deepEqual(urls, TURN.turnUrls)
    assert.match(username, /^\d{10}:ada$/)
    assert.equal(typeof credential, 'string')
    assert.equal(Object.keys(servers[1] ?? {}).length, 3)
  }
  await client.close()
})

test('where nothing is set, welcome has no ice_servers and the route an empty list', async t => {
  const served = await serve(t)
  const client = await Client.open(served.wsUrl, 'ada')
  assert.ok(!('ice_servers' in (client.all('welcome')[0]?.data ?? {})))
  assert.deepEqual((await ask(served, `?token=${tokenFor('ada')}`)).body, { ice_servers: [], expires_at: null })
  await client.close()
})

test('servers without credentials of ours never end', async t => {
  const served = await serve(t, { iceServers: [STUN] })
  const client = await Client.open(served.wsUrl, 'ada')
  assert.deepEqual(client.all('welcome')[0]?.data.ice_servers, [STUN])
  assert.deepEqual((await ask(served, `?token=${tokenFor('ada')}`)).body, { ice_servers: [STUN], expires_at: null })
  await client.close()
})

test('the token is asked for as for a WebSocket, with the same refusals', async t => {
  const served = await serve(t, { ...TURN, allowedOrigins: ['https://app.com'], authFailuresPerIp: 2, maxConnectionsPerUser: 1 })
  const right = tokenFor('ada')
  for (const [query, headers, status, code] of [
    ['', {}, 401, 'token_missing'],
    [`?token=${tokenFor('ada', { exp: 1 })}`, {}, 401, 'token_expired'],
    ['?token=x', {}, 429, 'too_many_failures'],
    [`?token=${right}`, { origin: 'https://evil.com' }, 403, 'origin_forbidden']
  ] as const) {
    const answer = await ask(served, query, headers)
    assert.deepEqual([answer.status, answer.body.code], [status, code])
    assert.ok(!('ice_servers' in answer.body))
  }
  const client = await Client.open(served.wsUrl, 'ada')
  for (const headers of [{}, { origin: 'https://app.com' }]) assert.equal((await ask(served, `?token=${right}`, headers)).status, 200, 'it opens no connection, so it does not count as one')
  await client.close()
})

test('a page of an origin that is named may read it, with its token in a header', async t => {
  const origin = 'https://app.com'
  const { url } = await serve(t, { ...TURN, allowedOrigins: [origin] })
  const preflight = await fetch(`${url}/ice-servers`, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'GET', 'access-control-request-headers': 'authorization' } })
  assert.equal(preflight.status, 204)
  assert.match(preflight.headers.get('access-control-allow-headers') ?? '', /authorization/i)
  const answer = await ask({ url }, '', { origin, authorization: `Bearer ${tokenFor('ada')}` })
  assert.equal(answer.status, 200)
  assert.equal(answer.headers.get('access-control-allow-origin'), origin)
})

/** An instance that has not reached Redis: nobody is let in. */
async function starting (t: TestContext): Promise<Served> {
  const redis = await startRedisServer()
  await redis.kill()
  return await serve(t, { redisUrl: redis.url, ...TURN })
}

test('503 while the instance starts, with Retry-After', async t => {
  const answer = await ask(await starting(t), `?token=${tokenFor('ada')}`)
  assert.deepEqual([answer.status, answer.body.code, answer.headers.get('retry-after')], [503, 'starting', '1'])
})

test('neither settings nor credentials are told by /info', async t => {
  const app = await create(t, { iceServers: [{ urls: 'turn:a.example', username: 'canary-user', credential: 'canary-credential' }], ...TURN })
  const { body } = await app.inject('/info')
  assert.doesNotMatch(body, /canary|coturn|turn\.example/)
})
