/**
 * The rooms of this instance as part of a cluster: kept in line with the store and with the other instances, whatever
 * happens to those, to the store, or on the way. With one instance there can be, only the parts that this needs are at work.
 */
import type { Broker } from '../broker/broker.ts'
import type { LobbyEvent } from '../broker/lobby-event.ts'
import type { Leases } from '../presence/leases.ts'
import type { Presence, RosterChange } from '../presence/presence.ts'
import { Hub } from './hub.ts'
import { isHandover } from './handover-record.ts'
import { Handovers, type HandoverRooms } from './handover.ts'
import { decodeRecord } from './record.ts'
import { Reconciler, type DoubtCause, type Leaver } from './reconciler.ts'
import { Relay } from './relay.ts'
import type { RosterOwner } from './roster-owner.ts'
import { Tenure } from './tenure.ts'
import { Upkeep } from './upkeep.ts'

/** The part of a logger that is needed here. */
export interface RoomLog {
  debug (context: object, message: string): void
  info (context: object, message: string): void
  warn (context: object, message: string): void
}

export interface ClusterOptions {
  readonly presence: Presence
  readonly broker: Broker
  /** Undefined when this is the only instance there can be. */
  readonly leases?: Leases | undefined
  readonly log: RoomLog
  /** Called when the store has gone away (false), and when it is back and all rooms are right again (true). */
  readonly onReach?: (isUp: boolean) => void
}

/** What a cluster reports to its owner. */
export interface ClusterOwner extends Omit<RosterOwner, 'onGap'>, HandoverRooms {
  onLobby (event: LobbyEvent): void
}

/** This instance's place in the cluster. */
export interface Standing {
  /** Its lease has ended, and nobody is let in. */
  readonly isFenced: boolean
  /** Since its last renewal, ms; undefined before the first. */
  readonly leaseAgeMs: number | undefined
  /** The store answers, and all rooms are right since it does. */
  readonly isReached: boolean
  /** Instances alive at that time. */
  readonly instances: number
}

export class Cluster {
  readonly hub: Hub
  readonly relay: Relay
  readonly handovers: Handovers
  readonly #presence: Presence
  readonly #broker: Broker
  readonly #owner: ClusterOwner
  readonly #reconciler: Reconciler
  readonly #upkeep: Upkeep
  readonly #tenure: Tenure | undefined
  /** How often others could not reach this instance. */
  #interruptions = 0

