/**
 * A Redis for the simulation: it answers the commands and scripts that rooms need while nothing fails, and counts each
 * with its bytes as they would stand on the wire (RESP). What calls it is the real code of presence/ and broker/. The
 * scripts are written again here, in the few lines that a call needs; test/bench compares the counts with a real Redis.
 */
import { EventEmitter } from 'node:events'
import type { Redis } from 'ioredis'
import { commandBytes, pushBytes, replyBytes, type Reply } from './resp.ts'

/** What went through one kind of command. */
export interface Flow { commands: number, bytesIn: number, bytesOut: number }

type Argument = string | number

/** A digest of a script, as EVALSHA names it. */
const SHA = 'e'.repeat(40)
/** Any time of 13 digits, ms since 1970. */
const NOW = 1_700_000_000_000

export class RedisStandIn {
  /** By what was asked for. `lobby` is what scripts publish: its command comes with the script. */
  readonly flows = new Map<string, Flow>()
  /** What subscribers were sent, by the kind of channel. */
  readonly pushed = { inbox: { messages: 0, bytes: 0 }, lobby: { messages: 0, bytes: 0 } }
  readonly rooms = new Map<string, Map<string, string>>()
  readonly sets = new Map<string, Set<string>>()
  readonly #leases = new Set<string>()
  readonly #subscribers = new Map<string, Set<StandInClient>>()

  /** @returns what code that talks to one server takes for its connection; commands and subscriptions alike */
  connect (): StandInClient & Redis {
    return new StandInClient(this) as StandInClient & Redis
  }

  /** Begins to count anew. */
  reset (): void {
    this.flows.clear()
    for (const pushed of Object.values(this.pushed)) Object.assign(pushed, { messages: 0, bytes: 0 })
  }

  /** All commands that clients sent. */
  get total (): Flow {
    const total = { commands: 0, bytesIn: 0, bytesOut: 0 }
    for (const [name, flow] of this.flows) {
      if (name !== 'lobby') total.commands += flow.commands
      total.bytesIn += flow.bytesIn
      total.bytesOut += flow.bytesOut
    }
    return total
  }

  count (operation: string, bytesIn: number, bytesOut: number): void {
    const flow = this.flows.get(operation) ?? { commands: 0, bytesIn: 0, bytesOut: 0 }
    flow.commands++
    flow.bytesIn += bytesIn
    flow.bytesOut += bytesOut
    this.flows.set(operation, flow)
  }

  subscribe (channel: string, client: StandInClient): void {
    const all = this.#subscribers.get(channel) ?? new Set()
    this.#subscribers.set(channel, all.add(client))
  }

  publish (kind: 'inbox' | 'lobby', channel: string, bytes: Buffer): number {
    const all = this.#subscribers.get(channel) ?? new Set()
    for (const client of all) {
      this.pushed[kind].messages++
      this.pushed[kind].bytes += pushBytes(channel, bytes)
      client.emit('messageBuffer', Buffer.from(channel), bytes)
    }
    return all.size
  }

  /** join.lua, for one that is no member yet. */
  join (key: string, [id, member, holder, limit, epoch,, lobby, name]: string[]): Reply {
    const room = this.rooms.get(key) ?? new Map<string, string>([['#epoch', String(epoch)], ['#version', '0'], ['#instances', '{}']])
    if (Number(limit) > 0 && room.size - 3 >= Number(limit)) return 'full'
    if (room.size === 3) this.#announce(String(lobby), { type: 'room_created', room: name, epoch })
    this.rooms.set(key, room)
    const version = this.#change(room, String(holder), 1)
    room.set(String(id), `${version} ${NOW} ${String(holder)} ${String(member)}`)
    return [String(room.get('#epoch')), String(version), [...room].flat(), '']
  }

