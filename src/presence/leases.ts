/**
 * Leases: which instances are alive. An instance holds its members by a lease that it renews; when the lease has ended,
 * any other instance may take its members out of their rooms.
 *
 * Guarantees of every implementation:
 * - A lease that has ended is never revived: its instance goes on under a new holder, so nobody who reaps the old one
 *   touches what the instance has put right since.
 * - Times are the store's, so the clocks of instances do not matter.
 * - A holder is given to one reaper at a time, for as long as a lease.
 */
import type { Change, RosterChange, Since } from './presence.ts'

/** What a renewal found. */
export interface Renewal {
  readonly since: Since
  /** Leases that run, this one too. */
  readonly instances: number
  /** Instances that have put their members back since the store lost its memory. */
  readonly restored: number
  /** Until the next lease ends unless it is renewed, ms. */
  readonly nextEndMs: number
  /** Holders whose lease has ended and who are this instance's to reap. */
  readonly reap: string[]
}

/** The members of a dead instance that were taken out of one room. */
export interface Eviction extends Omit<Change, 'version'> {
  readonly changes: RosterChange[]
  readonly emptied: boolean
}

export interface Leases {
  /** How long a lease runs after its renewal, ms. */
  readonly leaseMs: number

  /**
   * Renews this instance's lease, or begins a new one where it has ended.
   * @param hasRestored whether this instance has put its members back into a store that had lost its memory
   * @param mayReap whether it has been alive for long enough to judge others
   */
  renew (hasRestored: boolean, mayReap: boolean): Promise<Renewal>

  /** The rooms in which a holder may have members. */
  roomsOf (holder: string): Promise<string[]>

  /** Takes a dead holder's members out of a room. @returns undefined when there is none of them */
  evict (room: string, holder: string): Promise<Eviction | undefined>

  /** A dead holder has no members any more. */
  forget (holder: string): Promise<void>

  /** Gives the lease up: this instance has no members any more. */
  resign (): Promise<void>
}
