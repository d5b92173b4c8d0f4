import assert from 'node:assert/strict'
import { createHmac, createSign, generateKeyPairSync } from 'node:crypto'
import { after, before, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import turnip from '../../src/app.ts'
import { tokenFailures } from '../../src/protocol/codes.ts'
import { claimsOf, sign, tokenFor, type Claims } from '../harness/token.ts'
import { ACCESS_SECRET } from '../harness/turnip-process.ts'
import { serve, upgrade } from './serve.ts'

let app: FastifyInstance
before(async () => {
  app = Fastify()
  await app.register(turnip, { accessSecret: ACCESS_SECRET, redisUrl: 'memory:', authFailuresPerIp: 0 })
})
after(async () => { await app.close() })

const OPENS = 'opens'

/** What a token gets at GET /ws: `opens`, or the code of its refusal. */
async function verdict (token: string | undefined, to = app): Promise<string> {
  const response = await to.inject({ url: '/ws', headers: token === undefined ? {} : { authorization: `Bearer ${token}` } })
  const body = response.json<{ statusCode: number, error: string, message: string, code: string }>()
  assert.equal(body.statusCode, response.statusCode)
  if (response.statusCode === 426) return OPENS
  assert.equal(response.statusCode, 401)
  assert.deepEqual(Object.keys(body).toSorted(), ['code', 'error', 'message', 'statusCode'])
  assert.equal(body.error, 'Unauthorized')
  assert.ok(body.code in tokenFailures, body.code)
  assert.ok(body.message.length > 0)
  if (token !== undefined && token.length > 10) assert.ok(!response.body.includes(token), 'the token is not repeated')
  return body.code
}

const claimsWith = async (over: Claims): Promise<string> => await verdict(sign(claimsOf('ann', over)))
const now = (): number => Math.floor(Date.now() / 1000)
const part = (value: unknown): string => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

test('a right token opens', async () => {
  assert.equal(await verdict(tokenFor('ann')), OPENS)
  assert.equal(await claimsWith({ is_verified: true, email: undefined, username: undefined, iat: undefined }), OPENS)
})

test('no token is token_missing', async () => {
  assert.equal(await verdict(undefined), 'token_missing')
  assert.equal(await verdict(''), 'token_missing')
  assert.equal((await app.inject({ url: '/ws?token=' })).json<{ code: string }>().code, 'token_missing')
  assert.equal((await app.inject({ url: '/ws', headers: { authorization: 'Basic YTpi' } })).json<{ code: string }>().code, 'token_missing')
  assert.equal((await app.inject({ url: '/ws', headers: { 'sec-websocket-protocol': 'turnip' } })).json<{ code: string }>().code, 'token_missing')
})

test('a token is taken from the query, the header and the second subprotocol alike', async () => {
  const token = tokenFor('ann')
  for (const request of [
    { url: `/ws?token=${token}` },
    { url: '/ws', headers: { authorization: `Bearer ${token}` } },
    { url: '/ws', headers: { authorization: `bearer  ${token}` } },
    { url: '/ws', headers: { 'sec-websocket-protocol': `turnip, bearer.${token}` } },
    { url: '/ws', headers: { 'sec-websocket-protocol': `turnip,bearer.${token}` } },
    { url: '/ws?token=', headers: { authorization: `Bearer ${token}` } },
    { url: '/ws?token=', headers: { 'sec-websocket-protocol': `turnip, bearer.${token}` } }
  ]) assert.equal((await app.inject(request)).statusCode, 426, JSON.stringify(request))
})

test('what is no JSON Web Token is parse_error', async () => {
  const token = tokenFor('ann')
  const [header = '', body = ''] = token.split('.')
  for (const text of [
    'x', 'a.b', 'a.b.c', '..', 'null', header, `${header}.${body}`, `${part('no json')}.${body}.x`, `${part([])}.${body}.x`, `${part('null')}.${body}.x`
  ]) assert.ok(['parse_error', 'invalid_token'].includes(await verdict(text)), text)
  assert.equal(await verdict('not a token'), 'parse_error')
})

test('claims that are no object open nothing, well signed as they may be', async () => {
  for (const body of ['null', '[]', '"text"', '7', 'no json', '{"user_id":"ann"']) {
    const input = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(body)}`
    const token = `${input}.${createHmac('sha256', ACCESS_SECRET).update(input).digest('base64url')}`
    assert.notEqual(await verdict(token), OPENS, body)
  }
})

test('a token of more than 4 KiB is parse_error', async () => {
  assert.equal(await claimsWith({ filler: 'x'.repeat(8192) }), 'parse_error')
  assert.equal(await claimsWith({ filler: 'x'.repeat(1000) }), OPENS)
})

test('HS256, HS384 and HS512 are accepted', async () => {
  for (const alg of ['HS256', 'HS384', 'HS512']) assert.equal(await verdict(sign(claimsOf('ann'), { alg })), OPENS, alg)
})

test('a signature by another secret, one that was changed, or none, is invalid_token', async () => {
  assert.equal(await verdict(sign(claimsOf('ann'), { secret: `${ACCESS_SECRET}!` })), 'invalid_token')
  const [header = '', body = '', signature = ''] = tokenFor('ann').split('.')
  const flipped = `${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`
  for (const token of [
    `${header}.${body}.${flipped}`, `${header}.${body}.${signature.slice(0, -2)}`,
    `${header}.${part(claimsOf('root', { role: 'admin' }))}.${signature}`, `${part({ alg: 'HS512', typ: 'JWT' })}.${body}.${signature}`
  ]) assert.equal(await verdict(token), 'invalid_token', token)
  for (const token of [`${header}.${body}.`, `${header}.${body}.${signature}.x`]) assert.ok(['parse_error', 'invalid_token'].includes(await verdict(token)), token)
})

test('alg none opens nothing, however it is written', async () => {
  for (const alg of ['none', 'None', 'NONE', 'nOnE', '']) {
    const body = part(claimsOf('root', { role: 'admin' }))
    for (const signature of ['', 'x', createHmac('sha256', ACCESS_SECRET).update(`${part({ alg })}.${body}`).digest('base64url')]) {
      assert.ok(['parse_error', 'invalid_token'].includes(await verdict(`${part({ alg, typ: 'JWT' })}.${body}.${signature}`)), alg)
    }
  }
})

test('no algorithm but ours opens anything, keys of any kind at hand', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const input = `${part({ alg: 'RS256', typ: 'JWT' })}.${part(claimsOf('root'))}`
  assert.equal(await verdict(`${input}.${createSign('sha256').update(input).sign(privateKey).toString('base64url')}`), 'invalid_token')
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
  for (const alg of ['HS256', 'RS256']) {
    const confused = `${part({ alg, typ: 'JWT' })}.${part(claimsOf('root'))}`
    for (const secret of [pem, ACCESS_SECRET]) {
      if (alg === 'HS256' && secret === ACCESS_SECRET) continue
      assert.equal(await verdict(`${confused}.${createHmac('sha256', secret).update(confused).digest('base64url')}`), 'invalid_token', alg)
    }
  }
  for (const alg of ['ES256', 'PS256', 'EdDSA', 'HS1', 'HS256 ', 'hs256', 'sha256']) {
    const text = `${part({ alg, typ: 'JWT' })}.${part(claimsOf('root'))}`
    assert.notEqual(await verdict(`${text}.${createHmac('sha256', ACCESS_SECRET).update(text).digest('base64url')}`), OPENS, alg)
  }
})

test('a server whose secret is a public key does not start: everybody could sign', async t => {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const other = Fastify()
  t.after(async () => { await other.close() })
  await assert.rejects(async () => { await other.register(turnip, { accessSecret: publicKey.export({ type: 'spki', format: 'pem' }).toString(), redisUrl: 'memory:' }) }, { code: 'TURNIP_ERR_SETTING' })
})

test('a header that asks for more than we understand (crit) is refused', async () => {
  assert.notEqual(await verdict(sign(claimsOf('ann'), { header: { crit: ['b64'], b64: false } })), OPENS)
  assert.notEqual(await verdict(sign(claimsOf('ann'), { header: { crit: ['exp'] } })), OPENS)
})

test('a header that brings its own key is not listened to', async () => {
  const forged = { jwk: { kty: 'oct', k: part('mine') }, kid: '../../dev/null', jku: 'http://127.0.0.1:1/keys', x5u: 'http://127.0.0.1:1/' }
  assert.equal(await verdict(sign(claimsOf('ann'), { secret: 'mine', header: forged })), 'invalid_token')
})

test('an expired token is token_expired, with a tolerance of 5 s', async () => {
  assert.equal(await claimsWith({ exp: now() - 10 }), 'token_expired')
  assert.equal(await claimsWith({ exp: 0 }), 'token_expired')
  assert.equal(await claimsWith({ exp: now() - 2 }), OPENS)
})

test('a token without exp, or with one that is no sane time, is invalid_claims', async () => {
  for (const exp of [undefined, 1e18, 1e300, -1, String(now() + 60), '', true, {}, [now() + 60], null]) {
    assert.notEqual(await claimsWith({ exp }), OPENS, `exp ${JSON.stringify(exp)}`)
    assert.equal(await claimsWith({ exp }), 'invalid_claims', `exp ${JSON.stringify(exp)}`)
  }
  assert.equal(await claimsWith({ exp: now() + 60.5 }), OPENS)
})

test('with TOKEN_EXP_REQUIRED=false a token without exp opens, and a wrong or past one does not', async t => {
  const lax = Fastify()
  t.after(async () => { await lax.close() })
  await lax.register(turnip, { accessSecret: ACCESS_SECRET, redisUrl: 'memory:', authFailuresPerIp: 0, tokenExpRequired: false })
  assert.equal(await verdict(tokenFor('ann', { exp: undefined }), lax), OPENS)
  assert.equal(await verdict(tokenFor('ann', { exp: now() - 10 }), lax), 'token_expired')
  for (const exp of [1e18, 'never', null]) assert.equal(await verdict(tokenFor('ann', { exp }), lax), 'invalid_claims', String(exp))
})

test('nbf and iat may not be in the future by more than 5 s, nor be no time', async () => {
  for (const name of ['nbf', 'iat']) {
    assert.equal(await claimsWith({ [name]: now() + 60 }), 'invalid_token', name)
    assert.equal(await claimsWith({ [name]: now() + 3 }), OPENS, name)
    assert.equal(await claimsWith({ [name]: now() - 1000 }), OPENS, name)
    for (const value of ['soon', 1e18, -1, {}, true]) assert.equal(await claimsWith({ [name]: value }), 'invalid_claims', `${name} ${JSON.stringify(value)}`)
  }
})

test('the type must be ACCESS_TOKEN', async () => {
  for (const type of [undefined, 'REFRESH_TOKEN', 'access_token', '', null, ['ACCESS_TOKEN']]) assert.equal(await claimsWith({ type }), 'invalid_token_type', JSON.stringify(type))
})

test('the realm must be there and be ours', async () => {
  for (const realm of [undefined, '']) assert.equal(await claimsWith({ realm }), 'realm_missing')
  for (const realm of ['production', 'Development', 'development ', ['development'], 7, {}]) assert.equal(await claimsWith({ realm }), 'realm_mismatch', JSON.stringify(realm))
})

test('a token of one realm opens nothing in another', async t => {
  const shop = Fastify()
  t.after(async () => { await shop.close() })
  await shop.register(turnip, { accessSecret: ACCESS_SECRET, redisUrl: 'memory:', authFailuresPerIp: 0, realm: 'shop' })
  assert.equal(await verdict(tokenFor('ann'), shop), 'realm_mismatch')
  assert.equal(await verdict(tokenFor('ann', { realm: 'shop' }), shop), OPENS)
  assert.equal(await verdict(tokenFor('ann', { realm: 'shop' })), 'realm_mismatch')
})

test('the user must be verified', async () => {
  for (const verified of [undefined, false, 'false', 'True', 1, '1', null, {}]) assert.equal(await claimsWith({ is_verified: verified }), 'unverified_user', JSON.stringify(verified))
})

test('the role must be there and be a string', async () => {
  for (const role of [undefined, '']) assert.equal(await claimsWith({ role }), 'role_missing')
  for (const role of [7, ['admin'], {}, true]) assert.ok(['invalid_claims', 'role_missing'].includes(await claimsWith({ role })), JSON.stringify(role))
})

test('the user_id is a string of 1 to 256 characters', async () => {
  for (const id of ['', 'x'.repeat(257), 7, {}, ['ann'], true, null]) assert.equal(await claimsWith({ user_id: id }), 'invalid_claims', JSON.stringify(id))
  for (const id of ['a', 'x'.repeat(256), 'ünïcode \u{1F600}', '__proto__']) assert.equal(await claimsWith({ user_id: id }), OPENS, id)
})

test('sub serves when there is no user_id, and only then', async () => {
  assert.equal(await claimsWith({ user_id: undefined, username: undefined, sub: 'ann' }), OPENS)
  assert.equal(await claimsWith({ user_id: '', sub: 'ann' }), 'invalid_claims')
  for (const sub of [undefined, {}, ['ann'], '', 7, 'x'.repeat(257)]) {
    assert.equal(await claimsWith({ user_id: undefined, sub }), 'invalid_claims', JSON.stringify(sub))
  }
})

test('username and email are strings where they are there', async () => {
  for (const value of [7, {}, ['x'], true]) {
    assert.equal(await claimsWith({ username: value }), 'invalid_claims')
    assert.equal(await claimsWith({ email: value }), 'invalid_claims')
  }
})

test('rooms is a list of room names, with a wildcard at the end of one at most', async () => {
  for (const rooms of [[], ['r'], ['team-*'], ['*'], ['a', 'b:c', 'd@e.f_g-*']]) assert.equal(await claimsWith({ rooms }), OPENS, JSON.stringify(rooms))
  for (const rooms of ['r', {}, 7, true, null, [7], [null], [''], ['a b'], ['*a'], ['a*b'], ['**'], ['{r}'], ['x'.repeat(129)], [['r']], Array.from({ length: 300 }, () => 'r')]) {
    assert.equal(await claimsWith({ rooms }), 'invalid_claims', JSON.stringify(rooms))
  }
})

test('over a real socket a hostile token gets 401 and its code before any 101, from each of the three places', async t => {
  const { wsUrl } = await serve(t)
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const none = `${part({ alg: 'none', typ: 'JWT' })}.${part(claimsOf('root', { role: 'admin' }))}`
  const signed = `${part({ alg: 'RS256', typ: 'JWT' })}.${part(claimsOf('root'))}`
  const hostile: Array<[what: string, code: string, token: string]> = [
    ['alg none', 'invalid_token', `${none}.`],
    ['alg none with a signature', 'invalid_token', `${none}.${tokenFor('ann').split('.')[2]}`],
    ['RS256', 'invalid_token', `${signed}.${createSign('sha256').update(signed).sign(privateKey).toString('base64url')}`],
    ['a public key as the secret', 'invalid_token', sign(claimsOf('root'), { secret: pem })],
    ['no exp', 'invalid_claims', tokenFor('ann', { exp: undefined })],
    ['exp 1e18', 'invalid_claims', tokenFor('ann', { exp: 1e18 })],
    ['an object as sub', 'invalid_claims', tokenFor('ann', { user_id: undefined, username: undefined, sub: { toString: 'root' } })],
    ['crit', 'invalid_token', sign(claimsOf('ann'), { header: { crit: ['b64'], b64: false } })],
    ['crit that is no list', 'invalid_token', sign(claimsOf('ann'), { header: { crit: 'exp' } })],
    ['nbf', 'invalid_token', tokenFor('ann', { nbf: now() + 60 })],
    ['8 KiB', 'parse_error', tokenFor('ann', { filler: 'x'.repeat(6000) })],
    ['8 KiB of dots', 'parse_error', '.'.repeat(8192)],
    ['a JWE', 'parse_error', `${part({ alg: 'dir', enc: 'A256GCM' })}..${part('iv')}.${part('text')}.${part('tag')}`],
    ['another realm', 'realm_mismatch', tokenFor('ann', { realm: 'production' })],
    ['claims of a prototype', 'invalid_token_type', sign(JSON.parse(`{"__proto__":${JSON.stringify(claimsOf('root', { type: 'ACCESS_TOKEN' }))},"exp":${now() + 60}}`) as Claims)]
  ]
  for (const [what, code, token] of hostile) {
    for (const [address, headers] of [[`${wsUrl}?token=${token}`, {}], [wsUrl, { authorization: `Bearer ${token}` }], [wsUrl, { 'sec-websocket-protocol': `turnip, bearer.${token}` }]] as const) {
      const answer = await upgrade(address, headers)
      assert.equal(`${answer.status} ${(JSON.parse(answer.body || '{}') as { code?: string }).code}`, `401 ${code}`, what)
    }
  }
  assert.equal((await upgrade(`${wsUrl}?token=${tokenFor('ann')}`)).status, 101)
})

test('every refusal of the protocol was met here', async () => {
  const met = new Set(await Promise.all([
    verdict(undefined), verdict('x y'), claimsWith({ nbf: now() + 60 }), claimsWith({ exp: 0 }), claimsWith({ is_verified: 'false' }), claimsWith({ realm: undefined }),
    claimsWith({ realm: 'x' }), claimsWith({ type: 'x' }), claimsWith({ role: '' }), claimsWith({ user_id: 7 })
  ]))
  assert.deepEqual([...met].toSorted(), Object.keys(tokenFailures).toSorted())
})
