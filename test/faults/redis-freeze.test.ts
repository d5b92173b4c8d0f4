import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { assertUnavailable, fromNowOn, LEASE_MS, LinkedCluster, settled } from './linked-cluster.ts'

/** How long an operation may take while Redis hangs, ms. */
const OPERATION_LIMIT_MS = 2000
/** How long until all is well after Redis goes on, ms. */
const THAWED_LIMIT_MS = 5000
const FROZEN_MS = Number(process.env.FROZEN_MS ?? 4000)

void test(`Redis hangs for ${FROZEN_MS} ms, longer than every lease: requests are refused in time, nobody is taken for dead, and it heals`, async t => {
  const cluster = await LinkedCluster.start()
  t.after(() => cluster.stop())
  const [ana, ben, cleo] = await cluster.gather(t, 'frozen', [0, 'ana'], [0, 'ben'], [1, 'cleo'])
  const [dora, eve] = [await cluster.open(t, 0, 'dora'), await cluster.open(t, 1, 'eve')]
  assert.ok(ana && ben && cleo)
  await eve.join('of-eve')
  const watcher = await cluster.watcher(t, 1)
  await cluster.heals(t, 'all was well', THAWED_LIMIT_MS)
  const before = await cluster.rooms.all()
  const heard = fromNowOn(ana, ben, cleo, eve, watcher)

  cluster.redis.freeze()
  const since = performance.now()
  await Promise.all([
    assertUnavailable(dora, { type: 'join', room: 'another' }, OPERATION_LIMIT_MS),
    assertUnavailable(eve, { type: 'disband_room' }, OPERATION_LIMIT_MS),
    cluster.says(ana, ben)
  ])
  await settled(t, 'both instances fenced themselves', LEASE_MS + 1000, async () => {
    const all = await Promise.all([cluster.health(0), cluster.health(1)])
    return all.every(({ status, redis, fenced }) => status === 'degraded' && redis === 'down' && fenced) ? undefined : JSON.stringify(all)
  }, since)
  await assertUnavailable(dora, { type: 'join', room: 'another' }, OPERATION_LIMIT_MS)
  await sleep(FROZEN_MS - (performance.now() - since))
  for (const { turnip } of cluster.instances) {
    for (const path of ['/health', '/health/live']) assert.equal((await fetch(`${turnip.url}${path}`)).status, 200, path)
  }
  for (const client of [ana, cleo, dora]) assert.deepEqual(client.all('degraded').map(({ data }) => data.redis), ['down'])

  cluster.redis.thaw()
  await cluster.heals(t, 'all was well after the thaw', THAWED_LIMIT_MS)
  await cluster.says(ana, ben, cleo)
  await cluster.says(cleo, ana, ben)
  for (const client of [ana, cleo, dora]) {
    if (client.all('degraded').length < 2) await client.next('degraded')
    assert.deepEqual(client.all('degraded').map(({ data }) => data.redis), ['down', 'up'])
  }
  const after = await cluster.rooms.all()
  for (const [room, { epoch, members }] of before) {
    assert.deepEqual([after.get(room)?.epoch, after.get(room)?.members], [epoch, members], room)
  }
  assert.equal(after.size, before.size)
  // Some time for a reaper that takes the living for dead.
  await settled(t, 'another lease went by', 3 * LEASE_MS, async () => {
    const lease = (await cluster.health(0)).lease_age_ms ?? 0
    return performance.now() - since > FROZEN_MS + LEASE_MS * 1.5 ? undefined : `the lease is ${lease} ms old`
  })
  await joinOnce(dora.join('another'))
  for (const client of [ana, ben, cleo, eve, watcher]) await client.fence()
  assert.deepEqual(heard('user_left', 'left', 'room_disbanded'), [])
  await cluster.heals(t, 'all was well in the end', THAWED_LIMIT_MS)
})

async function joinOnce (joined: Promise<{ version: number }>): Promise<void> {
  assert.equal((await joined).version, 1, 'what was refused before has not happened')
}
