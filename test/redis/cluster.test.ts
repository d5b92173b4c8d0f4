import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { startRedisCluster, type RedisCluster } from '../harness/redis-cluster.ts'
import { heardUntil, leaveOf } from '../protocol/scene.ts'
import { assertNobodyLeft, assertTalk, knows, Pair } from './pair.ts'
import { assertNothingRefused, grant } from './rights.ts'
import { gatherOn, mastersOf, roomOn, slotOfRoom } from './slots.ts'

void describe('In a Redis Cluster, with no rights but those that the README names', { concurrency: true }, () => {
  async function start (t: TestContext, { replica = false } = {}): Promise<{ cluster: RedisCluster, pair: Pair }> {
    const cluster = await startRedisCluster({ replica })
    t.after(() => cluster.stop())
    for (const { redis } of [...cluster.masters, ...cluster.replica === undefined ? [] : [cluster.replica]]) await grant(redis, 'server', 'node')
    const pair = await Pair.start(t, { REDIS_URL: cluster.url.replace('://', '://turnip:password@'), REDIS_TIMEOUT_MS: '1000' })
    return { cluster, pair }
  }

  void test('rooms on every master work; slots move with rooms, leases and inboxes in them; a master that dies takes no other rooms with it', async t => {
    const { cluster, pair } = await start(t)
    const [first, second, third] = mastersOf(cluster)
    await Promise.all([first, second, third].map(async master => { await pair.play(await roomOn(cluster, master, 'each')) }))

    const room = await roomOn(cluster, first, 'moved')
    const [ana, ben, cleo] = await pair.gather(room)
    await cluster.move(await slotOfRoom(cluster, room), second)
    const dora = await pair.joinAgain(1, 'dora', room)
    for (const member of [ana, ben, cleo]) await knows(member, dora)
    await assertTalk(ana, dora)

    await gatherOn(cluster, first)
    const eve = await pair.joinAgain(0, 'eve', room)
    for (const member of [ana, ben, cleo, dora]) await knows(member, eve)
    await assertTalk(eve, dora)
    assertNobodyLeft(ana, ben, cleo, dora, eve)
    for (const { redis } of cluster.masters) await assertNothingRefused(redis)

    const lost = await roomOn(cluster, third, 'lost')
    const kept = await roomOn(cluster, first, 'kept')
    const [lara, , lena] = await pair.gather(lost)
    await third.server.kill()
    const stranger = await pair.enter(1, 'stranger')
    assert.equal((await stranger.refused({ type: 'join', room: lost })).code, 'unavailable')
    const finn = await pair.joinAgain(0, 'finn', room)
    for (const member of [ana, cleo, eve]) await knows(member, finn)
    finn.send({ type: 'leave' })
    for (const member of [ana, cleo, eve]) await leaveOf(member, finn)
    await assertTalk(lara, lena)
    await assertTalk(ana, cleo)
    const gus = await pair.joinAgain(1, 'gus', kept) // the second instance may still be looking for who holds what
    assert.deepEqual(gus.all('joined')[0]?.data.members, [])
    assertNobodyLeft(lara, lena)
  })

  void test('a replica takes over for the master of leases and inboxes; all is as before, and nobody was said to have left', async t => {
    const { cluster, pair } = await start(t, { replica: true })
    const [first] = mastersOf(cluster)
    await gatherOn(cluster, first)
    const [ana, ben, cleo] = await pair.gather(await roomOn(cluster, first, 'call'))
    await first.server.kill()
    await heardUntil(ben, ana)
    const dora = await pair.joinAgain(0, 'dora', ana.all('joined')[0]?.room ?? '')
    const eve = await pair.joinAgain(1, 'eve', dora.all('joined')[0]?.room ?? '')
    for (const member of [ana, ben, cleo, dora]) await knows(member, eve)
    await pair.health('healthy')
    for (const [one, two] of [[ana, cleo], [dora, eve], [ben, eve]] as const) await assertTalk(one, two)
    assertNobodyLeft(ana, ben, cleo, dora, eve)
    await pair.play('afterwards')
  })
})
