import { randomUUID } from 'node:crypto'
import { eventsOf, type RedisClient } from '../redis/connections.ts'
import type { Measure } from '../redis/measure.ts'
import { nonceOf, noncesOf, type LeaseNames, type RedisLeases } from './redis-leases.ts'
import { carryOut, withScripts, type Scripts } from './scripts.ts'
import { NotDone, type Change, type Entry, type Member, type NewMember, type Position, type Presence, type Reconciled, type RosterChange, type Since, type Snapshot } from './presence.ts'

/** How long a room outlives the last instance that renewed it, ms: the safety net for a cluster that died as a whole. */
const ROOM_TTL_MS = 600_000

const LATE = new Error('The command reached Redis after its deadline')

export interface RedisPresenceOptions {
  readonly redis: RedisClient
  readonly names: LeaseNames
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
  /** The rooms that stand in a holder's set of rooms, or will when that is done. */
  readonly #marks = new Map<string, { readonly holder: string, readonly done: Promise<void> }>()

  constructor (options: RedisPresenceOptions) {
    this.#options = options
    this.#redis = withScripts(options.redis)
    // A node of a Cluster may come back without the set that it held.
    eventsOf(options.redis).on('-node', () => { this.#marks.clear() })
  }

  async join (room: string, newcomer: NewMember, limit: number): Promise<Entry | 'full'> {
    const entry = await this.#enter('join', room, newcomer, limit, '')
    if (entry === undefined) throw new Error('Redis answered a join as if it were a move')
    return entry
  }

  async move (room: string, member: NewMember, epoch: string): Promise<Entry | undefined> {
    const entry = await this.#enter('move', room, member, 0, epoch)
    return entry === 'full' ? undefined : entry
  }

  /** @param life the epoch of the life in which it is to go on; '' for a join */
  async #enter (operation: string, room: string, newcomer: NewMember, limit: number, life: string): Promise<Entry | 'full' | undefined> {
    const { names, leases } = this.#options
    const { connection_id: id } = newcomer
    const { holder, deadline } = leases // one lease for both: it may end in between
    const answer = await this.#run(operation, async () => {
      const marked = this.#mark(room, holder, deadline)
      if (this.#redis.isCluster) await marked // another node's: the order of sending says nothing
      const [joined, inSet] = await Promise.allSettled([
        this.#redis.turnipJoin(names.room(room), id, jsonOf(newcomer), holder, limit, randomUUID(), ROOM_TTL_MS, names.lobby, room, deadline, life),
        marked
      ])
      if (joined.status === 'rejected') throw joined.reason
      if (inSet.status === 'rejected' && Array.isArray(joined.value)) throw new Error('It joined, but no reaper would know', { cause: inSet.reason })
      return joined.value
    })
    if (answer === 'late') throw new NotDone(LATE)
    if (answer === 'full') return answer
    if (answer === null) return undefined
    const [,, fields, from] = answer
    return { ...snapshotOf(fields), ...(from !== '' && { from }) }
  }

  async leave (room: string, connectionId: string, { epoch: knownEpoch, version: knownVersion }: Position): Promise<(Change & { emptied: boolean }) | undefined> {
    const { names, leases } = this.#options
    const answer = await this.#run('leave', () => this.#redis.turnipLeave(names.room(room), names.tombstones(room), connectionId, knownEpoch, knownVersion, names.lobby, room, leases.tombstoneTtlMs))
    if (answer === null) return undefined
    const [epoch, version, emptied, holders] = answer
    return { epoch, version, emptied: emptied === 1, instances: noncesOf(holders) }
  }

  async disband (room: string, requester: string | undefined): Promise<Change | undefined> {
    const { names, leases } = this.#options
    const answer = await this.#run('disband', () =>
      this.#redis.turnipDisband(names.room(room), names.tombstones(room), requester ?? '', leases.tombstoneTtlMs, names.lobby, room, leases.deadline))
    if (answer === 'late') throw new NotDone(LATE)
    if (answer === null) return undefined
    const [epoch, version, holders] = answer
    return { epoch, version, instances: noncesOf(holders) }
  }

  async reconcile (room: string, instance: string, members: readonly Member[], known: Position | undefined, since: Since, leavers: readonly string[] = []): Promise<Reconciled> {
    const { names, leases } = this.#options
    const { holder, deadline } = leases
    const answer = await this.#run('reconcile', async () => {
      if (members.length > 0) await this.#mark(room, holder, deadline)
      return await this.#redis.turnipReconcile(
        names.room(room), names.tombstones(room), instance, holder, known?.epoch ?? '', known?.version ?? 0, since,
        randomUUID(), ROOM_TTL_MS, leases.tombstoneTtlMs, deadline, names.lobby, room, JSON.stringify(leavers),
        ...members.flatMap(member => [member.connection_id, member.joined_at, jsonOf(member)]))
    })
    switch (answer[0]) {
      case 'late': throw new NotDone(LATE)
      case 'disbanded': return { kind: 'disbanded', version: answer[1], reason: 'user_requested' }
      case 'gone': return { kind: 'gone' }
      case 'held': {
        const [, restored, changes, fields] = answer
        const snapshot = snapshotOf(fields)
        return { kind: 'held', snapshot, changes: changesOf(changes, snapshot), restored: restored === 1 }
      }
    }
  }

  async lastLeavers (room: string, epochs: readonly string[]): Promise<Array<string | undefined>> {
    const prefix = this.#options.names.tombstones(room)
    const found = await this.#run('last_leavers', () => this.#redis.mget(epochs.map(epoch => `${prefix}:${epoch}`)))
    return found.map(value => /^\d+ last_member_left (\S+)$/.exec(value ?? '')?.[1])
  }

  get lateMs (): number { return this.#options.leases.lateMs }

  release (room: string): void {
    const { holder } = this.#marks.get(room) ?? {}
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

  /** Has this instance's reaper visit the room, if it comes to that. */
  async #mark (room: string, holder: string, deadline: number): Promise<void> {
    const known = this.#marks.get(room)
    if (known?.holder === holder) return await known.done
    const done = this.#redis.turnipMark(this.#options.names.roomsOf(holder), room, ROOM_TTL_MS, deadline).then(answer => {
      if (answer === 'late') throw new NotDone(LATE)
    })
    const mark = { holder, done }
    this.#marks.set(room, mark)
    try {
      await done
    } catch (error) {
      if (this.#marks.get(room) === mark) this.#marks.delete(room)
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
