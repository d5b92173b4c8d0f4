import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test, type TestContext } from 'node:test'
import { Redis } from 'ioredis'
import type { LobbyEvent } from '../../src/broker/lobby-event.ts'
import { createNames } from '../../src/plugins/broker.ts'
import { NotDone } from '../../src/presence/presence.ts'
import { RedisLeases } from '../../src/presence/redis-leases.ts'
import { RedisPresence } from '../../src/presence/redis-presence.ts'
import type { Measure } from '../../src/redis/measure.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { FIRST, joined, leave, member, SECOND, testPresence, type PresenceKit } from './conformance.ts'

const TTL_MS = 600_000

let server: RedisServer
before(async () => { server = await startRedisServer() })
after(async () => { await server.stop() })

const rejections: unknown[] = []
process.on('unhandledRejection', reason => { rejections.push(reason) })

/** A connection that fails fast, as the application's own does. */
async function connect (t: TestContext, { username, password, timeoutMs = 5000 }: { username?: string, password?: string, timeoutMs?: number } = {}): Promise<Redis> {
  const redis = new Redis({
    host: server.host, port: server.port, maxRetriesPerRequest: 0, enableOfflineQueue: false, commandTimeout: timeoutMs, ...(username !== undefined && { username }), ...(password !== undefined && { password })
  })
  redis.on('error', () => {})
  await once(redis, 'ready')
  t.after(() => { redis.disconnect() })
  return redis
}

interface RedisKit extends PresenceKit {
  first: RedisPresence
  second: RedisPresence
  /** Beside the two presences. */
  redis: Redis
  key: string
}

/** Presence as one instance has it. */
function presenceOf (redis: Redis, nonce = FIRST, measure: Measure = async (_operation, run) => await run()): RedisPresence {
  const names = createNames('test', 0)
  return new RedisPresence({ redis, names, measure, leases: new RedisLeases({ redis, names, nonce, measure, leaseMs: 15_000, timeoutMs: 2000 }) })
}

/** What is left when all that an instance has to do with rooms is done: nothing but tombstones, which expire. */
async function assertEmpty (redis: Redis, ...instances: RedisPresence[]): Promise<void> {
  for (const presence of instances) {
    for (const room of ['r', 's']) presence.release(room)
    await presence.snapshot('r') // behind what release has sent
  }
  for (const key of await redis.keys('*')) {
    assert.match(key, /:tombstone:/)
    assert.ok(await redis.pttl(key) > 0)
  }
}

async function open (t: TestContext): Promise<RedisKit> {
  const [redis, one, two, subscriber] = await Promise.all([connect(t), connect(t), connect(t), connect(t)])
  for (const refusal of ['maxmemory', 'min-replicas-to-write']) await redis.config('SET', refusal, '0')
  await redis.flushall()
  const names = createNames('test', 0)
  const events: LobbyEvent[] = []
  const marks = new Set<string>()
  let wake = (): void => {}
  subscriber.on('message', (channel: string, message: string) => {
    if (channel === names.lobby) events.push(JSON.parse(message) as LobbyEvent)
    else { marks.add(message); wake() }
  })
  await subscriber.subscribe(names.lobby, 'marks')
  return {
    first: presenceOf(one, FIRST),
    second: presenceOf(two, SECOND),
    redis,
    key: names.room('r'),
    announced: async () => {
      const mark = String(Math.random())
      await redis.publish('marks', mark)
      while (!marks.has(mark)) await new Promise<void>(resolve => { wake = resolve })
      return events
    }
  }
}

/** A call that Redis refused: surely without effect, and with its words as the cause. */
function refusedBy (words: RegExp): (error: unknown) => boolean {
  return error => {
    assert.ok(error instanceof NotDone)
    assert.match((error.cause as Error).message, words)
    return true
  }
}

testPresence('presence in Redis', open)

