import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test, type TestContext } from 'node:test'
import { Redis, type RedisOptions as AllRedisOptions } from 'ioredis'
import { INBOX_QUEUE_BYTES } from '../../src/broker/broker.ts'
import type { LobbyEvent } from '../../src/broker/lobby-event.ts'
import { RedisBroker } from '../../src/broker/redis-broker.ts'
import { createNames } from '../../src/plugins/broker.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { until } from '../harness/until.ts'
import { fence, open, testBroker, type BrokerKit } from './conformance.ts'

type RedisOptions = Omit<AllRedisOptions, 'replyMapping'>

let server: RedisServer
before(async () => { server = await startRedisServer() })
after(async () => { await server.stop() })

let realms = 0

/** Waits for an event; unlike \`once\`, whatever errors come before it. */
async function happens (redis: Redis, event: string): Promise<void> {
  await new Promise<void>(resolve => { redis.once(event, () => { resolve() }) })
}

interface RedisKit extends BrokerKit {
  make (nonce: string, options?: RedisOptions): Promise<RedisBroker & { commands: Redis, subscriber: Redis }>
  names: ReturnType<typeof createNames>
  redis: Redis
  errors: unknown[]
  measured: string[]
}

/** Brokers that share a realm which no other test has. */
async function openKit (t: TestContext, { port = server.port, realm = `realm${++realms}`, redisDb = 0 } = {}): Promise<RedisKit> {
  const connections: Redis[] = []
  t.after(() => { for (const connection of connections) connection.disconnect() })
  const connect = async (options: RedisOptions): Promise<Redis> => {
    const redis = new Redis({ host: '127.0.0.1', port, db: redisDb, retryStrategy: () => 20, ...options })
    redis.on('error', () => {})
    connections.push(redis)
    await once(redis, 'ready')
    return redis
  }
  const names = createNames(realm, redisDb)
  const redis = await connect({})
  const errors: unknown[] = []
  const measured: string[] = []
  return {
    names,
    redis,
    errors,
    measured,
    make: async (nonce, options = {}) => {
      const [commands, subscriber] = await Promise.all([
        connect({ maxRetriesPerRequest: 0, enableOfflineQueue: false, commandTimeout: 2000, autoResendUnfulfilledCommands: false, ...options }),
        connect({ maxRetriesPerRequest: null, autoResubscribe: false, ...options })
      ])
      const broker = new RedisBroker({
        nonce,
        commands,
        subscriber,
        names,
        timeoutMs: 2000,
        measure: async (operation, run) => {
          measured.push(operation)
          return await run()
        },
        log: { debug: () => {}, error: context => { errors.push(context) } }
      })
      return Object.assign(broker, { commands, subscriber })
    },
    announce: async event => { await redis.publish(names.lobby, JSON.stringify(event)) }
  }
}

testBroker('broker over Redis', openKit)

/** How many PUBLISH commands this Redis has had. */
async function publishes (redis: Redis): Promise<number> {
  return Number(/cmdstat_publish:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1] ?? 0)
}

test('all that one turn says to one instance is one PUBLISH', async t => {
  const { make, redis } = await openKit(t)
  const [a, b, c] = [await make('a'), await make('b'), await make('c')]
  await open(a)
  const [toB, toC] = [await open(b), await open(c)]
  const start = await publishes(redis)
  for (let i = 0; i < 200; i++) {
    a.send('b', Buffer.from(`b${i}`))
    a.send('c', Buffer.from(`c${i}`))
  }
  await Promise.all([toB.until(() => toB.records.length === 200), toC.until(() => toC.records.length === 200)])
  assert.equal(await publishes(redis) - start, 2)
  for (let turn = 0; turn < 5; turn++) {
    a.send('b', Buffer.from('x'))
    a.send('b', Buffer.from('y'))
    await toB.until(() => toB.records.length === 200 + 2 * (turn + 1))
  }
  assert.equal(await publishes(redis) - start, 7)
})

test('an instance subscribes to one channel, and to the lobby only while it hears it', async t => {
  const { make, redis, names } = await openKit(t)
  const a = await make('a')
  await open(a)
  const channels = async (): Promise<unknown> => await redis.pubsub('CHANNELS', `*${names.lobby.split(':')[1] ?? ''}:*`)
  assert.deepEqual(await channels(), [names.inbox('a')])
  await a.hearLobby(true)
  assert.deepEqual((await channels() as string[]).toSorted(), [names.inbox('a'), names.lobby].toSorted())
  await a.hearLobby(false)
  await fence(a, 'a', await open(a)) // behind the unsubscription
  assert.deepEqual(await channels(), [names.inbox('a')])
})

