/** Names that a client invents: of rooms, users and paths. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Redis } from 'ioredis'
import { Client, refusedUpgrade } from '../harness/client.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { tokenFor } from '../harness/token.ts'
import { until } from '../harness/until.ts'
import { Siege } from './siege.ts'

/** 10,000 of each are worth a look now and then: NAMES=10000 npx tsx --test … */
const NAMES = Number(process.env.NAMES ?? 1500)
/** So many clients come and go at a time. */
const AT_ONCE = 20
const BAD_ROOMS = [
  '*', '?', '[a-z]', 'room:{x}', '{x}', '{}', '}{', 'a\0b', '\0', 'a\r\nDEL x', 'a b', ' ', '', '#epoch', 'ä', 'caf\u00e9', 'cafe\u0301', '\u{1F955}', '\u202Ea', '\ufeffa', '\ud800', 'а', 'a/b', '../a', 'a%00', '$1', 'a;b', '"a"', "a'b", 'a\\b',
  'x'.repeat(129), 'x'.repeat(4096)
]

void describe('Names that attack', { timeout: 180_000 }, () => {
  let redis: RedisServer
  let siege: Siege
  let store: Redis
  before(async () => {
    redis = await startRedisServer()
    store = new Redis(redis.url)
    siege = await Siege.open({ REDIS_URL: redis.url })
  })
  after(async () => {
    await siege.close()
    store.disconnect()
    await redis.stop()
  })

  /** All keys, and all channels that somebody listens to. */
  async function namesInRedis (): Promise<string[]> {
    const keys: string[] = []
    for await (const found of store.scanStream({ count: 1000 })) keys.push(...found as string[])
    const lasting = keys.filter(key => !/^turnip:development:tombstone:\{good\}:[0-9a-f-]+$/.test(key)) // they say how a room ended, and expire
    return [...lasting, ...(await store.pubsub('CHANNELS')).map(String)].toSorted()
  }

  test('A room with a name that could mean something to Redis is room_invalid, in whatever way it is named, and leaves no key or channel', async t => {
    const before = await namesInRedis()
    await siege.during(t, async () => {
      // What a user is called is theirs: it becomes part of no name.
      const clients = await Promise.all(['*', '{x}', 'a\0b', 'x'.repeat(256), '__proto__'].map(async name => await Client.open(siege.server.wsUrl, name)))
      for (const client of clients) {
        for (const room of BAD_ROOMS) {
          assert.equal((await client.refused({ type: 'join', room })).code, 'room_invalid', JSON.stringify(room))
        }
        await client.join('good')
        for (const to of ['{x', 'good', 'development:room:{good}', ...BAD_ROOMS.slice(1, 4)]) {
          assert.equal((await client.refused({ type: 'data', to, data: 1 })).code, 'peer_not_found', JSON.stringify(to))
        }
      }
      const during = (await namesInRedis()).filter(name => !before.includes(name)).map(name => name.replace(/instance:\{.*\}/, 'instance:{…}'))
      assert.deepEqual(during, ['turnip:development:room:{good}'])
      await Promise.all(clients.map(client => client.close()))
      for (const room of BAD_ROOMS.filter(name => name !== '*')) {
        assert.equal((await refusedUpgrade(`${siege.server.wsUrl}?token=${tokenFor('ana', { rooms: [room] })}`)).status, 401, JSON.stringify(room))
      }
    })
    await until('Redis is as it was', async () => (await namesInRedis()).join() === before.join())
  })

  test(`${NAMES} rooms, users and paths make no series`, async t => {
    const { url, wsUrl, metricsUrl = '' } = siege.server
    // Series of the runtime and of Redis come with what the instance does by itself: a collection, a renewal of its lease.
    const series = async (): Promise<number> => (await (await fetch(`${metricsUrl}/metrics`)).text()).split('\n').filter(line => !/^(#|nodejs_|process_|turnip_redis_|$)/.test(line)).length
    const visit = async (name: string): Promise<void> => {
      const client = await Client.open(wsUrl, `user-${name}`)
      await client.join(`room-${name}`)
      client.send({ type: 'data', data: { type: `signal-${name}` } })
      await client.refused({ type: `type-${name}` })
      const answer = await fetch(`${url}/path-${name}`)
      assert.equal(answer.status, 404)
      await answer.text()
      await client.close()
    }
    await visit('first')
    await series() // a scrape has series of its own
    const before = await series()
    const toll = await siege.during(t, async () => {
      for (let from = 0; from < NAMES; from += AT_ONCE) {
        await Promise.all(Array.from({ length: Math.min(AT_ONCE, NAMES - from) }, async (_, i) => { await visit(String(from + i)) }))
      }
    })
    const now = await series()
    t.diagnostic(`${before} series before, ${now} after ${NAMES} rooms, users, types, signals and paths`)
    assert.equal(now, before)
    assert.ok(siege.growth(toll) < 10)
  })
})
