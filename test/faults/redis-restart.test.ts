import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { startRedisServer } from '../harness/redis-server.ts'
import { refusedUpgrade, type Client } from '../harness/client.ts'
import { tokenFor } from '../harness/token.ts'
import { startTurnip } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'
import { fromNowOn, joinsAtLast, LEASE_MS, LinkedCluster, livesOf, REDIS_TIMEOUT_MS, settled, type Health } from './linked-cluster.ts'

/** How long until Redis holds everything again, ms. */
const RESTORED_LIMIT_MS = 15_000
/** How long until an instance serves once Redis is there, ms. */
const START_LIMIT_MS = 5000

void describe('Redis restarts empty', () => {
  let cluster: LinkedCluster
  before(async () => { cluster = await LinkedCluster.start() })
  after(async () => { await cluster.stop() })

  void test('rooms, epochs and versions go on; nobody is told of a leave or an end that has not been', async t => {
    const watchers = [await cluster.watcher(t, 0), await cluster.watcher(t, 1)]
    const [ana, ben, cleo] = await cluster.gather(t, 'kept', [0, 'ana'], [0, 'ben'], [1, 'cleo'])
    const [dora] = await cluster.gather(t, 'alone', [1, 'dora'])
    const [eve, finn] = await cluster.gather(t, 'gone', [0, 'eve'], [1, 'finn'])
    assert.ok(ana && ben && cleo && dora && eve && finn)
    eve.send({ type: 'disband_room' })
    await Promise.all([eve, finn].map(client => client.next('room_disbanded')))
    const before = await cluster.rooms.all()
    assert.deepEqual([...before.keys()].toSorted(), ['alone', 'kept'])
    const heard = fromNowOn(ana, ben, cleo, dora, eve, finn, ...watchers)

    await cluster.restartEmpty()
    const since = performance.now()
    await cluster.heals(t, 'all members of all instances were in Redis again', RESTORED_LIMIT_MS, since)
    const restored = await cluster.rooms.all()
    assert.deepEqual([...restored.keys()].toSorted(), ['alone', 'kept'])
    for (const [name, { epoch, version }] of restored) {
      assert.equal(epoch, before.get(name)?.epoch, name)
      assert.ok(version >= (before.get(name)?.version ?? Infinity), name)
    }
    await cluster.says(ana, ben, cleo)
    await cluster.says(cleo, ana, ben)

    await joinsAtLast(t, finn, 'kept', RESTORED_LIMIT_MS, since)
    assert.equal(finn.all('joined').at(-1)?.version, (restored.get('kept')?.version ?? 0) + 1)
    await joinsAtLast(t, eve, 'fresh', RESTORED_LIMIT_MS, since)
    await cluster.says(finn, ana, ben, cleo)
    await cluster.heals(t, 'all knew of who came afterwards', RESTORED_LIMIT_MS)
    for (const watcher of watchers) await watcher.fence()
    assert.deepEqual(heard('user_left', 'left', 'room_disbanded'), [])
    assertNeverMissed([ana, ben, cleo])
    assert.deepEqual(heard('room_created'), watchers.map(({ info }) => `${info.user_id}: {"type":"room_created","data":{"room":"fresh"}}`))
    for (const client of [ana, cleo]) {
      if (client.all('degraded').length < 2) await client.next('degraded')
      assert.deepEqual(client.all('degraded').map(({ data }) => data.redis), ['down', 'up'])
    }
  })

  void test('who leaves while Redis is away is gone afterwards, and a room that is empty then has ended once', async t => {
    const watchers = [await cluster.watcher(t, 0), await cluster.watcher(t, 1)]
    const [ana, ben, cleo] = await cluster.gather(t, 'thinned', [0, 'ana'], [0, 'ben'], [1, 'cleo'])
    const [dora] = await cluster.gather(t, 'last', [0, 'dora'])
    const [eve, finn] = await cluster.gather(t, 'both', [0, 'eve'], [1, 'finn'])
    const [gus] = await cluster.gather(t, 'closed', [1, 'gus'])
    assert.ok(ana && ben && cleo && dora && eve && finn && gus)
    const heard = fromNowOn(ana, cleo)

    await cluster.restartEmpty(async () => {
      for (const client of [ben, dora, eve, finn]) {
        client.send({ type: 'leave' })
        await client.next('left')
      }
      await gus.close()
    })
    const since = performance.now()
    await cluster.heals(t, 'those who left meanwhile were gone everywhere', RESTORED_LIMIT_MS, since)
    assert.deepEqual([...(await cluster.rooms.find('thinned'))?.members.keys() ?? []].toSorted(), [ana.id, cleo.id].toSorted())
    assert.deepEqual([...(await cluster.rooms.all()).keys()], ['thinned'])
    for (const told of [heard('user_left')]) assert.ok(told.every(text => text.includes(ben.id)), told.join())
    for (const room of ['last', 'both', 'closed']) {
      await settled(t, `the end of ${room} was announced`, RESTORED_LIMIT_MS, async () =>
        watchers.every(watcher => livesOf(watcher, room).includes('last_member_left')) ? undefined : JSON.stringify(watchers.map(watcher => livesOf(watcher, room))), since)
    }
    await joinsAtLast(t, ben, 'after', RESTORED_LIMIT_MS, since)
    for (const watcher of watchers) {
      await watcher.upTo(frame => frame.type === 'room_created' && frame.data.room === 'after')
      for (const room of ['last', 'both', 'closed']) assert.deepEqual(livesOf(watcher, room), ['created', 'last_member_left'], room)
      assert.deepEqual(livesOf(watcher, 'thinned'), ['created'])
    }
    assert.deepEqual(livesOf(dora, 'last'), ['last_member_left'])
    assert.equal([...livesOf(eve, 'both'), ...livesOf(finn, 'both')].join(), 'last_member_left', 'one of the two was the last')
    await cluster.says(ana, cleo)
  })
})

