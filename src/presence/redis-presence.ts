import { randomUUID } from 'node:crypto'
import type { DisbandReason } from '../protocol/messages.ts'
import { eventsOf, type RedisClient } from '../redis/connections.ts'
import type { Measure } from '../redis/measure.ts'
import { nonceOf, noncesOf, type LeaseNames, type RedisLeases } from './redis-leases.ts'
import { carryOut, withScripts, type Scripts } from './scripts.ts'
import { NotDone, type Change, type LastLeave, type Member, type NewMember, type Position, type Presence, type Reconciled, type RosterChange, type Since, type Snapshot } from './presence.ts'

/** How long a room outlives the last instance that renewed it, ms: the safety net for a cluster that died as a whole. */
const ROOM_TTL_MS = 600_000
/** How many leases a tombstone outlives. An instance that was away for longer finds no room, and no tombstone either. */
const TOMBSTONE_LEASES = 4

const LATE = new Error('The command reached Redis after its deadline')

/** Names of keys and channels. */
export interface RedisNames extends LeaseNames {
  /** How a life of a room ended lately; in the room's slot of a Cluster. */
  tombstone (name: string): string
}

export interface RedisPresenceOptions {
  readonly redis: RedisClient
  readonly names: RedisNames
  readonly leases: RedisLeases
  readonly measure: Measure
}

/**
 * Presence in Redis. A room is one hash: `#epoch`, `#version`, `#instances` (JSON, members of each holder) and a field a
 * member, connection_id to `<version of its join> <joined_at> <holder> <JSON>`. Identities hold no e-mail address and no token.
 */
export class RedisPresence implements Presence {
  readonly renewEveryMs = ROOM_TTL_MS / 3
  readonly #options: RedisPresenceOptions
  readonly #redis: RedisClient & Scripts
  /** The rooms that stand in a holder's set of rooms, and the holder. */
  readonly #marks = new Map<string, string>()

  constructor (options: RedisPresenceOptions) {
    this.#options = options
    this.#redis = withScripts(options.redis)
    // A node of a Cluster may come back without the set that it held.
    eventsOf(options.redis).on('-node', () => { this.#marks.clear() })
  }

  async join (room: string, newcomer: NewMember, limit: number): Promise<Snapshot | 'full'> {
    const { names, leases } = this.#options
    const { connection_id: id } = newcomer
    const answer = await this.#run('join', async () => {
      const marked = this.#mark(room)
      if (this.#redis.isCluster) await marked // another node's: the order of sending says nothing
      const [joined, inSet] = await Promise.allSettled([
        this.#redis.turnipJoin(names.room(room), id, jsonOf(newcomer), leases.holder, limit, randomUUID(), ROOM_TTL_MS, names.lobby, room, leases.deadline),
        marked
      ])
      if (joined.status === 'rejected') throw joined.reason
      if (inSet.status === 'rejected' && joined.value !== 'late') throw new Error('It joined, but no reaper would know', { cause: inSet.reason })
      return joined.value
    })
    if (answer === 'late') throw new NotDone(LATE)
    return answer === 'full' ? answer : snapshotOf(answer[2])
  }

  async leave (room: string, connectionId: string): Promise<(Change & { emptied: boolean }) | undefined> {
    const { names } = this.#options
    const answer = await this.#run('leave', () => this.#redis.turnipLeave(names.room(room), names.tombstone(room), connectionId, names.lobby, room, this.#tombstoneTtlMs))
    if (answer === null) return undefined
    const [epoch, version, emptied, holders] = answer
    return { epoch, version, emptied: emptied === 1, instances: noncesOf(holders) }
  }

  async disband (room: string, requester: string | undefined): Promise<Change | undefined> {
    const { names, leases } = this.#options
    const answer = await this.#run('disband', () =>
      this.#redis.turnipDisband(names.room(room), names.tombstone(room), requester ?? '', this.#tombstoneTtlMs, names.lobby, room, leases.deadline))
    if (answer === 'late') throw new NotDone(LATE)
    if (answer === null) return undefined
    const [epoch, version, holders] = answer
    return { epoch, version, instances: noncesOf(holders) }
  }

  async reconcile (room: string, instance: string, members: readonly Member[], known: Position | undefined, since: Since, leaver = ''): Promise<Reconciled> {
    const { names, leases } = this.#options
    const answer = await this.#run('reconcile', async () => {
      if (members.length > 0) await this.#mark(room)
      return await this.#redis.turnipReconcile(
        names.room(room), names.tombstone(room), instance, leases.holder, known?.epoch ?? '', known?.version ?? 0, since,
        randomUUID(), ROOM_TTL_MS, this.#tombstoneTtlMs, leases.deadline, names.lobby, room, leaver,
        ...members.flatMap(member => [member.connection_id, member.joined_at, jsonOf(member)]))
    })
    switch (answer[0]) {
      case 'late': throw new NotDone(LATE)
      case 'disbanded': return { kind: 'disbanded', version: answer[1], reason: answer[2] as DisbandReason }
      case 'gone': return { kind: 'gone', last: lastOf(answer[1]) }
      case 'held': {
        const [, last, restored, changes, fields] = answer
        const snapshot = snapshotOf(fields)
        return { kind: 'held', snapshot, changes: changesOf(changes, snapshot), restored: restored === 1, last: lastOf(last) }
      }
    }
  }

  release (room: string): void {
    const holder = this.#marks.get(room)
    if (holder === undefined) return
    this.#marks.delete(room)
    // One that stays in the set costs its reaper a visit, no more.
    void this.#run('unmark', () => this.#redis.srem(this.#options.names.roomsOf(holder), room)).catch(() => {})
  }

  async snapshot (room: string): Promise<Snapshot | undefined> {
    const fields = await this.#run('snapshot', () => this.#redis.hgetall(this.#options.names.room(room)))
    return fields['#epoch'] === undefined ? undefined : snapshotOf(Object.entries(fields).flat())
  }

  async positions (rooms: readonly string[]): Promise<Array<Position | undefined>> {
    const answers = await this.#run('positions', () => Promise.all(rooms.map(room => this.#redis.hmget(this.#options.names.room(room), '#epoch', '#version'))))
    return answers.map(([epoch, version]) => epoch == null || version == null ? undefined : { epoch, version: Number(version) })
  }

  async renew (rooms: string[]): Promise<void> {
    await this.#run('renew', () => Promise.all(rooms.map(room => this.#redis.pexpire(this.#options.names.room(room), ROOM_TTL_MS))))
  }

  get #tombstoneTtlMs (): number { return TOMBSTONE_LEASES * this.#options.leases.leaseMs }

  /** Has this instance's reaper visit the room, if it comes to that. */
  async #mark (room: string): Promise<void> {
    const { leases: { holder, deadline }, names } = this.#options
    if (this.#marks.get(room) === holder) return
    this.#marks.set(room, holder)
    try {
      const answer = await this.#redis.turnipMark(names.roomsOf(holder), room, ROOM_TTL_MS, deadline)
      if (answer === 'late') throw new NotDone(LATE)
    } catch (error) {
      this.#marks.delete(room)
      throw error
    }
  }

  async #run<T> (operation: string, run: () => Promise<T>): Promise<T> {
    return await carryOut(this.#redis, this.#options.measure, operation, run)
  }
}