test('Redis holds no key after the last leave, and none after a disband', async t => {
  const { first, second, redis } = await open(t)
  await joined(first, 'r', member('a'))
  await joined(second, 'r', member('b', SECOND))
  await joined(second, 's', member('c', SECOND))
  assert.ok(await redis.dbsize() > 0)
  await leave(first, 'r', 'a')
  await leave(second, 'r', 'b')
  await first.disband('s', undefined)
  await assertEmpty(redis, first, second)
})

test('everything a room keeps in Redis expires, and renewing puts that off', async t => {
  const { first, second, redis, key } = await open(t)
  await joined(first, 'r', member('a'))
  await joined(first, 's', member('b'))
  for (const each of await redis.keys('*')) {
    const left = await redis.pttl(each)
    assert.ok(left > TTL_MS - 60_000 && left <= TTL_MS, `${each} expires in ${left} ms`)
  }
  assert.ok(first.renewEveryMs <= TTL_MS / 2, 'two chances to renew, at least')
  await redis.pexpire(key, 5000)
  await second.renew(['r', 'gone'])
  assert.ok(await redis.pttl(key) > TTL_MS - 60_000)
  await second.renew([])
  assert.equal(await redis.dbsize(), 3, 'renewing makes no room: there are two, and the set of rooms')
})

test('a join and a leave keep the expiry of a room that goes on', async t => {
  const { first, second, redis, key } = await open(t)
  await joined(first, 'r', member('a'))
  await redis.pexpire(key, 5000)
  await joined(second, 'r', member('b', SECOND))
  assert.ok(await redis.pttl(key) > TTL_MS - 60_000)
  await leave(first, 'r', 'a')
  assert.ok(await redis.pttl(key) > 0)
})

test('a leave that a network held back does not take out who has come again, to that life or to another', async t => {
  const { first, second } = await open(t)
  await joined(second, 'r', member('b', SECOND))
  const before = await joined(first, 'r', member('a'))
  await first.leave('r', 'a', before)
  const again = await joined(first, 'r', member('a'))
  assert.equal(await first.leave('r', 'a', before), undefined)
  await first.disband('r', 'a')
  await joined(first, 'r', member('a'))
  assert.equal(await first.leave('r', 'a', again), undefined)
  assert.equal((await first.snapshot('r'))?.members.length, 1)
})

test('after SCRIPT FLUSH the next operation succeeds', async t => {
  const { first, redis } = await open(t)
  await redis.script('FLUSH')
  await joined(first, 'r', member('a'))
  await redis.script('FLUSH')
  assert.equal((await leave(first, 'r', 'a'))?.emptied, true)
  await joined(first, 'r', member('a'))
  await redis.script('FLUSH')
  assert.equal((await first.disband('r', 'a'))?.version, 2)
})

test('identities in Redis hold no more than what members may see', async t => {
  const { first, redis, key } = await open(t)
  await joined(first, 'r', member('a'))
  const value = await redis.hget(key, 'a') ?? ''
  assert.deepEqual(Object.keys(JSON.parse(value.slice(value.indexOf('{'))) as object).toSorted(), ['connection_id', 'user_id', 'username'])
})

test('a Redis out of memory refuses joins with OOM, and takes leaves', async t => {
  const { first, redis } = await open(t)
  const before = await joined(first, 'r', member('a'))
  await redis.config('SET', 'maxmemory-policy', 'noeviction')
  await redis.config('SET', 'maxmemory', '1')
  await assert.rejects(first.join('r', member('b'), 0), refusedBy(/^OOM /))
  await assert.rejects(first.join('new', member('b'), 0), refusedBy(/^OOM /))
  assert.deepEqual(await first.snapshot('r'), before)
  assert.equal(await first.snapshot('new'), undefined)
  assert.equal((await leave(first, 'r', 'a'))?.emptied, true)
  await redis.config('SET', 'maxmemory', '0')
  await assertEmpty(redis, first)
  assert.equal((await joined(first, 'new', member('b'))).version, 1)
})

