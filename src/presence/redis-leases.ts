import { randomUUID } from 'node:crypto'
import type { RedisClient } from '../redis/connections.ts'
import type { Measure } from '../redis/measure.ts'
import type { Eviction, Leases, Renewal } from './leases.ts'
import { carryOut, withScripts, type Scripts } from './scripts.ts'
import type { RosterChange, Since } from './presence.ts'

/**
 * How long the books of the cluster outlive the last instance that renewed them, ms. It is the safety net for a cluster
 * that died as a whole: whatever nobody renews goes away by itself.
 */
const BOOKS_TTL_MS = 600_000
/** How much later than its answer is given up a command may still take effect, ms: the two clocks are read a round trip apart. */
const CLOCK_SLACK_MS = 500
/** How many leases a tombstone outlives. An instance that was away for longer finds no room, and no tombstone either. */
const TOMBSTONE_LEASES = 4

/** Names of keys. Those of the cluster share a hash tag, for one script at a time to use them. */
export interface LeaseNames {
  readonly lobby: string
  readonly instances: string
  readonly generation: string
  readonly restored: string
  readonly reaping: string
  room (name: string): string
  /** What the names of tombstones begin with, which say how lives of a room ended; in the room's slot of a Cluster. */
  tombstones (name: string): string
  /** The rooms in which a holder may have members: what its reaper has to visit. */
  roomsOf (holder: string): string
}

export interface RedisLeasesOptions {
  readonly redis: RedisClient
  readonly names: LeaseNames
  /** This instance's unique name. */
  readonly nonce: string
  readonly leaseMs: number
  /** After this time the answer to a command is given up, ms. */
  readonly timeoutMs: number
  readonly measure: Measure
}

/**
 * Leases in Redis: a sorted set of holders by the end of their lease, in Redis' time. A holder is called
 * `<nonce>~<number>`; the number grows when a lease has ended, and members in the store belong to a holder.
 */
export class RedisLeases implements Leases {
  readonly leaseMs: number
  readonly #options: RedisLeasesOptions
  readonly #redis: RedisClient & Scripts
  #number = 0
  #generation: string | undefined
  /** When the lease ends, by Redis' time, ms. */
  #endsAt = Infinity
  /** Redis' time less ours, ms; until it has said so, what our own clock says. */
  #ahead = Date.now() - performance.now()

  constructor (options: RedisLeasesOptions) {
    this.#options = options
    this.leaseMs = options.leaseMs
    this.#redis = withScripts(options.redis)
  }

  /** Under what name this instance's members stand in the store at present. */
  get holder (): string { return holderOf(this.#options.nonce, this.#number) }

  get tombstoneTtlMs (): number { return TOMBSTONE_LEASES * this.leaseMs }

  /** How long after it was given up a command may still take effect, ms: it is given up sooner when the connection breaks. */
  get lateMs (): number { return this.#options.timeoutMs + CLOCK_SLACK_MS }

  /**
   * Redis' time until which a command that is sent now may take effect, ms: what a network held back must not come true
   * much later. And never after the end of the lease: the rooms may have been reaped by then, which the command knows nothing of.
   */
  get deadline (): number {
    const given = Math.ceil(performance.now() + this.#ahead + this.#options.timeoutMs + CLOCK_SLACK_MS)
    return Math.min(given, this.#endsAt)
  }

  async renew (hasRestored: boolean, mayReap: boolean): Promise<Renewal> {
    const { names, nonce, leaseMs } = this.#options
    const sentAt = performance.now()
    const [lapsed, generation, now, instances, restored, nextEndMs, reap] = await this.#run('lease', () => this.#redis.turnipRenew(
      names.instances, names.generation, names.restored, names.reaping,
      this.holder, holderOf(nonce, this.#number + 1), leaseMs, randomUUID(), BOOKS_TTL_MS, nonce, hasRestored ? this.#generation ?? '' : '', mayReap ? 1 : 0))
    this.#ahead = Number(now) - sentAt // too much by the way there: a late answer must not bring deadlines forward
    this.#endsAt = Number(now) + leaseMs
    const since: Since = generation !== (this.#generation ?? generation) ? 'forgotten' : lapsed === 1 && this.#number > 0 ? 'lapsed' : 'kept'
    this.#generation = generation
    if (lapsed === 1) this.#number++
    void this.#redis.pexpire(names.roomsOf(this.holder), BOOKS_TTL_MS).catch(() => {}) // the next renewal does it again
    return { since, instances, restored, nextEndMs: nextEndMs < 0 ? leaseMs : nextEndMs, reap }
  }

  async roomsOf (holder: string): Promise<string[]> {
    return await this.#run('rooms_of', () => this.#redis.smembers(this.#options.names.roomsOf(holder)))
  }

  async evict (room: string, holder: string): Promise<Eviction | undefined> {
    const { names } = this.#options
    const answer = await this.#run('evict', () => this.#redis.turnipEvict(names.room(room), names.tombstones(room), holder, names.lobby, room, this.tombstoneTtlMs))
    if (answer === null) return undefined
    const [epoch, emptied, holders, leaves] = answer
    const changes: RosterChange[] = []
    for (let i = 0; i < leaves.length; i += 2) changes.push({ kind: 'left', connectionId: String(leaves[i]), version: Number(leaves[i + 1]) })
    return { epoch, emptied: emptied === 1, instances: noncesOf(holders), changes }
  }

  async forget (holder: string): Promise<void> {
    const { names } = this.#options
    await this.#run('forget', async () => {
      await this.#redis.del(names.roomsOf(holder))
      await this.#redis.zrem(names.instances, holder)
      await this.#redis.zrem(names.reaping, holder)
      await this.#redis.srem(names.restored, nonceOf(holder)) // one that lives on says it again with its next renewal
    })
  }

  async resign (): Promise<void> {
    // Former ones, too: whoever would reap them may be gone as well, and their rooms were taken over.
    for (let number = this.#number; number >= 0; number--) await this.forget(holderOf(this.#options.nonce, number))
  }

  async #run<T> (operation: string, run: () => Promise<T>): Promise<T> {
    return await carryOut(this.#options.redis, this.#options.measure, operation, run)
  }
}

function holderOf (nonce: string, number: number): string {
  return `${nonce}~${number}`
}

/** The instance that a holder stands for, whichever of its leases it is. */
export function nonceOf (holder: string): string {
  return holder.slice(0, holder.lastIndexOf('~'))
}

/** @param holders JSON: members of each holder. @returns nonces, each once */
export function noncesOf (holders: string): string[] {
  return [...new Set(Object.keys(JSON.parse(holders) as Record<string, number>).map(nonceOf))]
}