  /** leave.lua, for one that is a member. */
  leave (key: string, [id, epoch,, lobby, name]: string[]): Reply {
    const room = this.rooms.get(key)
    const holder = room?.get(String(id))?.split(' ', 3)[2]
    if (room === undefined || holder === undefined) return null
    const version = this.#change(room, holder, -1)
    room.delete(String(id))
    const isEmptied = room.size === 3
    if (isEmptied) {
      this.rooms.delete(key)
      this.#announce(String(lobby), { type: 'room_disbanded', room: name, epoch, reason: 'last_member_left' })
    }
    return [String(epoch), version, isEmptied ? 1 : 0, String(room.get('#instances'))]
  }

  /** renew.lua, where no lease ever ends. */
  renew (holder: string, next: string): Reply {
    const isFirst = !this.#leases.has(holder)
    this.#leases.add(isFirst ? next : holder)
    return [isFirst ? 1 : 0, '0'.repeat(36), String(NOW), this.#leases.size, 0, 10_000, []]
  }

  /** One version more, with one member more or less of a holder. */
  #change (room: Map<string, string>, holder: string, difference: number): number {
    const holders = JSON.parse(String(room.get('#instances'))) as Record<string, number>
    const members = (holders[holder] ?? 0) + difference
    const { [holder]: _, ...others } = holders
    room.set('#instances', JSON.stringify(members > 0 ? { ...others, [holder]: members } : others))
    const version = Number(room.get('#version')) + 1
    room.set('#version', String(version))
    return version
  }

  #announce (lobby: string, event: object): void {
    this.count('lobby', 0, 0)
    this.publish('lobby', lobby, Buffer.from(JSON.stringify(event)))
  }
}

/** One connection, as the code of presence/ and broker/ uses it. */
class StandInClient extends EventEmitter {
  readonly status = 'ready'
  readonly isCluster = false
  readonly stream = { writableLength: 0 }
  readonly #redis: RedisStandIn

  constructor (redis: RedisStandIn) {
    super()
    this.#redis = redis
  }

  defineCommand (): void {}

  async subscribe (channel: string): Promise<void> { this.#redis.subscribe(channel, this) }
  async unsubscribe (): Promise<void> {}

  async publish (channel: string, bytes: Buffer): Promise<number> {
    this.#redis.count('publish', commandBytes(['publish', channel, bytes]), replyBytes(1))
    return this.#redis.publish('inbox', channel, bytes)
  }

  async turnipMark (key: string, ...args: Argument[]): Promise<Reply> {
    const set = this.#redis.sets.get(key) ?? new Set()
    this.#redis.sets.set(key, set.add(String(args[0])))
    return this.#script('mark', [key], args, 1)
  }

  async turnipJoin (key: string, ...args: Argument[]): Promise<Reply> {
    return this.#script('join', [key], args, this.#redis.join(key, args.map(String)))
  }

  async turnipLeave (key: string, tombstones: string, ...args: Argument[]): Promise<Reply> {
    return this.#script('leave', [key, tombstones], args, this.#redis.leave(key, args.map(String)))
  }

  async turnipRenew (...all: Argument[]): Promise<Reply> {
    const [keys, args] = [all.slice(0, 4).map(String), all.slice(4)]
    return this.#script('lease', keys, args, this.#redis.renew(String(args[0]), String(args[1])))
  }

  async srem (key: string, member: string): Promise<Reply> {
    this.#redis.sets.get(key)?.delete(member)
    return this.#plain('unmark', ['srem', key, member], 1)
  }

  async pexpire (key: string, ms: number): Promise<Reply> {
    return this.#plain(key.includes(':room:{') ? 'renew' : 'lease', ['pexpire', key, ms], 1)
  }

  async hmget (key: string, ...fields: string[]): Promise<Reply> {
    const room = this.#redis.rooms.get(key)
    return this.#plain('position', ['hmget', key, ...fields], fields.map(field => room?.get(field) ?? null))
  }

  async ping (): Promise<Reply> { return this.#plain('ping', ['ping'], 'PONG') }

  #script (operation: string, keys: string[], args: Argument[], reply: Reply): Reply {
    return this.#plain(operation, ['evalsha', SHA, keys.length, ...keys, ...args], reply)
  }

  #plain (operation: string, command: Argument[], reply: Reply): Reply {
    this.#redis.count(operation, commandBytes(command), replyBytes(reply))
    return reply
  }
}
