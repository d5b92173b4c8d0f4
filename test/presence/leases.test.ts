/** Leases in a real Redis, as several instances have them. */
import assert from 'node:assert/strict'
import { after, before, test, type TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { MemoryBroker, MemoryExchange } from '../../src/broker/memory-broker.ts'
import { createNames } from '../../src/plugins/broker.ts'
import { NotDone, type Snapshot } from '../../src/presence/presence.ts'
import { RedisLeases } from '../../src/presence/redis-leases.ts'
import { RedisPresence } from '../../src/presence/redis-presence.ts'
import { RoomService } from '../../src/rooms/room-service.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { until } from '../harness/until.ts'
import { joined, leave, member } from './conformance.ts'

const LEASE_MS = 500
const names = createNames('test', 0)

let server: RedisServer
before(async () => { server = await startRedisServer() })
after(async () => { await server.stop() })

interface Kit { redis: Redis, events: Array<{ type: string, room: string, epoch: string }>, instance (nonce: string, leaseMs?: number): { leases: RedisLeases, presence: RedisPresence } }

async function open (t: TestContext): Promise<Kit> {
  const [redis, subscriber] = [new Redis(server.url), new Redis(server.url)]
  t.after(() => { redis.disconnect(); subscriber.disconnect() })
  await redis.flushall()
  const events: Kit['events'] = []
  subscriber.on('message', (_channel, message: string) => { events.push(JSON.parse(message) as Kit['events'][number]) })
  await subscriber.subscribe(names.lobby)
  return {
    redis,
    events,
    instance: (nonce, leaseMs = LEASE_MS) => {
      const measure = async <T>(_operation: string, run: () => Promise<T>): Promise<T> => await run()
      const leases = new RedisLeases({ redis, names, nonce, leaseMs, timeoutMs: 2000, measure })
      return { leases, presence: new RedisPresence({ redis, names, leases, measure }) }
    }
  }
}

/** Renews until somebody may be reaped. */
async function reapable (leases: RedisLeases): Promise<string[]> {
  let reap: string[] = []
  await until('a lease has ended', async () => (reap = (await leases.renew(false, true)).reap).length > 0)
  return reap
}

test('instances are counted while their leases run, and resigning leaves nothing but the generation', async t => {
  const { redis, instance } = await open(t)
  const [a, b] = [instance('a:1', 60_000), instance('b:1', 60_000)]
  assert.equal((await a.leases.renew(false, false)).instances, 1)
  const { since, instances, reap } = await b.leases.renew(false, true)
  assert.deepEqual({ since, instances, reap }, { since: 'kept', instances: 2, reap: [] })
  await a.leases.resign()
  assert.equal((await b.leases.renew(false, true)).instances, 1)
  await b.leases.resign()
  assert.deepEqual(await redis.keys('*'), [names.generation])
  assert.ok(await redis.pttl(names.generation) > 0)
})

test('everything that leases keep in Redis expires, and renewing puts that off', async t => {
  const { redis, instance } = await open(t)
  const expires = async (key: string): Promise<void> => {
    const left = await redis.pttl(key)
    assert.ok(left > 540_000 && left <= 600_000, `${key} expires in ${left} ms`)
  }
  const [dead, { leases, presence }] = [instance('dead:1'), instance('one:1', 60_000)]
  for (const each of [dead.leases, leases]) await each.renew(false, false)
  const snapshot = await joined(presence, 'r', member('a', 'one:1'))
  await reapable(leases)
  await leases.renew(true, true)
  const renewed = [names.instances, names.generation, names.restored, names.roomsOf(leases.holder)]
  assert.deepEqual((await redis.keys('*')).toSorted(), [...renewed, names.reaping, names.room('r')].toSorted())
  for (const key of await redis.keys('*')) await expires(key)
  for (const key of [...renewed, names.room('r')]) await redis.pexpire(key, 5000)
  await leases.renew(true, true)
  for (const key of renewed) await expires(key)
  await presence.reconcile('r', 'one:1', snapshot.members, snapshot, 'kept')
  await expires(names.room('r'))
})

test('a holder whose lease has ended is given to one reaper, and its members leave once', async t => {
  const { redis, events, instance } = await open(t)
  const [dead, one, two] = [instance('dead:1'), instance('one:1', 60_000), instance('two:1', 60_000)]
  for (const { leases } of [dead, one, two]) await leases.renew(false, false)
  await joined(dead.presence, 'shared', member('x', 'dead:1'))
  await joined(dead.presence, 'shared', member('y', 'dead:1'))
  await joined(one.presence, 'shared', member('z', 'one:1'))
  await joined(dead.presence, 'alone', member('w', 'dead:1'))
  const [holder = ''] = await reapable(one.leases)
  assert.equal(holder, 'dead:1~1')
  assert.deepEqual((await two.leases.renew(false, true)).reap, [], 'one reaper at a time')
  assert.deepEqual((await one.leases.roomsOf(holder)).toSorted(), ['alone', 'shared'])
  const shared = await one.leases.evict('shared', holder)
  assert.deepEqual(shared?.changes.map(({ kind, version }) => [kind, version]), [['left', 4], ['left', 5]])
  assert.deepEqual({ emptied: shared?.emptied, instances: shared?.instances }, { emptied: false, instances: ['one:1'] })
  assert.equal((await one.leases.evict('alone', holder))?.emptied, true)
  assert.equal(await two.leases.evict('shared', holder), undefined)
  assert.equal(await two.leases.evict('alone', holder), undefined)
  await one.leases.forget(holder)
  assert.equal((await one.leases.renew(false, true)).instances, 2)
  assert.equal(await redis.exists(names.roomsOf(holder)), 0)
  await until('the end is announced', async () => events.length === 3)
  assert.deepEqual(events.map(({ type, room }) => `${type} ${room}`), ['room_created shared', 'room_created alone', 'room_disbanded alone'])
})

test('one that comes back after its lease has a holder of its own, whose members no late reaper touches', async t => {
  const { redis, instance } = await open(t)
  const [sleeper, reaper] = [instance('sleeper:1'), instance('reaper:1', 60_000)]
  for (const { leases } of [sleeper, reaper]) await leases.renew(false, false)
  const room = await joined(sleeper.presence, 'r', member('a', 'sleeper:1'))
  const [old = ''] = await reapable(reaper.leases)
  const ended = await redis.zscore(names.instances, old)
  assert.equal((await sleeper.leases.renew(false, false)).since, 'lapsed')
  assert.equal(sleeper.leases.holder, 'sleeper:1~2')
  assert.equal(await redis.zscore(names.instances, old), ended, 'the old lease is not revived')
  assert.ok(await redis.zscore(names.instances, sleeper.leases.holder) !== null)
  const found = await sleeper.presence.reconcile('r', 'sleeper:1', room.members, room, 'lapsed')
  assert.ok(found.kind === 'held')
  assert.deepEqual([found.changes, found.snapshot.version, found.snapshot.epoch], [[], 1, room.epoch], 'nothing has changed for anybody')
  assert.equal(await reaper.leases.evict('r', old), undefined)
  assert.deepEqual(await sleeper.leases.roomsOf(sleeper.leases.holder), ['r'])
})

test('a member that has gone on over another instance is not reaped with its former holder, nor claimed back by it', async t => {
  const { instance } = await open(t)
  const [sleeper, other] = [instance('sleeper:1'), instance('other:1', 60_000)]
  for (const { leases } of [sleeper, other]) await leases.renew(false, false)
  const { epoch } = await joined(sleeper.presence, 'r', member('a', 'sleeper:1'))
  await joined(sleeper.presence, 'r', member('b', 'sleeper:1'))
  const known = await joined(sleeper.presence, 'r', member('c', 'sleeper:1'))
  assert.equal((await joined(other.presence, 'r', member('a', 'other:1'))).from, 'sleeper:1')
  assert.equal((await other.presence.move('r', member('b', 'other:1'), epoch))?.from, 'sleeper:1')
  assert.deepEqual(await other.leases.roomsOf(other.leases.holder), ['r'], 'its own reaper would know')
  const [old = ''] = await reapable(other.leases)
  const eviction = await other.leases.evict('r', old)
  assert.deepEqual(eviction, { epoch, emptied: false, instances: ['other:1'], changes: [{ kind: 'left', connectionId: 'c', version: 6 }] })
  assert.equal(await other.leases.evict('r', old), undefined)
  await sleeper.leases.renew(false, false)
  const found = await sleeper.presence.reconcile('r', 'sleeper:1', known.members, known, 'lapsed')
  assert.ok(found.kind === 'held')
  assert.deepEqual(found.snapshot.members.map(({ connection_id: id, instance }) => `${id} on ${instance}`), ['a on other:1', 'b on other:1', 'c on sleeper:1'])
  for (const id of ['a', 'b']) assert.equal((await leave(other.presence, 'r', id))?.emptied, false)
  assert.equal((await leave(sleeper.presence, 'r', 'c'))?.emptied, true)
})

test('one whose members were reaped with their room begins a new life of it', async t => {
  const { events, instance } = await open(t)
  const [sleeper, reaper] = [instance('sleeper:1'), instance('reaper:1', 60_000)]
  for (const { leases } of [sleeper, reaper]) await leases.renew(false, false)
  const room = await joined(sleeper.presence, 'r', member('a', 'sleeper:1'))
  const [old = ''] = await reapable(reaper.leases)
  await reaper.leases.evict('r', old)
  await sleeper.leases.renew(false, false)
  const found = await sleeper.presence.reconcile('r', 'sleeper:1', room.members, room, 'lapsed')
  assert.ok(found.kind === 'held')
  assert.notEqual(found.snapshot.epoch, room.epoch)
  await until('the new life is announced', async () => events.length === 3)
  assert.deepEqual(events.map(({ type }) => type), ['room_created', 'room_disbanded', 'room_created'])
})

test('a store that has lost its memory gets its rooms back, as they were, and tells nobody', async t => {
  const { redis, events, instance } = await open(t)
  const [one, two] = [instance('one:1', 60_000), instance('two:1', 60_000)]
  for (const { leases } of [one, two]) await leases.renew(false, false)
  await joined(one.presence, 'r', member('a', 'one:1'))
  const before: Snapshot = await joined(two.presence, 'r', member('b', 'two:1'))
  const [a, b] = before.members
  assert.ok(a !== undefined && b !== undefined)
  await redis.flushall()
  for (const { leases } of [one, two]) assert.equal((await leases.renew(false, false)).since, 'forgotten')
  const first = await one.presence.reconcile('r', 'one:1', [a], before, 'forgotten')
  assert.ok(first.kind === 'held' && first.restored)
  assert.deepEqual([first.snapshot.epoch, first.snapshot.version], [before.epoch, before.version])
  const second = await two.presence.reconcile('r', 'two:1', [b], before, 'forgotten')
  assert.ok(second.kind === 'held' && !second.restored)
  assert.deepEqual(second.snapshot.members, before.members)
  assert.deepEqual([(await one.leases.renew(true, false)).restored, (await two.leases.renew(true, false)).restored], [1, 2])
  assert.deepEqual(events.map(({ type }) => type), ['room_created'])
  for (const { leases } of [one, two]) await leases.resign()
  assert.equal(await redis.exists(names.restored), 0, 'and nobody is said to have put anything back who is gone')
})

test('several instances put a room back as it was, without a change; of who left meanwhile the others are told', async t => {
  const { redis, instance } = await open(t)
  const [one, two] = [instance('one:1', 60_000), instance('two:1', 60_000)]
  await joined(one.presence, 'r', member('a', 'one:1'))
  await joined(one.presence, 'r', member('gone', 'one:1'))
  const room = await joined(two.presence, 'r', member('b', 'two:1'))
  const [a, , b] = room.members
  assert.ok(a && b)
  await redis.flushall()
  await one.presence.reconcile('r', 'one:1', [a], room, 'forgotten')
  const second = await two.presence.reconcile('r', 'two:1', [b], room, 'forgotten')
  assert.deepEqual(second.kind === 'held' && [second.snapshot.version, second.changes, second.snapshot.members], [3, [], [a, b]])
  const last = await one.presence.reconcile('r', 'one:1', [a], room, 'forgotten', ['gone'])
  assert.deepEqual(last.kind === 'held' && last.changes, [{ kind: 'left', connectionId: 'gone', version: 4 }])
})

test('of two instances that put one member back, the first has it', async t => {
  const { redis, instance } = await open(t)
  const [one, two] = [instance('one:1', 60_000), instance('two:1', 60_000)]
  const { epoch } = await joined(one.presence, 'r', member('a', 'one:1'))
  const moved = await two.presence.move('r', member('a', 'two:1'), epoch)
  assert.ok(moved)
  for (const [first, second] of [[one, two], [two, one]] as const) {
    await redis.flushall()
    const nonceOf = (of: typeof one): string => of === one ? 'one:1' : 'two:1'
    const claim = (of: typeof one): typeof moved.members => moved.members.map(each => ({ ...each, instance: nonceOf(of) }))
    const put = await first.presence.reconcile('r', nonceOf(first), claim(first), moved, 'forgotten')
    assert.ok(put.kind === 'held' && put.restored)
    const dropped = await second.presence.reconcile('r', nonceOf(second), claim(second), moved, 'forgotten')
    assert.deepEqual(dropped, { ...put, restored: false })
    assert.deepEqual(dropped.snapshot.members, claim(first))
  }
})

test('a life that was restored and has ended since is not restored again', async t => {
  const { redis, events, instance } = await open(t)
  const [one, two] = [instance('one:1', 60_000), instance('two:1', 60_000)]
  await joined(one.presence, 'r', member('a', 'one:1'))
  const room = await joined(two.presence, 'r', member('b', 'two:1'))
  const [a, b] = room.members
  assert.ok(a && b)
  await redis.flushall()
  await one.presence.reconcile('r', 'one:1', [a], room, 'forgotten')
  assert.equal((await leave(one.presence, 'r', 'a'))?.emptied, true)
  const found = await two.presence.reconcile('r', 'two:1', [b], room, 'forgotten')
  assert.ok(found.kind === 'held' && !found.restored && found.snapshot.epoch !== room.epoch, JSON.stringify(found))
  await until('a new life is announced', async () => events.length === 3)
  assert.deepEqual(events.map(({ type }) => type), ['room_created', 'room_disbanded', 'room_created'])
})

test('a room whose last member left while the store had lost its memory ends once, whoever finds it so', async t => {
  const { redis, events, instance } = await open(t)
  const [one, two] = [instance('one:1', 60_000), instance('two:1', 60_000)]
  const room = await joined(one.presence, 'r', member('a', 'one:1'))
  await redis.flushall()
  assert.deepEqual(await one.presence.reconcile('r', 'one:1', [], room, 'forgotten', ['a']), { kind: 'gone' })
  assert.deepEqual(await one.presence.lastLeavers('r', [room.epoch]), ['a'])
  assert.deepEqual(await two.presence.reconcile('r', 'two:1', [], room, 'forgotten', ['b']), { kind: 'gone' })
  assert.deepEqual(await two.presence.lastLeavers('r', [room.epoch]), ['a'])
  await until('the end is announced', async () => events.length === 2)
  assert.deepEqual(events.map(({ type }) => type), ['room_created', 'room_disbanded'])
})

test('a replica that took over and had not heard of all does not set the version back', async t => {
  const { redis, instance } = await open(t)
  const one = instance('one:1', 60_000)
  const room = await joined(one.presence, 'r', member('a', 'one:1'))
  const found = await one.presence.reconcile('r', 'one:1', room.members, { epoch: room.epoch, version: 7 }, 'kept')
  assert.ok(found.kind === 'held')
  assert.equal(found.snapshot.version, 7)
  assert.equal(await redis.hget(names.room('r'), '#version'), '7')
})

test('what reaches Redis long after its asker has given it up does nothing', async t => {
  const { redis, events, instance } = await open(t)
  const { leases, presence } = instance('one:1', 60_000)
  await leases.renew(false, false)
  const room = await joined(presence, 'kept', member('b', 'one:1'))
  Object.defineProperty(leases, 'deadline', { get: () => Date.now() - 1000 })
  await assert.rejects(presence.join('r', member('a', 'one:1'), 0), NotDone)
  await assert.rejects(presence.reconcile('r', 'one:1', [], undefined, 'kept'), NotDone)
  assert.equal(await redis.exists(names.room('r')), 0)
  for (const requester of ['b', undefined]) await assert.rejects(presence.disband('kept', requester), NotDone)
  assert.deepEqual(await presence.snapshot('kept'), room)
  assert.equal(await redis.exists(`${names.tombstones('kept')}:${room.epoch}`), 0)
  assert.deepEqual(await leases.roomsOf(leases.holder), ['kept'], 'a set that was reaped does not come back')
  assert.deepEqual(events.map(({ type }) => type), ['room_created'])
})

test('one whose lease has ended puts nobody into a room any more: its rooms may have been reaped', async t => {
  const { redis, instance } = await open(t)
  const [late, reaper] = [instance('late:1'), instance('reaper:1', 60_000)]
  for (const { leases } of [late, reaper]) await leases.renew(false, false)
  const [holder = ''] = await reapable(reaper.leases)
  await reaper.leases.forget(holder)
  await assert.rejects(late.presence.join('r', member('a', 'late:1'), 0), NotDone)
  assert.equal(await redis.exists(names.room('r'), names.roomsOf(holder)), 0)
})

test('an instance takes out the members of dead ones when its own lease has run unbroken for its length, as soon as that is', async t => {
  const { redis, instance } = await open(t)
  const [leaseMs, renewEveryMs] = [4500, 1500]
  const brokenMs = renewEveryMs // with the first renewal
  // Their leases end so that the instance renews just before it may reap, and then not for a while.
  const deadMs = brokenMs + 2 * renewEveryMs - 150
  const { leases, presence } = instance('one:1', leaseMs)
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
  const rooms = new RoomService({ presence, leases, broker: new MemoryBroker('one:1', new MemoryExchange(), log), log, maxMembers: 0 })
  for (const nonce of ['dead:1', 'dead:2']) {
    const dead = instance(nonce, deadMs)
    await dead.leases.renew(false, false)
    await joined(dead.presence, 'r', member(nonce, nonce))
  }
  await rooms.open()
  t.after(async () => { await rooms.close() })
  await redis.zrem(names.instances, leases.holder) // its lease is found to be broken
  await delay(brokenMs + leaseMs - 300)
  assert.equal((await rooms.members('r')).length, 2, 'its lease has not run for long enough')
  await delay(300 + renewEveryMs - 400)
  assert.deepEqual(await rooms.members('r'), [])
})
