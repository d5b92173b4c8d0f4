import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import type { ServerMessage } from '../../src/protocol/messages.ts'
import { Client } from '../harness/client.ts'
import { startRedisProxy, type RedisProxy } from '../harness/redis-proxy.ts'
import { RedisRooms } from '../harness/redis-rooms.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import type { Claims } from '../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import type { Link } from '../harness/tcp-link.ts'
import { serving, until } from '../harness/until.ts'
import { joinOf } from '../protocol/scene.ts'
import { Agreement } from './agreement.ts'

export const LEASE_MS = 1500
export const REDIS_TIMEOUT_MS = 500

const PAUSE_MS = 20

/** What /health answers. */
export interface Health { status: string, redis: string, fenced: boolean, lease_age_ms: number | null, instances: number }

/** An instance and its own line to Redis. */
export interface LinkedInstance { turnip: TurnipProcess, link: RedisProxy }

export interface LinkedClusterOptions {
  instances?: number
  env?: Record<string, string>
  /** Instances talk to Redis without a proxy in between. */
  direct?: boolean
  /** Rooms may end behind the back of their members, whose instance is taken for dead. */
  mayStartOver?: boolean
}

/** Instances on a Redis of their own, each behind a line that can fail. */
export class LinkedCluster {
  readonly rooms: RedisRooms
  /** A connection of the test's own, past all proxies. */
  readonly admin: Redis
  readonly instances: LinkedInstance[] = []
  readonly agreement: Agreement
  #redis: RedisServer
  #numbers = 0

  private constructor (redis: RedisServer, mayStartOver: boolean) {
    this.#redis = redis
    this.rooms = new RedisRooms(redis.url)
    this.agreement = new Agreement(this.rooms, mayStartOver)
    this.admin = new Redis(redis.url)
    this.admin.on('error', () => {}) // a test may take its Redis away
  }

  static async start ({ instances = 2, env = {}, direct = false, mayStartOver = false }: LinkedClusterOptions = {}): Promise<LinkedCluster> {
    const cluster = new LinkedCluster(await startRedisServer(), mayStartOver)
    try {
      await Promise.all(Array.from({ length: instances }, async () => await cluster.add(env, direct)))
    } catch (error) {
      await cluster.stop()
      throw error
    }
    return cluster
  }

