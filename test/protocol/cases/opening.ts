import assert from 'node:assert/strict'
import type { TokenFailure } from '../../../src/protocol/codes.ts'
import { Client, refusedUpgrade } from '../../harness/client.ts'
import { claimsOf, sign, tokenFor, type Claims } from '../../harness/token.ts'
import { ORIGIN } from '../cluster.ts'
import type { Play } from '../scene.ts'

const now = (): number => Math.floor(Date.now() / 1000)

/** Tokens of a user without some claims, or with others. */
function tokens (...claims: Claims[]): string[] {
  return claims.map(over => tokenFor('ana', over))
}

/** Tokens that open nothing, by what is wrong with them. Made when they are needed, as some hold the time. */
const badTokens: Record<Exclude<TokenFailure, 'token_missing'>, () => string[]> = {
  parse_error: () => ['nonsense', 'a.b.c', `${tokenFor('ana')}.`, 'x'.repeat(5000), tokenFor('ana', { padding: 'x'.repeat(5000) }), `${Buffer.from('{"alg":"HS256"}').toString('base64url')}.W10.x`],
  invalid_token: () => [
    sign(claimsOf('ana'), { secret: 'another secret altogether' }),
    sign(claimsOf('ana'), { header: { alg: 'none' } }).replace(/[^.]*$/, ''),
    sign(claimsOf('ana'), { header: { alg: 'RS256' } }),
    tokenFor('ana').replace(/\.[^.]*\./, `.${Buffer.from(JSON.stringify(claimsOf('ben'))).toString('base64url')}.`),
    ...tokens({ nbf: now() + 60 }, { iat: now() + 60 })
  ],
  token_expired: () => tokens({ exp: now() - 60 }, { exp: 0 }),
  unverified_user: () => tokens({ is_verified: undefined }, { is_verified: 'false' }, { is_verified: false }, { is_verified: 'TRUE' }, { is_verified: 1 }),
  realm_missing: () => tokens({ realm: undefined }, { realm: '' }),
  realm_mismatch: () => tokens({ realm: 'elsewhere' }, { realm: 'DEVELOPMENT' }, { realm: ['development'] }),
  invalid_token_type: () => tokens({ type: undefined }, { type: 'REFRESH_TOKEN' }, { type: 5 }),
  role_missing: () => tokens({ role: undefined }, { role: '' }),
  invalid_claims: () => tokens(
    { user_id: undefined }, { user_id: '' }, { user_id: 'x'.repeat(257) }, { user_id: 5 }, { user_id: undefined, sub: '' },
    { username: 5 }, { email: 5 }, { role: 5 }, { rooms: 'lobby' }, { rooms: [5] }, { rooms: ['{x}'] }, { rooms: ['a*b'] },
    { exp: undefined }, { exp: 'soon' }, { exp: 1e12 }, { nbf: 'soon' }, { iat: -1 }
  )
}