test('a batch of a format that is not known is left alone', async t => {
  const { make, redis, names, errors } = await openKit(t)
  const [a, b] = [await make('a'), await make('b')]
  await open(a)
  const inbox = await open(b)
  for (const batch of [Buffer.of(3, 1, 97, 0, 0, 0, 1, 65), Buffer.of(0), Buffer.alloc(0), Buffer.from('{"json":true}')]) {
    await redis.publish(names.inbox('b'), batch)
  }
  await fence(a, 'b', inbox)
  assert.deepEqual(inbox.records, [])
  assert.deepEqual(errors, [])
})

test('a batch that is cut short, or an announcement that is no JSON, ends nothing', async t => {
  const { make, redis, names, announce } = await openKit(t)
  const [a, b] = [await make('a'), await make('b')]
  await open(a)
  const inbox = await open(b)
  await b.hearLobby(true)
  const thrown: unknown[] = []
  const onUncaught = (error: unknown): void => { thrown.push(error) }
  process.on('uncaughtException', onUncaught)
  t.after(() => { process.off('uncaughtException', onUncaught) })
  await redis.publish(names.inbox('b'), Buffer.of(2, 1, 97, 0, 0))
  await redis.publish(names.inbox('b'), Buffer.of(2, 1, 97, 0, 0, 0, 9, 65))
  await redis.publish(names.lobby, 'no JSON')
  await announce({ type: 'room_created', room: 'r', epoch: 'e' })
  await inbox.until(() => inbox.events.length === 1)
  await fence(a, 'b', inbox)
  assert.deepEqual(thrown, [])
})

test('two databases of one Redis do not hear each other', async t => {
  const zero = await openKit(t, { realm: 'shared', redisDb: 0 })
  const one = await openKit(t, { realm: 'shared', redisDb: 1 })
  const [a0, b0, a1, b1] = [await zero.make('a'), await zero.make('b'), await one.make('a'), await one.make('b')]
  await Promise.all([open(a0), open(a1)])
  const [in0, in1] = [await open(b0), await open(b1)]
  await Promise.all([b0.hearLobby(true), b1.hearLobby(true)])
  a0.send('b', Buffer.from('zero'))
  a1.send('b', Buffer.from('one'))
  await zero.announce({ type: 'room_created', room: 'zero', epoch: 'e' })
  await one.announce({ type: 'room_created', room: 'one', epoch: 'e' })
  await Promise.all([fence(a0, 'b', in0), fence(a1, 'b', in1)])
  await in0.until(() => in0.events.length > 0)
  await in1.until(() => in1.events.length > 0)
  assert.deepEqual([in0.records, in1.records], [['zero'], ['one']])
  assert.deepEqual([in0.events.map(({ room }) => room), in1.events.map(({ room }) => room)], [['zero'], ['one']])
})

test('two realms of one Redis do not hear each other, whatever their names are', async t => {
  const one = await openKit(t, { realm: 'shop' })
  const two = await openKit(t, { realm: 'shop.0' })
  const [a1, b1, a2, b2] = [await one.make('a'), await one.make('b'), await two.make('a'), await two.make('b')]
  await Promise.all([open(a1), open(a2)])
  const [in1, in2] = [await open(b1), await open(b2)]
  a1.send('b', Buffer.from('one'))
  a2.send('b', Buffer.from('two'))
  await Promise.all([fence(a1, 'b', in1), fence(a2, 'b', in2)])
  assert.deepEqual([in1.records, in2.records], [['one'], ['two']])
})

test('who missed a record because nobody heard it is told so when it hears, once, and who missed nothing is not', async t => {
  const { make } = await openKit(t)
  const [a, b, c] = [await make('a'), await make('b'), await make('c')]
  await open(a)
  const other = await open(c)
  a.send('b', Buffer.from('lost'))
  await fence(a, 'c', other)
  const inbox = await open(b)
  await inbox.until(() => inbox.misses > 0)
  await fence(a, 'b', inbox)
  assert.deepEqual([inbox.misses, inbox.records, other.misses], [1, [], 0])
})

test('an inbox that Redis did not allow at first is heard once, not twice, when it does', async t => {
  const { make, redis, names } = await openKit(t)
  await redis.call('ACL', 'SETUSER', 'late', 'on', '>pw', '+@all', '~*', 'resetchannels')
  const [a, b] = [await make('a'), await make('b', { username: 'late', password: 'pw' })]
  await open(a)
  await assert.rejects(b.open({ onRecord: () => {}, onLobby: () => {}, onInterrupted: () => {}, onRestored: () => {}, onMissed: () => {} }), /NOPERM/)
  await redis.call('ACL', 'SETUSER', 'late', `&${names.inbox('b')}`)
  const inbox = await open(b)
  a.send('b', Buffer.from('once'))
  await fence(a, 'b', inbox)
  assert.deepEqual(inbox.records, ['once'])
})