  get redis (): RedisServer { return this.#redis }

  /** Starts one more instance. */
  async add (env: Record<string, string> = {}, direct = false): Promise<LinkedInstance> {
    const link = await startRedisProxy(this.#redis.port)
    const settings = { LEASE_MS: String(LEASE_MS), REDIS_TIMEOUT_MS: String(REDIS_TIMEOUT_MS), REDIS_URL: direct ? this.#redis.url : link.url, ...env }
    const instance = { link, turnip: await serving(await startTurnip({ env: settings })) }
    this.instances.push(instance)
    return instance
  }

  instance (index: number): LinkedInstance {
    return this.instances[index] ?? assert.fail(`there is no instance ${index}`)
  }

  /** Redis dies and comes back without a memory. @param meanwhile what happens before it is back */
  async restartEmpty (meanwhile: () => Promise<void> = async () => {}): Promise<void> {
    await this.#redis.kill()
    await meanwhile()
    this.#redis = await this.#redis.replace()
  }

  /** A client of an instance; what it knows counts until it is closed. */
  async open (t: TestContext, index: number, userId: string, claims: Claims = {}): Promise<Client> {
    const client = await Client.open(this.instance(index).turnip.wsUrl, userId, claims)
    t.after(() => client.close())
    this.agreement.follow(client)
    return client
  }

  /** A client that is told of all rooms. */
  async watcher (t: TestContext, index: number): Promise<Client> {
    const client = await Client.open(this.instance(index).turnip.wsUrl, `root-${index}`, { role: 'admin' })
    t.after(() => client.close())
    client.send({ type: 'watch' })
    await client.next('watching')
    return client
  }

  /** Clients join a room one after the other, until all know of all. @param names by the instance they are on */
  async gather (t: TestContext, room: string, ...names: Array<[index: number, userId: string]>): Promise<Client[]> {
    const present: Client[] = []
    for (const [index, userId] of names) {
      const client = await this.open(t, index, userId)
      await client.join(room)
      for (const other of present) await joinOf(other, client)
      present.push(client)
    }
    return present
  }

  /** The number of the next message: each is said once, and they grow. */
  number (): number { return this.#numbers++ }

  /** One says something, and the others hear it. */
  async says (from: Client, ...to: Client[]): Promise<void> {
    const n = this.number()
    from.send({ type: 'data', data: { n } })
    for (const receiver of to) await receiver.upTo(frame => frame.type === 'data' && (frame.data as { n?: number }).n === n)
  }

  async health (index: number): Promise<Health> {
    return await (await fetch(`${this.instance(index).turnip.url}/health`)).json() as Health
  }

  /** @returns what is wrong with the instances by their own word, undefined when nothing is */
  async ailment (): Promise<string | undefined> {
    const all = await Promise.all(this.instances.map(async (_instance, index) => await this.health(index)))
    const isWell = all.every(({ status, redis, fenced }) => status === 'healthy' && redis === 'up' && !fenced)
    return isWell ? undefined : JSON.stringify(all)
  }

  /** Waits until all instances are well, and all members know what Redis holds. @param since when that could begin */
  async heals (t: TestContext, what: string, limitMs: number, since = performance.now()): Promise<void> {
    await settled(t, what, limitMs, async () => await this.ailment() ?? await this.agreement.difference(), since)
  }

  /** Waits until an instance has noticed that a connection of its own is gone: until then it takes itself to be well. */
  async notices (index: number, lost: Link): Promise<void> {
    await until(`instance ${index} connects anew`, async () => this.instance(index).link.links(link => link.index > lost.index).length > 0)
  }

  /** Nothing was thrown that nobody caught. */
  assertCalm (): void {
    for (const { turnip: { logs } } of this.instances) {
      assert.deepEqual(logs.filter(line => /unhandled|uncaught|"level":(50|60)/i.test(line)), [])
    }
  }

  async stop (): Promise<void> {
    this.#redis.thaw()
    for (const { link } of this.instances) await link.heal()
    const exits = await Promise.all(this.instances.map(async ({ turnip }) => {
      turnip.signal('SIGCONT')
      return await turnip.stop()
    }))
    for (const { link } of this.instances) await link.close()
    this.rooms.drop()
    this.admin.disconnect()
    await this.#redis.kill()
    for (const [index, { code }] of exits.entries()) assert.ok(code === 0 || code === null, this.instance(index).turnip.logs.join('\n'))
    this.assertCalm()
  }
}

/**
 * Waits until nothing is wrong any more, and reports how long it took.
 * @param wrong tells what still is, undefined when nothing is
 * @param since when it could begin; now, when left out
 */
export async function settled (t: TestContext, what: string, limitMs: number, wrong: () => Promise<string | undefined>, since = performance.now()): Promise<void> {
  for (;;) {
    const still = await wrong()
    const took = Math.round(performance.now() - since)
    if (still === undefined) {
      t.diagnostic(`${what} in ${took} ms`)
      return
    }
    if (took > limitMs) throw new Error(`not ${what} after ${took} ms: ${still}`)
    await sleep(PAUSE_MS)
  }
}

/** Has a client ask until it is let in. */
export async function joinsAtLast (t: TestContext, client: Client, room: string, limitMs: number, since = performance.now()): Promise<void> {
  await settled(t, `a join of ${room} was taken`, limitMs, async () => {
    client.send({ type: 'join', room })
    const answer = (await client.upTo(({ type }) => type === 'joined' || type === 'error')).at(-1)
    return answer?.type === 'joined' ? undefined : JSON.stringify(answer)
  }, since)
}

/** Has a client ask for something that cannot be done now. */
export async function assertUnavailable (client: Client, message: object, limitMs: number): Promise<void> {
  const begin = performance.now()
  const { error, ...answer } = await client.refused({ ...message, id: 7 })
  assert.deepEqual(answer, { type: 'error', code: 'unavailable', id: 7 }, `${JSON.stringify(message)}: ${error}`)
  const took = performance.now() - begin
  assert.ok(took < limitMs, `${JSON.stringify(message)} took ${took} ms`)
}

/** @returns a look at the frames that clients get from now on */
export function fromNowOn (...clients: Client[]): (...types: Array<ServerMessage['type']>) => string[] {
  const marks = clients.map(({ frames }) => frames.length)
  return (...types) => clients.flatMap(({ frames, info }, index) =>
    frames.slice(marks[index]).filter(({ type }) => types.includes(type)).map(frame => `${info.user_id}: ${JSON.stringify(frame)}`))
}

/** What a client was told of the births and ends of a room, as watcher, member or leaver. */
export function livesOf (client: Client, room: string): string[] {
  return client.frames.flatMap(frame => {
    if (frame.type === 'room_created' && frame.data.room === room) return ['created']
    return frame.type === 'room_disbanded' && frame.data.room === room ? [frame.data.reason] : []
  })
}