export function openingCases (play: Play): void {
  play('A token in the query opens a WebSocket', async scene => {
    const client = scene.keep(await Client.openWith(`${scene.cluster.first.wsUrl}?token=${tokenFor('ana')}`))
    assert.equal(client.socket.protocol, '')
  })

  play('A token in the Authorization header opens a WebSocket', async scene => {
    for (const scheme of ['Bearer', 'bearer']) {
      scene.keep(await Client.openWith(scene.cluster.first.wsUrl, [], { headers: { authorization: `${scheme} ${tokenFor('ana')}` } }))
    }
  })

  play('A token as a second subprotocol opens a WebSocket, which is answered with turnip alone', async scene => {
    const client = scene.keep(await Client.openWith(scene.cluster.first.wsUrl, ['turnip', `bearer.${tokenFor('ana')}`]))
    assert.equal(client.socket.protocol, 'turnip')
  })

  play('welcome says who the client is, where it is, and how often it is pinged', async scene => {
    const ana = await scene.first('ana', { username: 'Ana Ω', email: 'ana@example.com' })
    const [welcome] = ana.all('welcome')
    assert.ok(welcome !== undefined)
    assert.equal(ana.frames.indexOf(welcome), 0)
    const { connection_id, user_id, username, instance_id, ping_interval_ms } = welcome.data
    assert.match(connection_id, /^[\w-]{16,}$/)
    assert.deepEqual({ user_id, username }, { user_id: 'ana', username: 'Ana Ω' })
    const { instance_id: instance } = await (await fetch(`${scene.cluster.first.url}/info`)).json() as { instance_id: string }
    assert.equal(instance_id, instance)
    assert.ok(ping_interval_ms > 0)
    const other = await scene.first('ana')
    assert.notEqual(other.id, connection_id)
  })

  play('user_id may come as sub, and serves as username where there is none', async scene => {
    const ana = await scene.first('ignored', { user_id: undefined, sub: 'ana', username: undefined })
    assert.deepEqual(ana.info, { connection_id: ana.id, user_id: 'ana', username: 'ana' })
  })

  play('Times have five seconds of tolerance, is_verified may be a boolean, and HS384 and HS512 are accepted too', async scene => {
    await scene.first('ana', { exp: now() - 2 })
    await scene.first('ana', { nbf: now() + 3, iat: now() + 3 })
    await scene.first('ana', { is_verified: true, iat: undefined })
    for (const alg of ['HS384', 'HS512']) {
      scene.keep(await Client.openWith(`${scene.cluster.first.wsUrl}?token=${sign(claimsOf('ana'), { alg })}`))
    }
  })

  play('Without a token both the upgrade and GET /ws answer 401 with the code token_missing', async ({ cluster: { first: { url, wsUrl } } }) => {
    const upgrade = await refusedUpgrade(wsUrl)
    assert.equal(upgrade.status, 401)
    assertRefusal(upgrade.body, 401, 'Unauthorized', 'token_missing')
    const get = await fetch(`${url}/ws`)
    assert.equal(get.status, 401)
    assert.deepEqual(await get.json(), upgrade.body)
    assert.equal((await refusedUpgrade(`${wsUrl}?token=`)).status, 401)
  })

  for (const [code, make] of Object.entries(badTokens)) {
    play(`A token that fails with ${code} opens no WebSocket; the upgrade and GET /ws say so alike`, async ({ cluster: { first: { url, wsUrl } } }) => {
      for (const token of make()) {
        const upgrade = await refusedUpgrade(wsUrl, [], { headers: { authorization: `Bearer ${token}` } })
        const claims = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()
        assert.equal(upgrade.status, 401, claims)
        assertRefusal(upgrade.body, 401, 'Unauthorized', code, claims)
        const get = await fetch(`${url}/ws?token=${token}`)
        assert.equal(get.status, 401, claims)
        assert.match(get.headers.get('content-type') ?? '', /^application\/json/)
        assert.deepEqual(await get.json(), upgrade.body, claims)
      }
    })
  }

  play('A refused token is repeated nowhere in the answer', async ({ cluster: { first: { url } } }) => {
    const token = tokenFor('ana', { realm: 'elsewhere' })
    const text = await (await fetch(`${url}/ws?token=${token}`)).text()
    assert.ok(!text.includes(token) && !text.includes('elsewhere'), text)
  })

  play('GET /ws answers 426 where the upgrade would have opened', async ({ cluster: { first: { url } } }) => {
    for (const headers of [{ authorization: `Bearer ${tokenFor('ana')}` }, { 'sec-websocket-protocol': `turnip, bearer.${tokenFor('ana')}` }]) {
      const response = await fetch(`${url}/ws`, { headers })
      assert.equal(response.status, 426)
      assert.equal(response.headers.get('upgrade'), 'websocket')
      const { code } = await response.json() as { code: string }
      assert.equal(typeof code, 'string')
    }
  })

  play('Pages of a foreign origin are refused with 403, whatever their token; those of an allowed one may connect and read the answer', async scene => {
    const { url, wsUrl } = scene.cluster.first
    const foreign = 'https://evil.example.com'
    const upgrade = await refusedUpgrade(`${wsUrl}?token=${tokenFor('ana')}`, [], { origin: foreign })
    assert.equal(upgrade.status, 403)
    const { code } = upgrade.body as { code: string }
    assertRefusal(upgrade.body, 403, 'Forbidden', code)
    const get = await fetch(`${url}/ws?token=${tokenFor('ana')}`, { headers: { origin: foreign } })
    assert.equal(get.status, 403)
    assert.notEqual(get.headers.get('access-control-allow-origin'), foreign)

    scene.keep(await Client.openWith(`${wsUrl}?token=${tokenFor('ana')}`, [], { origin: ORIGIN }))
    const refused = await fetch(`${url}/ws`, { headers: { origin: ORIGIN } })
    assert.equal(refused.status, 401)
    assert.equal(refused.headers.get('access-control-allow-origin'), ORIGIN)
  })
}

function assertRefusal (body: unknown, statusCode: number, error: string, code: string, what?: string): void {
  const { message } = body as { message: unknown }
  assert.ok(typeof message === 'string' && message.length > 0, what)
  assert.deepEqual(body, { statusCode, error, message, code }, what)
}
