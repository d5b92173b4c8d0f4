import assert from 'node:assert/strict'
import { test } from 'node:test'
import { converse, InstanceCluster, REAP_LIMIT_MS, toldOf, toldThat } from './instance-cluster.ts'

const LEASE_MS = 1500
/** Waits that only a broken cluster takes to their end, ms. */
const LIMIT_MS = LEASE_MS + REAP_LIMIT_MS + 10_000

test('An instance that is frozen longer than its lease is reaped once; when it wakes, its members are members again, and nobody is told what is no longer so', async t => {
  const cluster = await InstanceCluster.open(t, { LEASE_MS: String(LEASE_MS) })
  const [first, second, third] = await Promise.all([cluster.start(), cluster.start(), cluster.start()])
  const watchers = await Promise.all([second, third].map(instance => cluster.watcher(instance)))
  const sleeper = await cluster.watcher(first)
  const asleep = [await cluster.member(first, 'ana', 'shared'), await cluster.member(first, 'ben', 'shared')]
  const awake = [await cluster.member(second, 'cleo', 'shared'), await cluster.member(third, 'dora', 'shared')]
  const [cleo, dora] = awake
  assert.ok(cleo && dora)
  const alone = [await cluster.member(first, 'eve', 'lonely'), await cluster.member(first, 'finn', 'lonely')]
  const [gus] = [await cluster.member(first, 'gus', 'taken')]
  await cluster.settled('shared', [...asleep, ...awake])
  await cluster.settled('lonely', alone)
  await converse([...asleep, ...awake])

  first.signal('SIGSTOP')
  const gone = asleep.map(({ id }) => id)
  for (const { client } of [...asleep, ...alone]) client.send({ type: 'data', data: { n: 1_000 } }) // handled when it wakes
  for (const member of awake) member.say() // they are in its inbox when it wakes
  const start = performance.now()
  await Promise.all([
    ...awake.map(member => member.sawLeave(gone, LIMIT_MS)),
    ...watchers.map(watcher => toldThat(watcher, 'room_disbanded', 'lonely', LIMIT_MS))
  ])
  const took = performance.now() - start
  assert.ok(took <= LEASE_MS + REAP_LIMIT_MS, `it took ${took} ms`)
  await cluster.leases(2)
  await cluster.settled('shared', awake)
  // Meanwhile the rooms change: who wakes must not go by what it knew.
  await dora.client.close()
  const hal = await cluster.member(third, 'hal', 'shared')
  await cluster.settled('shared', [cleo, hal])
  const ida = await cluster.member(second, 'ida', 'taken')
  for (const watcher of watchers) {
    await toldThat(watcher, 'room_created', 'taken', LIMIT_MS)
    assert.deepEqual(toldOf(watcher, 'taken'), ['room_created', 'room_disbanded last_member_left', 'room_created'])
  }

  first.signal('SIGCONT')
  const woke = performance.now()
  await cluster.leases(3)
  await cluster.settled('shared', [...asleep, cleo, hal])
  await cluster.settled('lonely', alone)
  await cluster.settled('taken', [gus, ida])
  t.diagnostic(`LEASE_MS=${LEASE_MS}: all views are Redis' ${Math.round(performance.now() - woke)} ms after it woke`)
  await converse([...asleep, cleo, hal])
  await converse([gus, ida])
  for (const member of [...asleep, ...alone, gus]) {
    const own = member.client.all('user_left').filter(({ data }) => data.connection_id === member.id)
    assert.deepEqual(own, [], 'nobody is told of its own leave')
    assert.deepEqual(member.client.all('room_disbanded'), [])
  }

  // A room's end and its next birth are told once each, by whichever way they came.
  const last = await cluster.member(second, 'jo', 'last')
  for (const watcher of watchers) {
    await toldThat(watcher, 'room_created', 'last', LIMIT_MS)
    assert.deepEqual(toldOf(watcher, 'shared'), ['room_created'])
    assert.deepEqual(toldOf(watcher, 'lonely'), ['room_created', 'room_disbanded last_member_left', 'room_created'])
  }

  for (const { client } of [...asleep, ...alone, gus, ida, cleo, hal, last]) await client.close()
  for (const watcher of [...watchers, sleeper]) {
    for (const room of ['shared', 'lonely', 'taken', 'last']) await ends(room)

    async function ends (room: string): Promise<void> {
      const births = toldOf(watcher, room).filter(event => event === 'room_created').length
      while (toldOf(watcher, room).length < 2 * births) await watcher.next('room_disbanded')
      assert.deepEqual(toldOf(watcher, room), Array.from({ length: births }, () => ['room_created', 'room_disbanded last_member_left']).flat())
    }
  }
  await cluster.stop(first, second, third)
  await cluster.assertNothingLeft()
})