test('an inbox that Redis refuses to a connection made anew is asked for again until it is heard', async t => {
  const { make, redis, names } = await openKit(t)
  await redis.call('ACL', 'SETUSER', 'shut', 'on', '>pw', '+@all', '~*', 'allchannels')
  const [a, b] = [await make('a'), await make('b', { username: 'shut', password: 'pw' })]
  await open(a)
  const inbox = await open(b)
  await redis.call('ACL', 'LOG', 'RESET')
  await redis.call('ACL', 'SETUSER', 'shut', 'resetchannels') // Redis ends connections that hear what they may not
  await until('it was refused', async () => (await redis.call('ACL', 'LOG') as unknown[]).length > 0)
  await redis.call('ACL', 'SETUSER', 'shut', 'allchannels')
  await until('the inbox is heard', async () => Number((await redis.pubsub('NUMSUB', names.inbox('b')))[1]) > 0)
  await fence(a, 'b', inbox)
  assert.deepEqual(inbox.records, [])
})

test('without Redis, send says so at once; when it is back the inbox is heard again, and told what it missed', async t => {
  const own = await startRedisServer()
  t.after(async () => { await own.kill() })
  const { make } = await openKit(t, { port: own.port })
  const [a, b] = [await make('a'), await make('b')]
  await open(a)
  const inbox = await open(b)
  const closed = [happens(a.commands, 'close'), happens(b.subscriber, 'close')]
  await own.kill()
  await Promise.all(closed)
  assert.equal(a.send('b', Buffer.from('lost'), true), false)
  await assert.rejects(b.hearLobby(true))
  const back = [a.commands, b.commands, a.subscriber, b.subscriber].map(async connection => { await happens(connection, 'ready') })
  const again = await startRedisServer({ port: own.port })
  t.after(async () => { await again.stop() })
  await Promise.all(back)
  await b.hearLobby(true) // behind the subscription that is made anew
  await fence(a, 'b', inbox)
  await inbox.until(() => inbox.misses > 0)
  assert.deepEqual(inbox.records, [])
})

test('giving the lobby up does not wait for a Redis that is away', async t => {
  const own = await startRedisServer()
  t.after(async () => { await own.kill() })
  const { make } = await openKit(t, { port: own.port })
  const a = await make('a')
  await open(a)
  await a.hearLobby(true)
  const closed = happens(a.subscriber, 'close')
  await own.kill()
  await closed
  let attempts = 0
  const waits = new Promise((_resolve, reject) => {
    a.subscriber.on('reconnecting', () => { if (++attempts === 5) reject(new Error('it waits for Redis')) })
  })
  await Promise.race([a.hearLobby(false), waits])
})

test('a Redis that hangs does not make the queue grow beyond its bound', async t => {
  const own = await startRedisServer()
  t.after(async () => { await own.stop() })
  const { make } = await openKit(t, { port: own.port })
  const a = await make('a')
  await open(a)
  const megabyte = Buffer.alloc(1024 * 1024)
  own.freeze()
  let taken = 0
  for (let turn = 0; turn < 48; turn++) {
    if (a.send('b', megabyte)) taken += megabyte.length
    await new Promise(resolve => { setImmediate(resolve) })
  }
  own.thaw()
  assert.ok(taken <= 2 * INBOX_QUEUE_BYTES, `${taken / megabyte.length} MiB were taken`) // the kernel takes some more
})

test('publishing and subscribing are measured by name', async t => {
  const { make, measured } = await openKit(t)
  const a = await make('a')
  const inbox = await open(a)
  await a.hearLobby(true)
  await a.hearLobby(false)
  await fence(a, 'a', inbox)
  assert.deepEqual(measured, ['subscribe', 'subscribe', 'unsubscribe', 'publish'])
})

test('announcements have the form that watchers read', async t => {
  const { make, announce } = await openKit(t)
  const a = await make('a')
  const inbox = await open(a)
  await a.hearLobby(true)
  const event: LobbyEvent = { type: 'room_disbanded', room: 'r', epoch: 'e', reason: 'user_requested' }
  await announce(event)
  await inbox.until(() => inbox.events.length === 1)
  assert.deepEqual(inbox.events, [event])
})
