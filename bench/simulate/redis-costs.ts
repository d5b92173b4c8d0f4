/** What commands cost a real Redis in CPU time and memory: measured with the real code of presence/ and broker/, kept in a file. */
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { Redis } from 'ioredis'
import { RedisBroker } from '../../src/broker/redis-broker.ts'
import { createNames } from '../../src/plugins/broker.ts'
import { RedisLeases } from '../../src/presence/redis-leases.ts'
import { RedisPresence } from '../../src/presence/redis-presence.ts'
import { Random } from '../../test/chaos/random.ts'
import { startRedisServer } from '../../test/harness/redis-server.ts'
import { BATCH } from '../../src/rooms/upkeep.ts'
import { defaults } from './cluster.ts'
import { hex, uuid } from './workload.ts'

export interface RedisCosts {
  readonly measured: { readonly redis: string, readonly node: string, readonly cores: number, readonly date: string, readonly connections: number }
  /** CPU of one command or script, µs, each connection waiting for its answer before it asks again. */
  readonly us: Readonly<Record<string, number>>
  /** CPU of a renewal of a lease, µs, by how many instances there are. */
  readonly leaseUs: Readonly<Record<string, number>>
  /** Memory of a room of two on two instances, with what its reapers need, bytes. */
  readonly roomBytes: number
  /** Memory of what remembers the end of a room, bytes. */
  readonly tombstoneBytes: number
}

/** Instances that ask at the same time. */
const CONNECTIONS = 50
/** How often each thing is done: long enough for CPU time that is counted in ms. */
const TIMES = 20_000
const MEMORY_ROOMS = 10_000
/** Sizes of messages to an inbox, bytes. */
export const MESSAGE_SIZES = [200, 2600] as const

export const COSTS_FILE = new URL('redis-costs.json', import.meta.url)

/** @returns undefined when nobody has measured yet */
export function readRedisCosts (): RedisCosts | undefined {
  return existsSync(COSTS_FILE) ? JSON.parse(readFileSync(COSTS_FILE, 'utf8')) as RedisCosts : undefined
}

/** CPU of a PUBLISH of so many bytes and its delivery, µs. */
export function publishUs ({ us }: RedisCosts, bytes: number): number {
  const [small, large] = MESSAGE_SIZES
  const [low = 0, high = 0] = [us[`publish ${small}`], us[`publish ${large}`]]
  return low + (high - low) * (bytes - small) / (large - small)
}

/** Measures against a redis-server of its own, for about half a minute. */
export async function measureRedisCosts (onProgress: (what: string) => void): Promise<RedisCosts> {
  const server = await startRedisServer()
  const clients: Redis[] = []
  const connect = (): Redis => {
    const client = new Redis({ host: server.host, port: server.port })
    clients.push(client)
    return client
  }
  try {
    const look = connect()
    const version = /redis_version:(\S+)/.exec(await look.info('server'))?.[1] ?? ''
    const bench = new CostBench(look, Array.from({ length: CONNECTIONS }, (_, i) => createAsker(i, connect)), onProgress)
    await Promise.all(clients.map(async client => await client.ping())) // all are connected
    const us = await bench.operations()
    const memory = await bench.memory()
    const leaseUs = await bench.leases()
    return { measured: { redis: version, node: process.version, cores: availableParallelism(), date: new Date().toISOString().slice(0, 10), connections: CONNECTIONS }, us, leaseUs, ...memory }
  } finally {
    for (const client of clients) client.disconnect()
    await server.stop()
  }
}

/** One instance's side of Redis. */
interface Asker { readonly nonce: string, readonly redis: Redis, readonly presence: RedisPresence, readonly leases: RedisLeases, readonly broker: RedisBroker }

function createAsker (number: number, connect: () => Redis): Asker {
  const random = new Random('costs', number)
  const nonce = `host-${String(number).padStart(5, '0')}:${hex(random, 16)}`
  const names = createNames('development', 0)
  const redis = connect()
  const measure = async <T>(_operation: string, run: () => Promise<T>): Promise<T> => await run()
  const leases = new RedisLeases({ redis, names, nonce, measure, leaseMs: 300_000, timeoutMs: defaults.redisTimeoutMs })
  const broker = new RedisBroker({ nonce, commands: redis, subscriber: connect(), names, measure, timeoutMs: defaults.redisTimeoutMs, log: { debug: () => {}, error: () => {} } })
  return { nonce, redis, leases, broker, presence: new RedisPresence({ redis, names, leases, measure }) }
}

class CostBench {
  readonly #look: Redis
  readonly #askers: readonly Asker[]
  readonly #random = new Random('costs')
  readonly #onProgress: (what: string) => void

  constructor (look: Redis, askers: readonly Asker[], onProgress: (what: string) => void) {
    this.#look = look
    this.#askers = askers
    this.#onProgress = onProgress
  }

