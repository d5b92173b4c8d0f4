import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tokenFor } from '../harness/token.ts'
import { serve, upgrade } from './serve.ts'

const ALLOWED = ['https://app.com', 'http://localhost:3000']
const FOREIGN = [
  'https://evil.com', 'null', 'https://app.com.evil', 'https://app.com.evil.com', 'https://evil.com/https://app.com', 'http://app.com', 'https://app.com:8443', 'https://sub.app.com',
  'https://app.co', 'https://app.comm', 'https://xapp.com', 'localhost:3000', 'http://localhost', 'http://localhost:30000', 'https://app.com/', '*', '', ' ', 'file://'
]

test('a page of a foreign origin is refused before the upgrade, with a right token too', async t => {
  const { wsUrl } = await serve(t, { allowedOrigins: ALLOWED })
  const url = `${wsUrl}?token=${tokenFor('a')}`
  for (const origin of FOREIGN) {
    const answer = await upgrade(url, { origin })
    assert.equal(answer.status, 403, origin)
    const { message, ...body } = JSON.parse(answer.body) as Record<string, unknown>
    assert.deepEqual(body, { statusCode: 403, error: 'Forbidden', code: 'origin_forbidden' })
    assert.equal(typeof message, 'string')
  }
})

test('a page of an origin that is named is let in, in any letter case', async t => {
  const { wsUrl } = await serve(t, { allowedOrigins: 'https://App.com, http://localhost:3000' })
  for (const origin of [...ALLOWED, 'https://APP.com']) assert.equal((await upgrade(`${wsUrl}?token=${tokenFor('a')}`, { origin })).status, 101, origin)
})

test('one that sends no Origin is no browser, and is let in', async t => {
  const { wsUrl } = await serve(t, { allowedOrigins: ALLOWED })
  assert.equal((await upgrade(`${wsUrl}?token=${tokenFor('a')}`)).status, 101)
  assert.equal((await upgrade(wsUrl)).status, 401)
})

test('without ALLOWED_ORIGINS pages of any origin are let in', async t => {
  const { wsUrl } = await serve(t)
  for (const origin of ['https://anything.example', 'null']) assert.equal((await upgrade(`${wsUrl}?token=${tokenFor('a')}`, { origin })).status, 101)
})

test('a browser may read what GET /ws says, if its origin is one of ours', async t => {
  const { url } = await serve(t, { allowedOrigins: ALLOWED })
  const [origin = ''] = ALLOWED
  const ask = async (query: string, headers: Record<string, string>): Promise<[number, string | null]> => {
    const response = await fetch(`${url}/ws${query}`, { headers })
    return [response.status, response.headers.get('access-control-allow-origin')]
  }
  assert.deepEqual(await ask('?token=x', { origin }), [401, origin])
  assert.deepEqual(await ask(`?token=${tokenFor('a')}`, { origin }), [426, origin])
  const [status, allowed] = await ask(`?token=${tokenFor('a')}`, { origin: 'https://evil.com' })
  assert.equal(status, 403)
  assert.notEqual(allowed, 'https://evil.com')
  assert.notEqual(allowed, '*')
  const varied = await fetch(`${url}/ws`, { headers: { origin } })
  assert.match(varied.headers.get('vary') ?? '', /origin/i, 'a cache must not hand one origin\'s answer to another')
})

test('with all origins allowed, a browser anywhere may read what GET /ws says', async t => {
  const { url } = await serve(t)
  const response = await fetch(`${url}/ws`, { headers: { origin: 'https://anything.example' } })
  assert.equal(response.status, 401)
  assert.equal(response.headers.get('access-control-allow-origin'), '*')
})

test('a preflight is answered, so that a page may send its token in a header', async t => {
  const { url } = await serve(t, { allowedOrigins: ALLOWED })
  const [origin = ''] = ALLOWED
  const response = await fetch(`${url}/ws`, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'GET', 'access-control-request-headers': 'authorization' } })
  assert.equal(response.status, 204)
  assert.equal(response.headers.get('access-control-allow-origin'), origin)
  assert.match(response.headers.get('access-control-allow-headers') ?? '', /authorization/i)
})
