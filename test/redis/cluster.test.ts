import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import type { Client } from '../harness/client.ts'
import { startRedisCluster, type RedisCluster } from '../harness/redis-cluster.ts'
import { until } from '../harness/until.ts'
import { heardUntil } from '../protocol/scene.ts'
import { assertNobodyLeft, assertTalk, knows, misses, Pair } from './pair.ts'
import { assertNothingRefused, grant } from './rights.ts'
import { gatherOn, mastersOf, roomOn, slotOfRoom } from './slots.ts'
import { Stream } from './stream.ts'

const TIMEOUT_MS = 1000
/** For a busy machine. */
const SLACK_MS = 1000

void describe('In a Redis Cluster, with no rights but those that the README names', { concurrency: true }, () => {
  async function start (t: TestContext, { replica = false } = {}): Promise<{ cluster: RedisCluster, pair: Pair }> {
    const cluster = await startRedisCluster({ replica })
    t.after(() => cluster.stop())
    for (const { redis } of [...cluster.masters, ...cluster.replica === undefined ? [] : [cluster.replica]]) await grant(redis, 'server', 'node')
    const pair = await Pair.start(t, { REDIS_URL: cluster.url.replace('://', '://turnip:password@'), REDIS_TIMEOUT_MS: String(TIMEOUT_MS), MESSAGES_PER_SECOND: '0' })
    return { cluster, pair }
  }

  void test('rooms on every master work; slots move with rooms, leases and inboxes in them', async t => {
    const { cluster, pair } = await start(t)
    const [first, second, third] = mastersOf(cluster)
    await Promise.all([first, second, third].map(async master => { await pair.play(await roomOn(cluster, master, 'each')) }))

    const room = await roomOn(cluster, first, 'moved')
    const [ana, ben, cleo] = await pair.gather(room)
    const everybody = [ana, ben, cleo]
    const known = async (newcomer: Client): Promise<void> => {
      for (const member of everybody) await knows(member, newcomer)
      everybody.push(newcomer)
    }
    // With the room only, nothing is lost: messages do not pass through it.
    const streams = [new Stream(ana, cleo), new Stream(cleo, ben)]
    await cluster.move(await slotOfRoom(cluster, room), second)
    const dora = await pair.joinAgain(1, 'dora', room)
    await known(dora)
    for (const stream of streams) assert.deepEqual((await stream.end()).lost, [])

    // With an inbox, what is said until it is heard at its new place: of others, nobody's join or leave.
    for (const [i, master] of [second, third, first].entries()) {
      const streams = [new Stream(ana, cleo), new Stream(cleo, ben)]
      const [newcomer] = await Promise.all([pair.joinAgain(i % 2 === 0 ? 0 : 1, `eve-${i}`, room), gatherOn(cluster, master)])
      await known(newcomer)
      for (const stream of streams) {
        const { sent, lost } = await stream.end()
        t.diagnostic(`lost ${lost.length} of ${sent} messages: ${lost.join()}`)
        assert.ok(lost.length === 0 || (lost.at(-1) ?? 0) - (lost[0] ?? 0) === lost.length - 1, 'one gap at most')
      }
      await assertTalk(newcomer, i % 2 === 0 ? dora : ana)
    }
    assertNobodyLeft(...everybody)
    for (const { redis } of cluster.masters) await assertNothingRefused(redis)
  })

  void test('without a replica, a master that dies takes no rooms with it but its own; they are refused in time, and are back with it, though it comes back empty', async t => {
    const { cluster, pair } = await start(t)
    const [first, , third] = mastersOf(cluster)
    await gatherOn(cluster, first)
    const lost = await roomOn(cluster, third, 'lost')
    const kept = await roomOn(cluster, first, 'kept')
    const [lara, lou, lena] = await pair.gather(lost)
    const [ana, ben, cleo] = await pair.gather(kept)
    await third.server.kill()

    const stranger = await pair.enter(1, 'stranger')
    const asked = performance.now()
    assert.equal((await stranger.refused({ type: 'join', room: lost })).code, 'unavailable')
    const refusedMs = performance.now() - asked
    assert.ok(refusedMs < TIMEOUT_MS + SLACK_MS, `refused after ${refusedMs} ms`)
    const finn = await pair.joinAgain(0, 'finn', kept) // it may still be looking for who holds what
    for (const member of [ana, cleo]) await knows(member, finn)
    finn.send({ type: 'leave' })
    for (const member of [ana, cleo]) await misses(member, finn)
    const gus = await pair.joinAgain(1, 'gus', await roomOn(cluster, first, 'new'))
    assert.deepEqual(gus.all('joined')[0]?.data.members, [])
    for (const [one, two] of [[lara, lena], [lou, lena], [ana, cleo], [ben, cleo]] as const) await assertTalk(one, two)

    await cluster.restart(third)
    await grant(third.redis, 'server', 'node')
    for (const index of [0, 1] as const) {
      const newcomer = await pair.joinAgain(index, 'hal', lost)
      for (const member of [lara, lou, lena]) await knows(member, newcomer)
      await assertTalk(newcomer, lena)
    }
    await pair.play(await roomOn(cluster, third, 'afterwards'))
    assertNobodyLeft(lara, lou, lena)

    // What a reaper needs, too: as if their node had come back without the instances' lists of rooms.
    const lists = await first.redis.keys('turnip:*:rooms:*')
    assert.equal(lists.length, 2)
    for (const list of lists) await first.redis.del(list)
    await first.redis.call('CLIENT', 'KILL', 'TYPE', 'normal')
    for (const list of lists) {
      await until('a list is whole again', async () => {
        const rooms = new Set(await first.redis.smembers(list))
        return rooms.has(lost) && rooms.has(kept)
      })
    }
  })

  void test('without a replica, the master of leases and inboxes dies: members go on where they are, and all is as before when it is back, though empty', async t => {
    const { cluster, pair } = await start(t)
    const [first, second] = mastersOf(cluster)
    await gatherOn(cluster, first)
    const rooms = [await roomOn(cluster, first, 'call'), await roomOn(cluster, second, 'call')]
    const calls = await Promise.all(rooms.map(room => pair.gather(room)))
    await first.server.kill()
    await pair.health('degraded')
    for (const [ana, ben] of calls) await assertTalk(ana, ben)
    await cluster.restart(first)
    await grant(first.redis, 'server', 'node')
    for (const [i, room] of rooms.entries()) {
      const newcomer = await pair.joinAgain(1, 'hal', room)
      for (const member of calls[i] ?? []) await knows(member, newcomer)
    }
    await pair.health('healthy')
    for (const [ana, ben, cleo] of calls) {
      await assertTalk(ana, cleo)
      assertNobodyLeft(ana, ben, cleo)
    }
    await pair.play('afterwards')
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
