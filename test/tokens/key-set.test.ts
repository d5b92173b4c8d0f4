/** The keys of an identity provider, against a real one over HTTP. */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { KeySet, type KeySetTimes } from '../../src/tokens/key-set.ts'
import { Refusal } from '../../src/protocol/refusal.ts'
import { createKey, jwkOf, signWith, startProvider, type SigningKey } from '../harness/identity-provider.ts'
import { until } from '../harness/until.ts'

const rsa = createKey('RS256', 'rsa')
const ec = createKey('ES256', 'ec')
const ed = createKey('EdDSA', 'ed')

/** Times that a test can wait for, ms; no refresh by itself. */
const TIMES: KeySetTimes = { refresh: 3_600_000, pause: 200, deadline: 10_000 }

interface Watched { set: KeySet, logs: string[] }

function keySet (t: TestContext, url: string, times: Partial<KeySetTimes> = {}): Watched {
  const logs: string[] = []
  const set = new KeySet(url, { info: message => { logs.push(message) }, warn: (_context, message) => { logs.push(message) } }, { ...TIMES, ...times })
  t.after(() => { set.stop() })
  return { set, logs }
}

/** `opens`, or why not. @param kids another key id than the key's */
async function verdict (set: KeySet, key: SigningKey, ...kids: unknown[]): Promise<string> {
  try {
    const verify = await set.verifier(kids.length > 0 ? kids[0] : key.kid)
    verify(signWith(key, 'ann'))
    return 'opens'
  } catch (error) {
    return error instanceof Refusal ? error.code : 'does not hold'
  }
}

test('tokens are checked with the key of their key id, and one fetch serves all of them', async t => {
  const provider = await startProvider(t, jwkOf(rsa), jwkOf(ec), jwkOf(ed))
  const { set } = keySet(t, provider.url)
  const verdicts = await Promise.all([rsa, ec, ed, rsa, ec, ed].map(async key => await verdict(set, key)))
  assert.deepEqual(new Set(verdicts), new Set(['opens']))
  assert.equal(await verdict(set, createKey('RS256', 'rsa')), 'does not hold')
  assert.equal(await verdict(set, ec, 'rsa'), 'does not hold')
  assert.equal(provider.asked, 1)
})

test('a token without a key id is checked with the only key, if there is but one', async t => {
  const provider = await startProvider(t, jwkOf(rsa, { kid: undefined }))
  assert.equal(await verdict(keySet(t, provider.url).set, rsa, undefined), 'opens')
  assert.equal(await verdict(keySet(t, provider.url).set, rsa, { toString: () => 'rsa' }), 'invalid_token')
  provider.show(jwkOf(rsa), jwkOf(ec))
  assert.equal(await verdict(keySet(t, provider.url).set, rsa, undefined), 'invalid_token')
})

test('what is no key for signatures, of a kind we do not take, too short or broken is passed over', async t => {
  const weak = createKey('RS256', 'weak', 1024)
  const other = (kid: string, { publicKey }: { publicKey: SigningKey['publicKey'] }): object => ({ ...publicKey.export({ format: 'jwk' }), kid })
  const provider = await startProvider(t, jwkOf(weak), jwkOf(rsa, { kid: 'enc', use: 'enc' }), jwkOf(rsa, { kid: 'wrap', key_ops: ['wrapKey'] }), jwkOf(rsa, { kid: 'HS', alg: 'HS256' }),
    jwkOf(rsa, { kid: 'none', alg: 'none' }), jwkOf(rsa, { kid: 'ES', alg: 'ES256' }), jwkOf(rsa, { kid: 'n', n: '!' }), jwkOf(rsa, { kid: 7 }), { kid: 'oct', kty: 'oct', k: 'c2VjcmV0', alg: 'HS256' },
    other('k1', generateKeyPairSync('ec', { namedCurve: 'secp256k1' })), other('x', generateKeyPairSync('x25519')), [], jwkOf(ed))
  const { set } = keySet(t, provider.url)
  assert.equal(await verdict(set, ed), 'opens')
  for (const kid of ['weak', 'enc', 'wrap', 'HS', 'none', 'ES', 'n', 7, 'oct', 'k1', 'x', '__proto__']) assert.equal(await verdict(set, rsa, kid), 'invalid_token', String(kid))
})