void test('an instance that has started since the others renewed their leases is waited for all the same when Redis has forgotten everything', async t => {
  // The first one does not renew again before all is over.
  const env = { LEASE_MS: '30000' }
  const cluster = await LinkedCluster.start({ instances: 1, env })
  t.after(() => cluster.stop())
  const { link } = await cluster.add(env)
  const [ana, ben, cleo] = await cluster.gather(t, 'young', [0, 'ana'], [0, 'ben'], [1, 'cleo'])
  assert.ok(ana && ben && cleo)
  const heard = fromNowOn(ana, ben, cleo)
  await link.cut() // the young one comes back later than the other
  await cluster.restartEmpty()
  await settled(t, 'the first instance had put its members back', RESTORED_LIMIT_MS, async () =>
    (await cluster.rooms.find('young'))?.members.size === 2 ? undefined : 'they are not there yet')
  const dora = await cluster.open(t, 0, 'dora')
  assert.equal((await dora.refused({ type: 'join', room: 'young' })).code, 'unavailable', 'a room that is not whole lets nobody in')
  await link.heal()
  await cluster.heals(t, 'the members of both were there', RESTORED_LIMIT_MS)
  await cluster.says(ana, ben, cleo)
  await cluster.says(cleo, ana, ben)
  assert.deepEqual(heard('user_left', 'room_disbanded'), [])
  assertNeverMissed([ana, ben, cleo])
})

/** Nobody was told a whole of the room in which one of its members was missing: that would be a leave that has not been. */
function assertNeverMissed (members: Client[]): void {
  for (const member of members) {
    for (const { data } of member.all('resynced')) {
      const told = data.members.map(({ connection_id }) => connection_id)
      for (const { id, info } of members) assert.ok(told.includes(id), `${member.info.user_id} was told of a room without ${info.user_id}`)
    }
  }
}

void test('instances that start while Redis is down are up and say so, and serve soon after it has come', async t => {
  const redis = await startRedisServer()
  await redis.kill()
  t.after(async () => { await redis.kill() })
  const env = { REDIS_URL: redis.url, LEASE_MS: String(LEASE_MS), REDIS_TIMEOUT_MS: String(REDIS_TIMEOUT_MS) }
  const instances = await Promise.all([0, 1].map(() => startTurnip({ env })))
  t.after(async () => { await Promise.all(instances.map(instance => instance.stop())) })
  for (const { url, wsUrl, logs } of instances) {
    await until('it says what to do', async () => logs.some(line => /Redis cannot be reached: .*REDIS_URL/.test(line)))
    assert.equal((await fetch(`${url}/health/live`)).status, 200)
    const answer = await fetch(`${url}/health`)
    assert.deepEqual([answer.status, (await answer.json() as Health).status], [503, 'starting'])
    assert.equal((await refusedUpgrade(`${wsUrl}?token=${tokenFor('ana')}`)).status, 503)
  }
  const again = await startRedisServer({ port: redis.port })
  t.after(async () => { await again.stop() })
  const since = performance.now()
  for (const [index, { url }] of instances.entries()) {
    await settled(t, `instance ${index} was healthy after Redis had started`, START_LIMIT_MS, async () => {
      const answer = await fetch(`${url}/health`)
      const health = await answer.json() as Health
      return answer.status === 200 && health.status === 'healthy' ? undefined : JSON.stringify(health)
    }, since)
  }
})