  async operations (): Promise<Record<string, number>> {
    const handlers = { onRecord: () => {}, onLobby: () => {}, onInterrupted: () => {}, onRestored: () => {}, onMissed: () => {} }
    for (const { leases, broker } of this.#askers) {
      await leases.renew(false, false)
      await broker.open(handlers)
    }
    const us: Record<string, number> = {}
    const ids = Array.from({ length: TIMES }, () => uuid(this.#random))
    const member = (i: number, { nonce }: Asker) => ({ connection_id: ids[i] ?? '', user_id: `user-${i}`, username: `User ${i}`, instance: nonce })
    const rooms = Array.from({ length: TIMES }, (_, i) => `call-${String(i).padStart(7, '0')}`)
    const room = (i: number): string => rooms[i] ?? ''
    const epochs: string[] = []
    const both = await this.#cost('join and mark', async (i, asker) => { epochs[i] = (await asker.presence.join(room(i), member(i, asker), 0) as { epoch: string }).epoch })
    // As upkeep does: many at a time.
    us['position'] = await this.#cost('position', async (i, { presence }) => { await presence.positions(rooms.slice(i * BATCH, (i + 1) * BATCH)) }, BATCH)
    us['renew'] = await this.#cost('renew', async (i, { presence }) => { await presence.renew(rooms.slice(i * BATCH, (i + 1) * BATCH)) }, BATCH)
    us['leave'] = await this.#cost('leave', async (i, { presence }) => { await presence.leave(room(i), ids[i] ?? '', { epoch: epochs[i] ?? '', version: 1 }) })
    us['unmark'] = await this.#cost('unmark', async (i, { redis }) => { await redis.srem('turnip:development:instance:{none}:rooms:none~1', room(i)) })
    const again = await this.#cost('join', async (i, asker) => { await asker.presence.join(room(i), member(i, asker), 0) }) // marked by then
    us['join'] = again
    us['mark'] = Number((both - again).toFixed(1))
    us['ping'] = await this.#cost('ping', async (_i, { redis }) => { await redis.ping() })
    for (const size of MESSAGE_SIZES) {
      const bytes = Buffer.alloc(size)
      const inboxes = this.#askers.map(({ nonce }) => createNames('development', 0).inbox(nonce))
      us[`publish ${size}`] = await this.#cost(`publish of ${size} bytes`, async (i, { redis }) => { await redis.publish(inboxes[i % inboxes.length] ?? '', bytes) })
    }
    return us
  }

  /** Memory, by what the server says it uses. */
  async memory (): Promise<Pick<RedisCosts, 'roomBytes' | 'tombstoneBytes'>> {
    await this.#look.flushall()
    const used = async (): Promise<number> => Number(/used_memory:(\d+)/.exec(await this.#look.info('memory'))?.[1])
    const [one, other] = this.#askers
    if (one === undefined || other === undefined) throw new RangeError('two are needed')
    const empty = await used()
    const leaves: Array<() => Promise<unknown>> = []
    for (let i = 0; i < MEMORY_ROOMS; i++) {
      const name = `memory-${String(i).padStart(5, '0')}`
      for (const { presence, nonce } of [one, other]) {
        const id = uuid(this.#random)
        const entry = await presence.join(name, { connection_id: id, user_id: 'user-0000001-000', username: 'User 0000001', instance: nonce }, 0)
        leaves.push(async () => { if (entry !== 'full') await presence.leave(name, id, entry) })
      }
    }
    const full = await used()
    for (const leave of leaves) await leave()
    for (const key of await this.#look.keys('*:rooms:*')) await this.#look.del(key)
    return { roomBytes: Math.round((full - empty) / MEMORY_ROOMS), tombstoneBytes: Math.round((await used() - empty) / MEMORY_ROOMS) }
  }

  /** Renewals, with so many leases in the books. */
  async leases (): Promise<Record<string, number>> {
    const key = createNames('development', 0).instances
    const us: Record<string, number> = {}
    for (const instances of [10, 100, 1000, 10_000]) {
      for (let i = 0; i < instances; i++) await this.#look.zadd(key, Date.now() + 300_000 + i, `host-${i}:${'0'.repeat(16)}~1`)
      us[String(instances)] = await this.#cost(`a renewal among ${instances} instances`, async (_i, { leases }) => { await leases.renew(false, true) })
    }
    return us
  }

  /** @param each so many commands go out each time. @returns µs of Redis' CPU for each command */
  async #cost (what: string, once: (i: number, asker: Asker) => Promise<void>, each = 1): Promise<number> {
    this.#onProgress(what)
    const cpu = async (): Promise<number> => {
      const info = await this.#look.info('cpu')
      return Number(/used_cpu_sys:(\S+)/.exec(info)?.[1]) + Number(/used_cpu_user:(\S+)/.exec(info)?.[1])
    }
    const before = await cpu()
    await Promise.all(this.#askers.map(async (asker, n) => { for (let i = n; i < TIMES / each; i += CONNECTIONS) await once(i, asker) }))
    return Number(((await cpu() - before) / TIMES * 1e6).toFixed(1))
  }
}
