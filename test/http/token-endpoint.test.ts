import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client } from '../harness/client.ts'
import { create, serve } from './serve.ts'

const post = async (url: string, body: unknown): Promise<Response> =>
  await fetch(`${url}/generate-token`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

test('in development, /generate-token gives a token that opens a WebSocket', async t => {
  const { url, wsUrl } = await serve(t, { environment: 'development' })
  const response = await post(url, { username: 'Ann' })
  assert.equal(response.status, 200)
  const { token, ...rest } = await response.json() as { token: string }
  assert.deepEqual(rest, {})
  const client = await Client.openWith(`${wsUrl}?token=${token}`)
  const [welcome] = client.all('welcome')
  assert.deepEqual([welcome?.data.user_id, welcome?.data.username], ['Ann', 'Ann'])
  await client.join('anything')
  await client.close()
})

test('the token says what was asked for, and ends', async t => {
  const { url, wsUrl } = await serve(t, { environment: 'development', realm: 'shop' })
  const { token } = await (await post(url, { username: 'Ann', user_id: 'u1', email: 'ann@example.com', role: 'admin', rooms: ['team-*'] })).json() as { token: string }
  const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>
  const { exp, iat, ...rest } = claims
  assert.deepEqual(rest, { user_id: 'u1', username: 'Ann', email: 'ann@example.com', role: 'admin', rooms: ['team-*'], is_verified: 'true', type: 'ACCESS_TOKEN', realm: 'shop' })
  assert.ok(Number(exp) > Number(iat))
  const client = await Client.openWith(`${wsUrl}?token=${token}`)
  await client.join('team-1')
  assert.equal((await client.refused({ type: 'join', room: 'other' })).code, 'room_forbidden')
  await client.close()
})

test('a body that is none is answered 400, and never with a token', async t => {
  const app = await create(t, { environment: 'development' })
  for (const payload of [{}, { username: '' }, { username: null }, { user_id: 'a' }, { username: 'x'.repeat(257) }, { username: 'a', rooms: { r: 1 } }, { username: 'a', role: '' }, { username: 'a', user_id: '' }, []]) {
    const response = await app.inject({ method: 'POST', url: '/generate-token', payload })
    assert.equal(response.statusCode, 400, JSON.stringify(payload))
    assert.equal(response.json<{ statusCode: number }>().statusCode, 400)
    assert.doesNotMatch(response.body, /"token"/)
  }
  const text = await app.inject({ method: 'POST', url: '/generate-token', headers: { 'content-type': 'application/json' }, payload: 'no JSON' })
  assert.equal(text.statusCode, 400)
})

test('a token that was given out opens a WebSocket: rooms that no token may name are refused at once', async t => {
  const app = await create(t, { environment: 'development' })
  for (const rooms of [['a b'], ['*a'], ['{r}'], [''], Array.from({ length: 256 }, () => 'r'.repeat(128))]) {
    const response = await app.inject({ method: 'POST', url: '/generate-token', payload: { username: 'a', rooms } })
    if (response.statusCode === 400) continue
    const { token } = response.json<{ token: string }>()
    assert.equal((await app.inject({ url: '/ws', headers: { authorization: `Bearer ${token}` } })).statusCode, 426, JSON.stringify(rooms).slice(0, 40))
  }
})

test('elsewhere there is no /generate-token and no demo page', async t => {
  for (const environment of ['', 'production', 'staging', 'Development']) {
    const app = await create(t, { environment })
    assert.equal((await app.inject({ method: 'POST', url: '/generate-token', payload: { username: 'a' } })).statusCode, 404, environment)
    assert.equal((await app.inject('/')).statusCode, 404, environment)
  }
})

test('in development, / is the demo page', async t => {
  const app = await create(t, { environment: 'development' })
  const response = await app.inject('/')
  assert.equal(response.statusCode, 200)
  assert.match(String(response.headers['content-type']), /^text\/html/)
  assert.match(response.body, /<html/i)
  for (const path of ['/../package.json', '/%2e%2e/package.json', '/..%2fpackage.json', '/.env']) {
    const other = await app.inject(path)
    assert.ok(other.statusCode >= 400, path)
    assert.doesNotMatch(other.body, /"dependencies"|ACCESS_SECRET/, path)
  }
})
