/** Tokens of an identity provider: signed with a key that we know the public half of, and never with that half. */
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { connect as connectTcp } from 'node:net'
import { describe, test, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { Client } from '../harness/client.ts'
import { createKey, jwkOf, signWith, startProvider, startSecureProvider, type SigningKey } from '../harness/identity-provider.ts'
import { claimsOf, sign, tokenFor } from '../harness/token.ts'
import { ACCESS_SECRET, startTurnip } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'
import type { TurnipOptions } from '../../src/app.ts'
import { makeCertificates } from '../redis/certificates.ts'
import { create, serve, upgrade, type Served } from './serve.ts'

const rsa = createKey('RS256', 'rsa')
const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
/** For a server that has no secret of its own. */
const WITHOUT_SECRET: TurnipOptions = { accessSecret: '' }

/** What tokens get at GET /ws: `opens`, or the code of their refusal. */
async function judge (t: TestContext, options: TurnipOptions): Promise<(token: string) => Promise<string>> {
  const app = await create(t, { ...WITHOUT_SECRET, ...options })
  return async token => {
    const { statusCode, body } = await app.inject({ url: '/ws', headers: { authorization: `Bearer ${token}` } })
    return statusCode === 426 ? 'opens' : `${statusCode} ${(JSON.parse(body) as { code: string }).code}`
  }
}

/** An HMAC token whose secret is a text that everybody knows. */
function confused (secret: string, header: object = {}): string {
  return ['HS256', 'HS512'].map(alg => sign(claimsOf('root', { role: 'admin' }), { secret, alg, header })).join(' ')
}

/** The same key under another algorithm. */
const as = (key: SigningKey, alg: string): SigningKey => ({ ...key, alg })

test('a public key checks the algorithms of its kind', async t => {
  for (const alg of ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']) {
    const key = alg.startsWith('S', 1) ? alg.startsWith('E') ? createKey(alg, 'k') : as(rsa, alg) : createKey(alg, 'k')
    const verdict = await judge(t, { jwtPublicKey: key.pem })
    assert.equal(await verdict(signWith(key, 'ann')), 'opens', alg)
    assert.equal(await verdict(signWith(key, 'ann', {}, { kid: undefined })), 'opens', 'a key id says nothing here')
    assert.equal(await verdict(signWith(createKey(alg, 'k'), 'ann')), '401 invalid_token', `${alg} with another key`)
  }
  const verdict = await judge(t, { jwtPublicKey: rsa.pem.replaceAll('\n', '\\n') })
  assert.equal(await verdict(signWith(rsa, 'ann')), 'opens')
})

test('a public key is no secret, and a secret no public key: the algorithm of a token chooses nothing', async t => {
  const ec = createKey('ES256', 'ec')
  const provider = await startProvider(t, jwkOf(rsa), jwkOf(ec))
  const texts = [rsa.pem, rsa.pem.trim(), rsa.pem.replaceAll('\n', '\\n'), JSON.stringify(jwkOf(rsa)), String(rsa.publicKey.export({ format: 'jwk' }).n), '', 'undefined', 'null']
  for (const options of [{ jwtPublicKey: rsa.pem }, { jwtJwksUrl: provider.url }] as TurnipOptions[]) {
    for (const accessSecret of ['', ACCESS_SECRET]) {
      const verdict = await judge(t, { ...options, accessSecret })
      const tokens = texts.filter(text => text !== '').flatMap(text => [{}, { kid: 'rsa' }].flatMap(header => confused(text, header).split(' ')))
      for (const token of tokens) assert.equal(await verdict(token), '401 invalid_token')
      assert.equal(await verdict(tokenFor('ann')), accessSecret === '' ? '401 invalid_token' : 'opens')
      assert.equal(await verdict(signWith(rsa, 'ann')), 'opens')

      const body = part(claimsOf('root', { role: 'admin' }))
      const [, , signature = ''] = signWith(rsa, 'ann').split('.')
      for (const alg of ['none', 'None', '', 'RSA', 'HS256 ', 'hs256', 'ES256', 'EdDSA', 'PS256', null, ['RS256'], ['HS256'], { RS256: 1 }, undefined]) {
        for (const end of ['', 'x', signature, createHmac('sha256', ACCESS_SECRET).update(`${part({ alg, kid: 'rsa' })}.${body}`).digest('base64url')]) {
          assert.match(await verdict(`${part({ alg, kid: 'rsa' })}.${body}.${end}`), /^401 (parse_error|invalid_token)$/, JSON.stringify(alg))
        }
      }
      for (const token of ['..', 'x', 'a.b.c', `${part(null)}.${body}.x`, `${part([])}.${body}.x`, `${part('RS256')}.${body}.x`]) assert.match(await verdict(token), /^401 (parse_error|invalid_token)$/, token)
      const claims = { user_id: undefined, username: undefined, sub: {} }
      assert.equal(await verdict(signWith(rsa, 'ann', claims)), '401 invalid_claims', 'the claims are checked as ever')
      assert.equal(await verdict(signWith(rsa, 'ann', { exp: undefined })), '401 invalid_claims')
      assert.equal(await verdict(signWith(rsa, 'ann', { exp: 1 })), '401 token_expired')
      assert.equal(await verdict(signWith(rsa, 'ann', { realm: 'other' })), '401 realm_mismatch')
      assert.equal(await verdict(signWith(rsa, 'ann', {}, { crit: ['b64'], b64: false })), '401 invalid_token')
    }
  }
})

test('a header that brings its own key, or says where one is, is not listened to', async t => {
  const mine = createKey('RS256', 'rsa')
  const [provider, evil] = [await startProvider(t, jwkOf(rsa)), await startProvider(t, jwkOf(mine))]
  const verdict = await judge(t, { jwtJwksUrl: provider.url })
  for (const header of [{ jwk: jwkOf(mine) }, { jku: evil.url }, { x5u: evil.url }, { kid: evil.url }, { kid: '../../dev/null' }, { kid: { rsa: 1 } }]) {
    assert.equal(await verdict(signWith(mine, 'root', {}, header)), '401 invalid_token', JSON.stringify(header))
  }
  assert.equal(evil.asked, 0)
})

test('a key id that the provider shows with an algorithm is for that one alone', async t => {
  const provider = await startProvider(t, jwkOf(rsa, { alg: 'RS256' }))
  const verdict = await judge(t, { jwtJwksUrl: provider.url })
  assert.equal(await verdict(signWith(rsa, 'ann')), 'opens')
  for (const alg of ['RS512', 'PS256']) assert.equal(await verdict(signWith(as(rsa, alg), 'ann')), '401 invalid_token', alg)
})

test('during a rotation both secrets open, and only the new one signs', async t => {
  const next = 'the secret that comes after it, for tests'
  const options: TurnipOptions = { accessSecret: next, accessSecretPrevious: ACCESS_SECRET, environment: 'development' }
  const verdict = await judge(t, options)
  assert.equal(await verdict(tokenFor('ann')), 'opens')
  assert.equal(await verdict(sign(claimsOf('ann'), { secret: next })), 'opens')
  assert.equal(await verdict(sign(claimsOf('ann'), { secret: `${next}!` })), '401 invalid_token')
  assert.equal(await verdict(tokenFor('ann', { exp: 1 })), '401 token_expired')
  assert.equal(await verdict('x y'), '401 parse_error')
  const app = await create(t, options)
  const made = await app.inject({ method: 'POST', url: '/generate-token', payload: { username: 'ann' } })
  const { token } = made.json<{ token: string }>()
  assert.equal(await (await judge(t, { accessSecret: next }))(token), 'opens')
  assert.equal(await (await judge(t, { accessSecret: ACCESS_SECRET }))(token), '401 invalid_token')
})

test('a server that has no secret signs nothing', async t => {
  const app = await create(t, { ...WITHOUT_SECRET, jwtPublicKey: rsa.pem, environment: 'development' })
  assert.equal((await app.inject({ method: 'POST', url: '/generate-token', payload: { username: 'ann' } })).statusCode, 404)
})

/** TCP connections, whatever came of them. */
async function connectionsOf ({ app }: Served): Promise<number> {
  return await promisify(app.server.getConnections.bind(app.server))()
}

const codeOf = (body: string): string => (JSON.parse(body) as { code: string }).code

/** A connection under a token of the provider's. */
async function connect ({ wsUrl }: Served, key: SigningKey, user: string, over = {}): Promise<Client> {
  return await Client.openWith(`${wsUrl}?token=${signWith(key, user, over)}`, [])
}

// These wait for times of the server's own: together.
describe('a provider', { concurrency: true }, () => {
  test('while the provider is away an instance starts, answers 503 unavailable to its tokens, and lets them in when it is back', async t => {
    const provider = await startProvider(t, jwkOf(rsa))
    await provider.close()
    const instance = await startTurnip({ env: { JWT_JWKS_URL: provider.url, LOG_LEVEL: 'debug' } })
    t.after(async () => { await instance.stop() })
    const address = `${instance.wsUrl}?token=${signWith(rsa, 'ann')}`
    const refused = await upgrade(address)
    assert.equal(refused.status, 503)
    assert.equal(codeOf(refused.body), 'unavailable')
    assert.match(refused.headers['retry-after'] ?? '', /^\d+$/)
    assert.equal((await upgrade(`${instance.wsUrl}?token=${tokenFor('ann')}`)).status, 101, 'those with the secret come in')
    assert.equal((await fetch(`${instance.url}/health`)).status, 200)
    assert.match(await (await fetch(`${instance.metricsUrl}/metrics`)).text(), /turnip_auth_failures_total\{[^}]*reason="unavailable"[^}]*\} 1\n/)
    await provider.listen()
    await until('its tokens open', async () => (await upgrade(address)).status === 101)
  })

  test('a connection is refreshed under a key that is not known yet, its messages stay in order, and while the provider is away it goes on', async t => {
    const provider = await startProvider(t, jwkOf(rsa))
    const served = await serve(t, { ...WITHOUT_SECRET, jwtJwksUrl: provider.url })
    const ann = await connect(served, rsa, 'ann', { rooms: ['old'] })
    const next = createKey('ES256', 'next')
    provider.show(jwkOf(rsa), jwkOf(next))
    await until('the new key is known', async () => {
      ann.send({ type: 'refresh', token: signWith(next, 'ann', { rooms: ['new'] }) })
      ann.send({ type: 'join', room: 'new' })
      ann.send({ type: 'ping' })
      const frames: Array<{ type: string, code?: string }> = [await ann.take(), await ann.take(), await ann.take()]
      const answers = frames.map(({ type, code }) => code ?? type)
      // Each answer after the one to what was sent before it, and by the token that stood then.
      assert.ok([['refreshed', 'joined', 'pong'], ['invalid_token', 'room_forbidden', 'pong']].some(wanted => wanted.join() === answers.join()), answers.join())
      return answers[0] === 'refreshed'
    })
    assert.equal((await ann.refused({ type: 'refresh', token: signWith(next, 'bob') })).code, 'identity_mismatch')

    await provider.close()
    const third = createKey('EdDSA', 'third')
    await until('its absence is noticed', async () => (await ann.refused({ type: 'refresh', token: signWith(third, 'ann') })).code === 'unavailable')
    ann.send({ type: 'refresh', token: signWith(next, 'ann') })
    await ann.next('refreshed')
    await (await connect(served, next, 'bob')).close()
    await ann.close()
  })

  test('a provider over TLS is believed when its certificate is, and not otherwise', async t => {
    const { ca, cert, key } = await makeCertificates(t)
    const provider = await startSecureProvider(t, { cert: await readFile(cert, 'utf8'), key: await readFile(key, 'utf8') }, jwkOf(rsa))
    const [trusting, other] = await Promise.all([{ NODE_EXTRA_CA_CERTS: ca }, {}].map(async env => await startTurnip({ env: { JWT_JWKS_URL: provider.url, ACCESS_SECRET: undefined, ...env } })))
    t.after(async () => { await Promise.all([trusting?.stop(), other?.stop()]) })
    const query = `?token=${signWith(rsa, 'ann')}`
    assert.equal((await upgrade(`${trusting?.wsUrl}${query}`)).status, 101)
    const refused = await upgrade(`${other?.wsUrl}${query}`)
    assert.equal(`${refused.status} ${codeOf(refused.body)}`, '503 unavailable')
  })

  test('a client that goes away while its token waits for a key leaves nothing, and all wait for one answer', async t => {
    const provider = await startProvider(t)
    const answers: Array<() => void> = []
    provider.answer = response => { answers.push(() => { response.end(JSON.stringify({ keys: [jwkOf(rsa)] })) }) }
    const served = await serve(t, { ...WITHOUT_SECRET, jwtJwksUrl: provider.url })
    const address = `${served.wsUrl}?token=${signWith(rsa, 'ann')}`
    const gone = Array.from({ length: 20 }, () => {
      const socket = connectTcp(Number(new URL(served.url).port), '127.0.0.1')
      socket.write(`GET /ws?token=${signWith(rsa, 'gone')} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`)
      return socket
    })
    const staying = upgrade(address)
    await until('all have connected', async () => await connectionsOf(served) === 21)
    for (const socket of gone) socket.destroy()
    for (const answer of answers) answer()
    assert.equal((await staying).status, 101)
    await until('nobody is left', async () => served.app.turnip.status.info().connections === 0)
    assert.equal(provider.asked, 1)
  })
})