  constructor ({ presence, broker, leases, log, onReach = () => {} }: ClusterOptions, owner: ClusterOwner) {
    this.#presence = presence
    this.#broker = broker
    this.#owner = owner
    const relay = this.relay = new Relay(broker)
    this.handovers = new Handovers(broker, owner)
    const hub = this.hub = new Hub(broker.nonce, {
      onGap: roster => { this.#reconciler.watch(roster) },
      onDisbanded: (roster, seats) => {
        hub.release(roster)
        owner.onDisbanded(roster, seats)
        this.releaseUnused(roster.room)
      },
      onMoved: (roster, move) => {
        this.handovers.moved(move, roster.instances)
        owner.onMoved(roster, move)
        if (move.seat === undefined) return
        hub.release(roster)
        this.releaseUnused(roster.room)
      },
      onReplaced: (roster, seat) => { owner.onReplaced(roster, seat) }
    })
    const { leaseMs } = leases ?? {}
    const reconciler = this.#reconciler = new Reconciler({
      presence, broker, hub, relay, log, graceMs: leaseMs ?? 0, onUnused: room => { presence.release(room) }
    })
    this.#upkeep = new Upkeep({ presence, reconciler, hub, log, leaseMs })
    this.#tenure = leases && new Tenure({
      leases,
      reconciler,
      hub,
      log,
      onReach,
      onEvicted: (room, { epoch, instances, changes }) => { for (const change of changes) this.pass(room, epoch, instances, change) }
    })
  }

  get standing (): Standing | undefined {
    return this.#tenure && { isFenced: this.#tenure.isFenced, isReached: this.#tenure.isReached, leaseAgeMs: this.#tenure.ageMs, instances: this.#tenure.instances }
  }

  /** What happened since the start: members of dead instances taken out, changes missed, and members told the whole, by the cause. */
  get counts (): { readonly reaped: number, readonly gaps: number, readonly resyncs: Readonly<Record<DoubtCause, number>> } {
    const { gaps, resyncs } = this.#reconciler
    return { reaped: this.#tenure?.reaped ?? 0, gaps, resyncs }
  }

  /**
   * Begins to hear other instances, and takes up the lease.
   * @returns whether it is held; otherwise the instance goes on trying, and cannot serve yet
   */
  async open (): Promise<boolean> {
    await this.#broker.open({
      onRecord: (bytes, origin) => {
        if (isHandover(bytes)) return this.handovers.receive(bytes, origin)
        const record = decodeRecord(bytes)
        this.hub.receive(record, origin)
        if (record.kind === 'data') this.handovers.relayed(record, origin)
      },
      onLobby: event => { this.#owner.onLobby(event) },
      onInterrupted: () => {
        this.#interruptions++
        this.#tenure?.deaf(true)
      },
      onRestored: () => { void this.#heardAgain() },
      onMissed: () => { void this.#upkeep.checkAll() }
    })
    this.#upkeep.start()
    return await this.#tenure?.start() ?? true
  }

  /** Makes good what can be made good, gives the lease up, and stops. */
  async close (): Promise<void> {
    this.#upkeep.stop()
    await this.#reconciler.settleAll()
    this.#reconciler.stop()
    await this.#tenure?.stop(this.#reconciler.size === 0)
    await this.#broker.close()
  }

  /** The connection to the store was lost. */
  disconnected (): void {
    this.#tenure?.disconnected()
  }

  /** The connection to the store is there again. */
  reconnected (): void {
    void this.#tenure?.reconnected()
  }

  /** A part of the store was lost. */
  partLost (): void {
    void this.#tenure?.partLost()
  }

  /** Whether what is asked of the store about a room can be relied on: otherwise the room is to come into doubt. */
  isCertain (room: string): boolean {
    return !this.#reconciler.has(room) && (this.#tenure?.trustsStore ?? true)
  }

  /** Waits until a room can be changed. @returns whether it can; false when that takes longer than one question to the store */
  async ready (room: string): Promise<boolean> {
    const admits = (): boolean => this.#tenure?.admits ?? true
    if (!admits()) return false
    if (this.#reconciler.has(room)) await this.#reconciler.settle(room)
    return !this.#reconciler.has(room) && admits()
  }

  /**
   * It is not known whether something asked of the store about a room has happened: the room is set right.
   * @param leaver a member that the store may not have taken out
   */
  doubt (room: string, leaver?: Leaver): void {
    this.#reconciler.doubt(room, 'answer', leaver)
  }

  /** Tries to set a room right at once. Resolves after one attempt, whatever came of it. */
  async settle (room: string): Promise<void> {
    await this.#reconciler.settle(room)
  }

  /** Passes on a change that the store has made: to the other instances concerned, and to the members here. */
  pass (room: string, epoch: string, instances: readonly string[], change: RosterChange): void {
    this.relay.change(instances, room, epoch, change)
    this.hub.receive({ kind: 'change', epoch, room, change })
  }

  /** A member has gone, or did not come in: lets go of a room that nobody here needs. */
  releaseUnused (room: string): void {
    if (!this.hub.isUsed(room) && !this.#reconciler.has(room)) this.#presence.release(room)
  }

  /** What was said while nobody could reach this instance is lost. */
  async #heardAgain (): Promise<void> {
    const interruptions = this.#interruptions
    await this.#upkeep.checkAll()
    await this.#reconciler.settleAll()
    if (interruptions === this.#interruptions) this.#tenure?.deaf(false)
  }
}
