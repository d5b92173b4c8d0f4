import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { Redis } from 'ioredis'
import type { ServerMessage } from '../../src/protocol/messages.ts'
import { Client } from '../harness/client.ts'
import { RedisRooms } from '../harness/redis-rooms.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import type { Claims } from '../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'
import { View, type Numbered } from '../protocol/view.ts'

/** What may stay behind when the last instance is gone; each of them expires. */
const LEFT_BEHIND = /^turnip:[^:]+:(tombstone:\{.*\}:[^:]+|\{cluster\}:generation)$/

/** How long a killed instance's members may stay beyond its lease, ms. */
export const REAP_LIMIT_MS = 5000

/** A client of an instance, and what it knows of its room by what it was told. */
export class Member {
  readonly client: Client
  readonly view: View
  #applied = 0
  #said = 0

  constructor (client: Client) {
    this.client = client
    this.view = new View(client.info, { mayStartOver: true })
  }

  get id (): string { return this.client.id }

  /** Takes in what has come. @throws AssertionError for a frame that cannot follow those before it */
  catchUp (): View {
    for (; this.#applied < this.client.frames.length; this.#applied++) {
      const frame = this.client.frames[this.#applied]
      if (frame !== undefined) this.view.apply(frame)
    }
    return this.view
  }

  /** Says something to its room. @returns its number */
  say (): number {
    this.client.send({ type: 'data', data: { n: this.#said } satisfies Numbered })
    return this.#said++
  }

  /** Waits until it has heard what others said last. */
  async hears (others: Iterable<Member>): Promise<void> {
    const waiting = new Map(Array.from(others, other => [other.id, other.#said - 1]))
    while (waiting.size > 0) {
      const { from, data } = await this.client.next('data')
      if ((data as Numbered).n === waiting.get(from.connection_id)) waiting.delete(from.connection_id)
    }
  }

  /** Waits until it has been told that others are gone. */
  async sawLeave (gone: Iterable<string>, limitMs: number): Promise<void> {
    const waiting = new Set(gone)
    const deadline = Date.now() + limitMs
    while (waiting.size > 0) waiting.delete((await this.client.next('user_left', deadline - Date.now())).data.connection_id)
  }
}

/** A Redis of one test's own with instances on it, and their clients. */
export class InstanceCluster {
  readonly redis: RedisServer
  readonly rooms: RedisRooms
  readonly #store: Redis
  readonly #env: Record<string, string>
  readonly #instances: TurnipProcess[] = []
  readonly #clients: Client[] = []

  private constructor (redis: RedisServer, env: Record<string, string>) {
    this.redis = redis
    this.rooms = new RedisRooms(redis.url)
    this.#store = new Redis(redis.url)
    this.#env = { REDIS_URL: redis.url, ...env }
  }

  /** @param env settings of all its instances */
  static async open (t: TestContext, env: Record<string, string> = {}): Promise<InstanceCluster> {
    const cluster = new InstanceCluster(await startRedisServer(), env)
    t.after(() => cluster.#close())
    return cluster
  }

  /** Starts an instance, and waits until it serves. */
  async start (env: Record<string, string> = {}, built = false): Promise<TurnipProcess> {
    const instance = await startTurnip({ env: { ...this.#env, ...env }, built })
    this.#instances.push(instance)
    return await serving(instance)
  }

  async client (instance: TurnipProcess, userId: string, claims: Claims = {}): Promise<Client> {
    const client = await Client.open(instance.wsUrl, userId, claims)
    this.#clients.push(client)
    return client
  }

  async member (instance: TurnipProcess, userId: string, room: string, claims: Claims = {}): Promise<Member> {
    const member = new Member(await this.client(instance, userId, claims))
    await member.client.join(room)
    return member
  }

  async watcher (instance: TurnipProcess): Promise<Client> {
    const watcher = await this.client(instance, 'root', { role: 'admin' })
    watcher.send({ type: 'watch' })
    await watcher.next('watching')
    return watcher
  }

  /** Waits until members and Redis say the same of a room, and all know all. */
  async settled (room: string, members: readonly Member[]): Promise<void> {
    await until(`the members of ${room} know what Redis knows`, async () => {
      const version = (await this.rooms.find(room))?.version
      return members.every(member => member.catchUp().version === version)
    })
    const stored = [...(await this.rooms.find(room))?.members.keys() ?? []].toSorted()
    assert.deepEqual(stored, members.map(({ id }) => id).toSorted())
    for (const { view } of members) assert.deepEqual(view.ids, stored)
  }

  /** Waits until as many instances hold a lease, and what else there was of the others is gone too. */
  async leases (count: number): Promise<void> {
    await until(`there are ${count} leases`, async () => {
      const holders = await this.#store.zrange('turnip:development:{cluster}:instances', '0', '-1')
      const lists = await this.#store.keys('turnip:development:instance:*')
      return holders.length === count && lists.every(list => holders.some(holder => list.endsWith(`:${holder}`)))
    })
  }

  /** Ends instances in order, and checks that they end well. */
  async stop (...instances: TurnipProcess[]): Promise<void> {
    const exits = await Promise.all(instances.map(instance => instance.stop()))
    for (const [i, exit] of exits.entries()) assert.deepEqual(exit, { code: 0, signal: null }, instances[i]?.logs.join('\n'))
  }

  /** Checks, once no instance is left, that Redis holds nothing of ours but what expires by itself. */
  async assertNothingLeft (): Promise<void> {
    for (const key of await this.#store.keys('turnip:*')) {
      assert.match(key, LEFT_BEHIND)
      assert.ok(await this.#store.pttl(key) !== -1, `${key} does not expire`)
    }
  }

  async #close (): Promise<void> {
    for (const { socket } of this.#clients) socket.terminate()
    await Promise.all(this.#instances.map(instance => instance.stop()))
    this.rooms.drop()
    this.#store.disconnect()
    await this.redis.kill()
  }
}

/** Each member says something, and all the others hear it. */
export async function converse (members: readonly Member[]): Promise<void> {
  for (const member of members) member.say()
  await Promise.all(members.map(member => member.hears(members.filter(other => other !== member))))
}

/** What a watcher has been told of a room so far. */
export function toldOf (watcher: Client, room: string): string[] {
  return watcher.frames.flatMap(frame => isOf(frame, room) ? [frame.type === 'room_disbanded' ? `${frame.type} ${frame.data.reason}` : frame.type] : [])
}

/** Waits until a watcher is told of a room's birth or end. */
export async function toldThat (watcher: Client, type: 'room_created' | 'room_disbanded', room: string, limitMs: number): Promise<void> {
  const deadline = Date.now() + limitMs
  while ((await watcher.next(type, deadline - Date.now())).data.room !== room);
}

function isOf (frame: ServerMessage, room: string): boolean {
  return (frame.type === 'room_created' || frame.type === 'room_disbanded') && frame.data.room === room
}

/** The value below which a share of measured values lie. */
export function quantile (values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN)
}
