import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { ReplyError } from 'ioredis'
import type { RedisClient } from '../redis/connections.ts'
import type { Measure } from '../redis/measure.ts'
import { NotDone, type Change, type Member, type NewMember, type Presence, type Snapshot } from './presence.ts'

/**
 * How long a room outlives the last instance that renewed it, ms. It is the safety net for a cluster that died as a
 * whole: whatever nobody renews goes away by itself.
 */
const ROOM_TTL_MS = 600_000

/** Each script runs whole on one room's key, so concurrent instances see it happen at once or not at all. */
const scripts = Object.fromEntries(['join', 'leave', 'disband'].map(name =>
  [name, readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8')]))

/** The scripts as they answer: bulk strings and integers. */
interface Scripts {
  turnipJoin (key: string, ...args: Array<string | number>): Promise<'full' | [epoch: string, version: string, fields: string[]]>
  turnipLeave (key: string, ...args: string[]): Promise<null | [epoch: string, version: number, emptied: number, instances: string]>
  turnipDisband (key: string, ...args: string[]): Promise<null | [epoch: string, version: number, instances: string]>
}

const AWAY = new Error('There is no connection to Redis')

/** Names of keys and channels. */
export interface RedisNames {
  /** @returns the hash of a room; a room's name holds no brace, so it is a safe hash tag (one Cluster slot a room) */
  room (name: string): string
  readonly lobby: string
}

export interface RedisPresenceOptions {
  readonly redis: RedisClient
  readonly names: RedisNames
  /** This instance's nonce: its members are the only ones it takes out. */
  readonly instance: string
  readonly measure: Measure
}

/**
 * Presence in Redis. A room is one hash: `#epoch`, `#version`, `#instances` (JSON, members on each instance) and a
 * field a member, connection_id to `<version of its join> <joined_at> <JSON>`. Identities hold no e-mail address and no token.
 */
export class RedisPresence implements Presence {
  readonly renewEveryMs = ROOM_TTL_MS / 3
  readonly #redis: RedisClient
  readonly #scripts: Scripts
  readonly #names: RedisNames
  readonly #instance: string
  readonly #measure: Measure

  constructor ({ redis, names, instance, measure }: RedisPresenceOptions) {
    for (const [name, lua] of Object.entries(scripts)) {
      redis.defineCommand(`turnip${name.charAt(0).toUpperCase()}${name.slice(1)}`, { lua, numberOfKeys: 1 })
    }
    this.#redis = redis
    this.#scripts = redis as RedisClient & Scripts
    this.#names = names
    this.#instance = instance
    this.#measure = measure
  }

  /** Runs one operation. @throws NotDone when it was not sent, or was refused: a script's first write decides for all */
  async #run<T> (operation: string, run: () => Promise<T>): Promise<T> {
    try {
      return await this.#measure(operation, async () => {
        if (this.#redis.status !== 'ready') throw AWAY
        return await run()
      })
    } catch (error) {
      throw error === AWAY || error instanceof ReplyError ? new NotDone(error) : error
    }
  }

  async join (room: string, newcomer: NewMember, limit: number): Promise<Snapshot | 'full'> {
    const { connection_id: id, instance } = newcomer
    const answer = await this.#run('join', () => this.#scripts.turnipJoin(
      this.#names.room(room), id, JSON.stringify(newcomer), instance, limit, randomUUID(), ROOM_TTL_MS, this.#names.lobby, room))
    return answer === 'full' ? answer : snapshotOf(answer[0], answer[1], answer[2])
  }

  async leave (room: string, connectionId: string): Promise<(Change & { emptied: boolean }) | undefined> {
    const answer = await this.#run('leave', () =>
      this.#scripts.turnipLeave(this.#names.room(room), connectionId, this.#instance, this.#names.lobby, room))
    if (answer === null) return undefined
    const [epoch, version, emptied, instances] = answer
    return { epoch, version, emptied: emptied === 1, instances: namesOf(instances) }
  }

  async disband (room: string, requester: string | undefined): Promise<Change | undefined> {
    const answer = await this.#run('disband', () =>
      this.#scripts.turnipDisband(this.#names.room(room), requester ?? '', this.#names.lobby, room))
    if (answer === null) return undefined
    const [epoch, version, instances] = answer
    return { epoch, version, instances: namesOf(instances) }
  }

  async snapshot (room: string): Promise<Snapshot | undefined> {
    const fields = await this.#run('snapshot', () => this.#redis.hgetall(this.#names.room(room)))
    const { '#epoch': epoch, '#version': version } = fields
    if (epoch === undefined || version === undefined) return undefined
    return snapshotOf(epoch, version, Object.entries(fields).flat())
  }

  async renew (rooms: string[]): Promise<void> {
    const pipeline = this.#redis.pipeline()
    for (const room of rooms) pipeline.pexpire(this.#names.room(room), ROOM_TTL_MS)
    await this.#run('renew', async () => {
      for (const [error] of await pipeline.exec() ?? []) if (error !== null) throw error
    })
  }
}

/** @param fields of the room's hash, name and value in turn */
function snapshotOf (epoch: string, version: string, fields: string[]): Snapshot {
  const joins: Array<{ version: number, member: Member }> = []
  for (let i = 0; i < fields.length; i += 2) {
    const [name = '', value = ''] = fields.slice(i, i + 2)
    if (name.startsWith('#')) continue
    const [joinedIn = '', joinedAt = ''] = value.split(' ', 2)
    const newcomer = JSON.parse(value.slice(joinedIn.length + joinedAt.length + 2)) as NewMember
    joins.push({ version: Number(joinedIn), member: { ...newcomer, joined_at: Number(joinedAt) } })
  }
  joins.sort((a, b) => a.version - b.version)
  return { epoch, version: Number(version), members: joins.map(({ member }) => member) }
}

function namesOf (instances: string): string[] {
  return Object.keys(JSON.parse(instances) as Record<string, number>)
}