test('a flood of invented key ids makes one fetch in a while', async t => {
  const provider = await startProvider(t, jwkOf(rsa))
  const { set } = keySet(t, provider.url, { pause: 5000 })
  await set.fetch()
  const started = performance.now()
  for (let i = 0; i < 2000; i++) assert.equal(await verdict(set, rsa, `invented-${i}`), 'invalid_token')
  assert.ok(provider.asked <= 2 + (performance.now() - started) / 5000, `${provider.asked} fetches`)
  assert.equal(await verdict(set, rsa), 'opens')
})

test('a key that the provider adds opens, and one that it takes away stops to', async t => {
  const provider = await startProvider(t, jwkOf(rsa))
  const { set } = keySet(t, provider.url, { refresh: 100 })
  assert.equal(await verdict(set, rsa), 'opens')
  provider.show(jwkOf(ec))
  await until('the new key opens and the old one does not', async () => await verdict(set, ec) === 'opens' && await verdict(set, rsa) === 'invalid_token')
})

test('while the provider is away known keys go on, others are unavailable, and it heals by itself', async t => {
  const provider = await startProvider(t, jwkOf(rsa))
  const { set, logs } = keySet(t, provider.url, { refresh: 50, pause: 50 })
  assert.equal(await verdict(set, rsa), 'opens')
  await provider.close()
  await until('its absence is noticed', async () => await verdict(set, ec) === 'unavailable')
  assert.equal(await verdict(set, rsa), 'opens')
  const asked = provider.asked
  provider.answer = response => { response.writeHead(503).end() }
  await provider.listen()
  await until('it was asked several times', async () => provider.asked > asked + 2)
  assert.equal(logs.length, 1, 'said once')
  provider.show(jwkOf(rsa), jwkOf(ec))
  await until('the new key opens', async () => await verdict(set, ec) === 'opens')
  assert.deepEqual(logs.map(line => /cannot be fetched/.test(line)), [true, false])
})

test('an answer that is no key set, comes late, is too large or leads elsewhere makes tokens unavailable and takes no key away', async t => {
  const provider = await startProvider(t, jwkOf(rsa))
  const known = keySet(t, provider.url, { deadline: 1000 }).set
  await until('a key is known', async () => await verdict(known, rsa) === 'opens')
  const page = JSON.stringify({ keys: [jwkOf(rsa), jwkOf(ec)] })
  const elsewhere = await startProvider(t, jwkOf(ec))
  const answers: Record<string, (typeof provider)['answer']> = {
    'an error': response => { response.writeHead(500).end(page) },
    'no JSON': response => { response.end('<html>') },
    'no set': response => { response.end('null') },
    'no list': response => { response.end('{"keys":{}}') },
    'no key': response => { response.end('{"keys":[]}') },
    'a redirection': response => { response.writeHead(302, { location: elsewhere.url }).end() },
    'too large': response => { response.end(page + ' '.repeat(65_536)) },
    'cut short': response => { response.writeHead(200, { 'content-length': 10_000 }).write(page, () => { response.destroy() }) },
    'without an end': response => { response.write(page) },
    nothing: () => {}
  }
  for (const [name, answer] of Object.entries(answers)) {
    provider.answer = answer
    const { set } = keySet(t, provider.url, { deadline: 300 })
    const started = performance.now()
    assert.equal(await verdict(set, ec), 'unavailable', name)
    assert.ok(performance.now() - started < 3000, name)
    await known.fetch()
    assert.equal(await verdict(known, rsa), 'opens', name)
  }
  assert.equal(elsewhere.asked, 0)
})
