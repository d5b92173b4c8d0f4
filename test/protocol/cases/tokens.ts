import assert from 'node:assert/strict'
import { tokenFor } from '../../harness/token.ts'
import { assertRefused, heardUntil, leaveOf, type Play } from '../scene.ts'

const now = (): number => Math.floor(Date.now() / 1000)

/** A token is accepted for 5 s after its exp: this one has two more seconds to live. */
const soon = (): number => Date.now() / 1000 - 3

export function tokenCases (play: Play): void {
  play('When its token expires, a connection is closed with 4401 and leaves its room; one that was refreshed stays', async scene => {
    const room = scene.room()
    const end = soon()
    const [ana, ben, cleo] = [await scene.first('ana', { exp: end }), await scene.second('ben', { exp: soon() }), await scene.second('cleo')]
    await scene.gather(room, ana, ben, cleo)
    const exp = now() + 3600
    ben.send({ type: 'refresh', token: tokenFor('ben', { exp }), id: 5 })
    assert.deepEqual(await ben.take(), { type: 'refreshed', data: { expires_at: exp }, id: 5 })
    assert.equal((await ana.closed).code, 4401)
    const late = Date.now() / 1000 - end - 5
    assert.ok(late > -0.1 && late < 5, `closed ${late} s after the tolerance`)
    await leaveOf(cleo, ana)
    assert.deepEqual((await heardUntil(ben, cleo)).map(frame => frame.type), ['user_left'])
  })

  play('refresh takes a token of the same user alone', async scene => {
    const room = scene.room()
    const [ana, ben] = [await scene.first('ana'), await scene.second('ben')]
    await scene.gather(room, ana, ben)
    await assertRefused(ana, { type: 'refresh', token: tokenFor('ben') }, 'identity_mismatch')
    ana.send({ type: 'data', data: 1 })
    assert.deepEqual((await ben.next('data')).from, ana.info)
  })

  play('A token that no longer opens the current room is refused, and the old one stays', async scene => {
    const [room, other] = [scene.room(), scene.room('other')]
    const ana = await scene.first('ana', { rooms: [room, other] })
    await ana.join(room)
    await assertRefused(ana, { type: 'refresh', token: tokenFor('ana', { rooms: ['elsewhere'] }) }, 'room_forbidden')
    assert.equal((await ana.join(other)).room, other)
    ana.send({ type: 'refresh', token: tokenFor('ana', { rooms: [other] }) })
    await ana.next('refreshed')
    await assertRefused(ana, { type: 'join', room }, 'room_forbidden')
  })

  play('A token that opens nothing is refused with the code that the upgrade would have given, and the old one stays', async scene => {
    const ana = await scene.first('ana')
    await ana.join(scene.room())
    const bad = {
      token_missing: '',
      parse_error: 'nonsense',
      invalid_token: `${tokenFor('ana')}x`,
      token_expired: tokenFor('ana', { exp: now() - 60 }),
      unverified_user: tokenFor('ana', { is_verified: false }),
      realm_missing: tokenFor('ana', { realm: undefined }),
      realm_mismatch: tokenFor('ana', { realm: 'elsewhere' }),
      invalid_token_type: tokenFor('ana', { type: 'REFRESH_TOKEN' }),
      role_missing: tokenFor('ana', { role: undefined }),
      invalid_claims: tokenFor('ana', { user_id: 5 })
    }
    for (const [code, token] of Object.entries(bad)) {
      const answer = await ana.refused({ type: 'refresh', token, id: code })
      assert.deepEqual({ ...answer, error: '' }, { type: 'error', error: '', code, id: code })
    }
    assert.deepEqual(await ana.fence(), [])
  })

  play('What the new token allows counts from then on; the name that the room was told stays', async scene => {
    const room = scene.room()
    const [ana, ben] = [await scene.first('ana'), await scene.second('ben')]
    await scene.gather(room, ana, ben)
    await assertRefused(ana, { type: 'watch' }, 'forbidden')
    ana.send({ type: 'refresh', token: tokenFor('ana', { role: 'admin', username: 'Another' }) })
    await ana.next('refreshed')
    ana.send({ type: 'watch' })
    await ana.next('watching')
    ana.send({ type: 'data', data: 1 })
    assert.deepEqual((await ben.next('data')).from, ana.info)
  })
}
