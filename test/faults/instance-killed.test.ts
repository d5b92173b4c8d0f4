import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TurnipProcess } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'
import { converse, InstanceCluster, quantile, REAP_LIMIT_MS, toldOf, toldThat } from './instance-cluster.ts'

const LEASE_MS = 1500
const DEFAULT_LEASE_MS = 15_000
/** Kills to measure; one is enough to see that all is right. */
const ROUNDS = Number(process.env.KILL_ROUNDS ?? 1)
/** Waits that only a broken cluster takes to their end must not hide how late it was, ms. */
const SLACK_MS = 10_000

/** Kills an instance. @returns how long after that each of some waits was over, ms */
async function timedKill (instance: TurnipProcess, waits: Array<Promise<void>>): Promise<number[]> {
  const start = performance.now()
  instance.signal('SIGKILL')
  return await Promise.all(waits.map(async wait => {
    await wait
    return performance.now() - start
  }))
}

function assertInTime (times: readonly number[], leaseMs: number): void {
  for (const took of times) assert.ok(took <= leaseMs + REAP_LIMIT_MS, `it took ${took} ms`)
}

void describe('An instance that is killed', { concurrency: true }, () => {
  void test('Each of its members leaves once, a room that only it had ends once, and nothing of it stays in Redis', async t => {
    const cluster = await InstanceCluster.open(t, { LEASE_MS: String(LEASE_MS) })
    const [second, third] = await Promise.all([cluster.start(), cluster.start()])
    const watchers = await Promise.all([second, third].map(instance => cluster.watcher(instance)))
    const [leaves, ends]: [number[], number[]] = [[], []]
    for (let round = 0; round < ROUNDS; round++) {
      const { left, ended } = await play(cluster, await cluster.start(), [second, third], round)
      leaves.push(...left)
      ends.push(...ended)
    }
    if (ROUNDS > 1) {
      t.diagnostic(`LEASE_MS=${LEASE_MS}, ${ROUNDS} kills, ms to the last user_left: p50 ${quantile(leaves, 0.5)}, max ${quantile(leaves, 1)}; to room_disbanded: p50 ${quantile(ends, 0.5)}, max ${quantile(ends, 1)}`)
    }
    await cluster.stop(second, third)
    await cluster.assertNothingLeft()

    async function play (cluster: InstanceCluster, victim: TurnipProcess, [second, third]: [TurnipProcess, TurnipProcess], round: number): Promise<{ left: number[], ended: number[] }> {
      const [shared, lonely] = [`shared-${round}`, `lonely-${round}`]
      const gone = [await cluster.member(victim, 'ana', shared), await cluster.member(victim, 'ana', shared), await cluster.member(victim, 'ben', shared)]
      const stay = [await cluster.member(second, 'cleo', shared), await cluster.member(third, 'dora', shared)]
      for (const user of ['eve', 'finn']) await cluster.member(victim, user, lonely)
      await cluster.settled(shared, [...gone, ...stay])

      const limit = LEASE_MS + REAP_LIMIT_MS + SLACK_MS
      const ids = gone.map(({ id }) => id)
      const left = stay.map(member => member.sawLeave(ids, limit))
      const ended = watchers.map(watcher => toldThat(watcher, 'room_disbanded', lonely, limit))
      const times = timedKill(victim, [...left, ...ended])
      // Who comes back at once meets those that are still to leave.
      await victim.exited
      stay.push(await cluster.member(second, 'ana', shared))
      const took = await times
      assertInTime(took, LEASE_MS)
      await cluster.leases(2)
      await cluster.settled(shared, stay)
      for (const { client } of stay) assert.deepEqual(client.all('user_left').map(({ data }) => data.connection_id).toSorted(), ids.toSorted())

      for (const { client } of stay) await client.close()
      await Promise.all(watchers.map(watcher => toldThat(watcher, 'room_disbanded', shared, limit)))
      for (const watcher of watchers) {
        for (const room of [shared, lonely]) assert.deepEqual(toldOf(watcher, room), ['room_created', 'room_disbanded last_member_left'])
      }
      return { left: [Math.max(...took.slice(0, left.length))], ended: took.slice(left.length) }
    }
  })

  void test('Two of three at once: all members of both are gone in time, once each, and a room that only the two had ends once', async t => {
    const cluster = await InstanceCluster.open(t, { LEASE_MS: String(LEASE_MS) })
    const [first, second, third] = await Promise.all([cluster.start(), cluster.start(), cluster.start()])
    const watcher = await cluster.watcher(third)
    const gone = await Promise.all([first, first, second, second].map((instance, i) => cluster.member(instance, `gone-${i}`, 'shared')))
    const stays = await cluster.member(third, 'cleo', 'shared')
    for (const [i, instance] of [first, second].entries()) {
      await cluster.member(instance, `eve-${i}`, 'of-both')
      await cluster.member(instance, `finn-${i}`, `of-${i}`)
    }
    const all = [...gone, stays]
    await cluster.settled('shared', all)
    await converse(all)

    const limit = LEASE_MS + REAP_LIMIT_MS + SLACK_MS
    const ids = gone.map(({ id }) => id)
    const lonely = ['of-both', 'of-0', 'of-1']
    const seen = stays.sawLeave(ids, limit)
    const ended = until('all rooms of the two have ended', async () => lonely.every(room => toldOf(watcher, room).length >= 2))
    second.signal('SIGKILL')
    const times = await timedKill(first, [seen, ended])
    t.diagnostic(`LEASE_MS=${LEASE_MS}, ms to the last user_left and to the last room_disbanded: ${times.map(Math.round).join(', ')}`)
    assertInTime(times, LEASE_MS)
    await cluster.leases(1)
    await cluster.settled('shared', [stays])
    assert.deepEqual(stays.client.all('user_left').map(({ data }) => data.connection_id).toSorted(), ids.toSorted())
    for (const room of lonely) {
      assert.deepEqual(toldOf(watcher, room), ['room_created', 'room_disbanded last_member_left'])
      assert.equal(await cluster.rooms.find(room), undefined)
    }
    await cluster.stop(third)
    await cluster.assertNothingLeft()
  })

  void test('With the lease that is the default, its members are gone in time too', { timeout: 60_000 }, async t => {
    const cluster = await InstanceCluster.open(t)
    const [first, second] = await Promise.all([cluster.start(), cluster.start()])
    const watcher = await cluster.watcher(second)
    const gone = await cluster.member(first, 'ana', 'shared')
    const stays = await cluster.member(second, 'ben', 'shared')
    await cluster.member(first, 'cleo', 'lonely')
    await cluster.settled('shared', [gone, stays])
    const limit = DEFAULT_LEASE_MS + REAP_LIMIT_MS + SLACK_MS
    const times = await timedKill(first, [stays.sawLeave([gone.id], limit), toldThat(watcher, 'room_disbanded', 'lonely', limit)])
    t.diagnostic(`LEASE_MS=${DEFAULT_LEASE_MS}, ms to user_left and to room_disbanded: ${times.map(Math.round).join(', ')}`)
    assertInTime(times, DEFAULT_LEASE_MS)
    await cluster.settled('shared', [stays])
    assert.deepEqual(toldOf(watcher, 'lonely'), ['room_created', 'room_disbanded last_member_left'])
  })

  void test('Two instances of one name leave each other’s members alone, lose no message, and when one is killed only its members go', async t => {
    const cluster = await InstanceCluster.open(t, { LEASE_MS: String(LEASE_MS), INSTANCE_ID: 'twin' })
    const [first, second, third] = await Promise.all([cluster.start(), cluster.start(), cluster.start({ INSTANCE_ID: 'another' })])
    const watcher = await cluster.watcher(third)
    const [ana, ben, cleo] = [await cluster.member(first, 'ana', 'room'), await cluster.member(second, 'ben', 'room'), await cluster.member(third, 'cleo', 'room')]
    const [dora, eve] = [await cluster.member(first, 'dora', 'of-dora'), await cluster.member(second, 'eve', 'of-eve')]
    const all = [ana, ben, cleo]
    await cluster.settled('room', all)

    const enough = performance.now() + 3 * LEASE_MS
    let sent = 0
    for (; performance.now() < enough; sent++) await converse(all)
    for (const member of all) {
      member.catchUp()
      assert.equal(member.client.all('data').length, sent * 2)
      assert.deepEqual(member.client.all('user_left'), [])
    }
    await cluster.settled('room', all)
    for (const member of [dora, eve]) await cluster.settled(member === dora ? 'of-dora' : 'of-eve', [member])

    const limit = LEASE_MS + REAP_LIMIT_MS + SLACK_MS
    assertInTime(await timedKill(first, [ben.sawLeave([ana.id], limit), cleo.sawLeave([ana.id], limit), toldThat(watcher, 'room_disbanded', 'of-dora', limit)]), LEASE_MS)
    await cluster.leases(2)
    await cluster.settled('room', [ben, cleo])
    await cluster.settled('of-eve', [eve])
    assert.deepEqual(toldOf(watcher, 'of-eve'), ['room_created'])
    assert.deepEqual(toldOf(watcher, 'of-dora'), ['room_created', 'room_disbanded last_member_left'])
    await converse([ben, cleo])
    await cluster.stop(second, third)
    await cluster.assertNothingLeft()
  })
})