test('a Redis that may not write answers NOREPLICAS, and nothing has happened', async t => {
  const { first, redis } = await open(t)
  const before = await joined(first, 'r', member('a'))
  await redis.config('SET', 'min-replicas-to-write', '1')
  for (const refused of [first.join('r', member('b'), 0), first.leave('r', 'a', before), first.disband('r', undefined)]) {
    await assert.rejects(refused, refusedBy(/NOREPLICAS/))
  }
  assert.deepEqual(await first.snapshot('r'), before)
})

test('a Redis user without the rights is answered NOPERM', async t => {
  const { redis } = await open(t)
  await redis.call('ACL', 'SETUSER', 'outsider', 'on', '>pw', '+@all', '~other:*', '&*')
  const connection = await connect(t, { username: 'outsider', password: 'pw' })
  const presence = presenceOf(connection)
  for (const refused of [presence.join('r', member('a'), 0), presence.leave('r', 'a', { epoch: 'e', version: 1 }), presence.disband('r', undefined), presence.snapshot('r'), presence.renew(['r'])]) {
    await assert.rejects(refused, refusedBy(/^NOPERM /))
  }
  assert.equal(await redis.dbsize(), 0)
})

test('rooms work for a Redis user that may not publish, only nobody is told, and nothing is left behind', async t => {
  const { redis, announced } = await open(t)
  await redis.call('ACL', 'SETUSER', 'mute', 'on', '>pw', '+@all', '~*', 'resetchannels')
  const connection = await connect(t, { username: 'mute', password: 'pw' })
  const presence = presenceOf(connection)
  assert.equal((await joined(presence, 'r', member('a'))).version, 1)
  assert.equal((await leave(presence, 'r', 'a'))?.emptied, true)
  await joined(presence, 's', member('a'))
  assert.equal((await presence.disband('s', undefined))?.version, 2)
  await assertEmpty(redis, presence)
  assert.deepEqual(await announced(), [])
})

test('a Redis that hangs makes a call reject in time, and a leave may be repeated', async t => {
  const { first, redis } = await open(t)
  await joined(first, 'r', member('a'))
  const hasty = presenceOf(await connect(t, { timeoutMs: 100 }))
  server.freeze()
  try {
    await assert.rejects(leave(hasty, 'r', 'a'), (error: Error) => /timed out/.test(error.message) && !(error instanceof NotDone))
  } finally {
    server.thaw()
  }
  await leave(hasty, 'r', 'a').catch(async () => await leave(hasty, 'r', 'a'))
  assert.equal(await first.snapshot('r'), undefined)
  await assertEmpty(redis, first, hasty)
})

test('a call on a connection that is gone rejects at once', async t => {
  await open(t)
  const connection = await connect(t)
  const presence = presenceOf(connection)
  connection.disconnect()
  await once(connection, 'end')
  await assert.rejects(presence.join('r', member('a'), 0), NotDone)
  await assert.rejects(presence.renew(['r']), NotDone)
})

test('every call is measured by name, failures too', async t => {
  const { redis } = await open(t)
  const measured: string[] = []
  const presence = presenceOf(redis, FIRST, async (operation, run) => {
    try { return await run() } finally { measured.push(operation) }
  })
  await presence.join('r', member('a'), 0)
  await presence.snapshot('r')
  await presence.renew(['r'])
  await presence.disband('r', undefined)
  await presence.leave('r', 'a', { epoch: 'e', version: 1 })
  await redis.set(createNames('test', 0).room('r'), 'no hash')
  await assert.rejects(presence.join('r', member('a'), 0), refusedBy(/WRONGTYPE/))
  assert.deepEqual(measured, ['join', 'snapshot', 'renew', 'disband', 'leave', 'join'])
})

test('no rejection was left unhandled by any of this', async () => {
  await new Promise(resolve => { setImmediate(resolve) })
  assert.deepEqual(rejections, [])
})