/** @param fields of the room's hash, name and value in turn */
function snapshotOf (fields: string[]): Snapshot {
  let epoch = ''
  let version = 0
  const joins: Array<{ version: number, member: Member }> = []
  for (let i = 0; i < fields.length; i += 2) {
    const [name = '', value = ''] = fields.slice(i, i + 2)
    if (name === '#epoch') epoch = value
    else if (name === '#version') version = Number(value)
    else if (!name.startsWith('#')) joins.push(joinOf(value))
  }
  // A member that was put back has a later version, but joined when it joined.
  joins.sort((a, b) => a.member.joined_at - b.member.joined_at || a.version - b.version)
  return { epoch, version, members: joins.map(({ member }) => member) }
}

function joinOf (value: string): { version: number, member: Member } {
  const [version = '', joinedAt = '', holder = ''] = value.split(' ', 3)
  const info = JSON.parse(value.slice(version.length + joinedAt.length + holder.length + 3)) as Pick<Member, 'connection_id' | 'user_id' | 'username'>
  return { version: Number(version), member: { ...info, instance: nonceOf(holder), joined_at: Number(joinedAt) } }
}

function lastOf ([epoch, connectionId]: readonly string[]): LastLeave | undefined {
  return epoch === undefined || connectionId === undefined ? undefined : { epoch, connectionId }
}

/** @param flat kind, connection_id and version in turn */
function changesOf (flat: Array<string | number>, { members }: Snapshot): RosterChange[] {
  const changes: RosterChange[] = []
  for (let i = 0; i < flat.length; i += 3) {
    const [kind, connectionId, version] = [flat[i], String(flat[i + 1]), Number(flat[i + 2])]
    const member = members.find(({ connection_id: id }) => id === connectionId)
    if (kind === 'left') changes.push({ kind, connectionId, version })
    else if (member !== undefined) changes.push({ kind: 'joined', member, version })
  }
  return changes
}

function jsonOf ({ connection_id, user_id, username }: NewMember): string {
  return JSON.stringify({ connection_id, user_id, username })
}
