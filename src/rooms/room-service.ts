/**
 * What a peer can do with rooms: join, leave, relay, disband, watch. Routes call nothing else; embedders get it as
 * `app.turnip.rooms`. It asks presence what is true, tells the other instances through the broker, and tells the
 * peers here through rosters.
 *
 * Calls for one peer must come one after the other: its connection sees to that. A change is passed on in the same
 * turn in which the store answered it.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Broker } from '../broker/broker.ts'
import { NotDone, type Change, type NewMember, type Presence } from '../presence/presence.ts'
import { frameOf, type Frame } from '../protocol/frame.ts'
import { ROOM_NAME, type ClientMessageOf, type DisbandReason, type MemberInfo, type RequestId } from '../protocol/messages.ts'
import { Refusal } from '../protocol/refusal.ts'
import { Departures } from './departures.ts'
import { Hub } from './hub.ts'
import { mayWatch, opens } from './identity.ts'
import { infoOf, type Peer } from './peer.ts'
import { decodeRecord } from './record.ts'
import { Relay } from './relay.ts'
import { GAP_MS, Repair } from './repair.ts'
import type { Roster, RosterChange } from './roster.ts'
import { Seat } from './seat.ts'
import { Watchers } from './watchers.ts'

/** The part of a logger that is needed here. */
interface RoomLog {
  warn (context: object, message: string): void
}

export interface RoomServiceOptions {
  readonly presence: Presence
  readonly broker: Broker
  readonly log: RoomLog
  /** The most members of one room, against a room that costs each message dearly; 0 for no limit. */
  readonly maxMembers: number
}

/** What happened here since the start. Plain numbers: they are counted on the hot path and read when scraped. */
interface RoomCounts { joins: number, leaves: number }

export class RoomService {
  readonly counts: RoomCounts = { joins: 0, leaves: 0 }
  readonly #presence: Presence
  readonly #broker: Broker
  readonly #log: RoomLog
  readonly #maxMembers: number
  readonly #relay: Relay
  readonly #hub: Hub
  readonly #watchers: Watchers
  readonly #departures: Departures
  readonly #repair: Repair
  #renewing: NodeJS.Timeout | undefined
  readonly #underWay = new Set<Promise<void>>()

  constructor ({ presence, broker, log, maxMembers }: RoomServiceOptions) {
    this.#presence = presence
    this.#broker = broker
    this.#log = log
    this.#maxMembers = maxMembers
    this.#relay = new Relay(broker)
    this.#repair = new Repair({ presence, log, onWhole: roster => { this.#hub.release(roster) } })
    this.#departures = new Departures({ presence, log, onLeft: (room, connectionId, outcome) => { this.#pass(room, outcome, { kind: 'left', version: outcome.version, connectionId }) } })
    this.#hub = new Hub(broker.nonce, {
      onGap: roster => { this.#repair.watch(roster) },
      onDisbanded: (roster, seats) => { this.#disbanded(roster, seats) }
    })
    this.#watchers = new Watchers(on => broker.hearLobby(on))
  }

  /** Rooms that have a member on this instance. */
  get roomCount (): number { return this.#hub.roomCount }

  /** Begins to hear other instances. Resolves once they can reach this one. */
  async open (): Promise<void> {
    await this.#broker.open({
      onRecord: record => { this.#hub.receive(decodeRecord(record)) },
      onLobby: event => { this.#watchers.announce(event) }
    })
    const { renewEveryMs } = this.#presence
    if (renewEveryMs !== undefined) this.#renewing ??= setInterval(() => { void this.#renew() }, renewEveryMs).unref()
  }

  /** Waits until every peer that went has left in the store too, as far as it can be reached, and stops. */
  async close (): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay)
    await this.#departures.settle()
    this.#departures.stop()
    this.#repair.stop()
    clearInterval(this.#renewing)
    await this.#broker.close()
  }

  /**
   * A connection has closed: it leaves its room and watches no more. Never rejects.
   * @param underWay what it had asked for last; one whose join is under way leaves as soon as it is in
   */
  async exit (peer: Peer, underWay: Promise<void> = Promise.resolve()): Promise<void> {
    const gone = underWay.then(async () => {
      await Promise.all([this.#depart(peer), this.#watchers.remove(peer)])
    })
    this.#underWay.add(gone)
    try {
      await gone
    } finally {
      this.#underWay.delete(gone)
    }
  }

  /**
   * Puts a peer into a room; it leaves the one it was in. Sends it `joined` (after `left`, and `room_disbanded` where
   * it was the last one there). Resolves once it is in.
   * @throws Refusal room_invalid, room_forbidden, identity_mismatch, room_full, unavailable; it then stays where it was
   */
  async join (peer: Peer, { room, user_id: claimed, id }: Pick<ClientMessageOf<'join'>, 'room' | 'user_id' | 'id'>): Promise<void> {
    if (!ROOM_NAME.test(room)) throw new Refusal('room_invalid')
    if (claimed !== undefined && claimed !== peer.identity.userId) throw new Refusal('identity_mismatch')
    if (!opens(peer.identity, room)) throw new Refusal('room_forbidden')
    const previous = peer.seat
    if (previous?.roster.room === room) {
      previous.confirm(id)
      return
    }
    this.#hub.expect(room)
    let seat: Seat
    let seated: Promise<void>
    let late: NodeJS.Timeout | undefined
    try {
      const forgiven = await this.#departures.forgive(room, peer.id)
      const newcomer: NewMember = { ...infoOf(peer), instance: this.#broker.nonce }
      const snapshot = await this.#ask(this.#presence.join(room, newcomer, this.#maxMembers).catch((error: unknown) => {
        // The answer was lost, and perhaps not the effect; or it is in the store still, from before.
        if (forgiven || !(error instanceof NotDone)) this.#departures.owe(room, peer.id)
        throw error
      }))
      if (snapshot === 'full') throw new Refusal('room_full')
      const member = snapshot.members.find(({ connection_id: other }) => other === peer.id)
      if (member === undefined) throw new Refusal('internal', undefined, { cause: new Error('the store answered a join without its member') })
      const { epoch, version } = snapshot
      const change: RosterChange = { kind: 'joined', version, member }
      this.#relay.change(snapshot.members.map(({ instance }) => instance), room, epoch, change)
      const roster = this.#hub.open(room, snapshot, peer.id)
      seat = new Seat(peer, roster, previous !== undefined)
      this.#watchers.moving(peer, epoch)
      seated = new Promise(resolve => {
        roster.receive(change, seat, () => { seat.confirm(id); resolve() })
      })
      if (roster.hasGap) late = setTimeout(() => { roster.resync(snapshot) }, GAP_MS) // the join does not wait for a lost change
      this.counts.joins++
    } finally {
      this.#hub.arrived(room)
    }
    await seated
    clearTimeout(late)
    if (peer.seat !== undefined) await this.leave(peer) // it has none if that room was disbanded meanwhile
    if (!seat.roster.ended) {
      peer.seat = seat
      this.#watchers.entered(peer, seat.roster.epoch)
    }
    seat.release()
  }

  /**
   * Takes a peer out of its room: `left` at once, `room_disbanded` when it was the last. A leave that the store does
   * not take at the moment is made good later.
   * @throws Refusal not_in_room
   */
  async leave (peer: Peer, id?: RequestId): Promise<void> {
    const { seat } = peer
    if (seat === undefined) throw new Refusal('not_in_room')
    const { room } = seat.roster
    const gone = this.#depart(peer)
    peer.send(frameOf({ type: 'left', data: { room }, ...(id !== undefined && { id }) }))
    await gone
  }

  /**
   * Carries a message to the others in the sender's room, or to those that `to` means.
   * @param text the message as the client wrote it
   * @throws Refusal not_in_room, peer_not_found, bad_message; unavailable when it reached only the members here
   */
  relay (peer: Peer, message: ClientMessageOf<'data'>, text: Buffer): void {
    if (peer.seat === undefined) throw new Refusal('not_in_room', 'You must join a room before sending data')
    this.#relay.data(peer.seat, message, text)
  }

  /**
   * Ends the room of a peer: every member is sent `room_disbanded` and is then in no room.
   * @throws Refusal not_in_room, unavailable
   */
  async disband (peer: Peer, id?: RequestId): Promise<void> {
    const { seat } = peer
    if (seat === undefined) throw new Refusal('not_in_room', 'You must be a member of a room to disband it')
    seat.requestId = id
    try {
      if (await this.#disband(seat.roster.room, peer.id) || seat.roster.ended) return
      await delay(GAP_MS) // somebody else was faster, and word of it is on its way
      if (!seat.roster.ended) await this.#repair.mend(seat.roster) // or it was lost
      if (peer.seat !== seat) return
      await this.#depart(peer)
      throw new Refusal('not_in_room', 'The room does not know you any more: join it again')
    } catch (error) {
      seat.requestId = undefined
      // Whether it has happened is not known: its members are told as soon as it is.
      if (error instanceof Refusal && error.code === 'unavailable') this.#repair.watch(seat.roster)
      throw error
    }
  }

  /**
   * Ends a room on behalf of the host application.
   * @returns whether there was such a room
   * @throws Refusal room_invalid, unavailable
   */
  async disbandRoom (room: string): Promise<boolean> {
    if (!ROOM_NAME.test(room)) throw new Refusal('room_invalid')
    return await this.#disband(room, undefined)
  }

  /**
   * Who is in a room, on all instances, in the order they joined; nobody when there is no such room.
   * @throws Refusal room_invalid, unavailable
   */
  async members (room: string): Promise<MemberInfo[]> {
    if (!ROOM_NAME.test(room)) throw new Refusal('room_invalid')
    const snapshot = await this.#ask(this.#presence.snapshot(room))
    return (snapshot?.members ?? []).map(({ instance, ...info }) => info)
  }

  /**
   * Has a peer told of rooms being born and ending, or no longer.
   * @throws Refusal forbidden, unavailable
   */
  async watch (peer: Peer, on: boolean): Promise<void> {
    if (!mayWatch(peer.identity)) throw new Refusal('forbidden', 'Watching needs a rooms claim in the token, or the role admin')
    await this.#ask(on ? this.#watchers.add(peer) : this.#watchers.remove(peer))
  }

  /** Takes a peer out of its seat at once, and out of the store. Never rejects. */
  async #depart (peer: Peer): Promise<void> {
    const { seat } = peer
    if (seat === undefined) return
    const { room, epoch } = seat.roster
    peer.seat = undefined
    seat.roster.vacate(seat)
    this.#hub.release(seat.roster)
    this.#watchers.moving(peer, epoch)
    this.counts.leaves++
    await this.#departures.leave(room, peer.id, emptied => {
      if (emptied) peer.send(disbandedFrame(room, 'last_member_left'))
      this.#watchers.left(peer, { room, epoch }, emptied)
    })
  }

  /** Passes on a change that the store has made: to the other instances concerned, and to the members here. */
  #pass (room: string, { epoch, instances }: Change, change: RosterChange): void {
    this.#relay.change(instances, room, epoch, change)
    this.#hub.receive({ kind: 'change', epoch, room, change })
  }

  async #disband (room: string, requester: string | undefined): Promise<boolean> {
    const outcome = await this.#ask(this.#presence.disband(room, requester))
    if (outcome === undefined) return false
    this.#pass(room, outcome, { kind: 'disbanded', version: outcome.version, reason: 'user_requested' })
    return true
  }

  #disbanded (roster: Roster, seats: readonly Seat[]): void {
    this.#hub.release(roster)
    for (const seat of seats) {
      if (seat.peer.seat === seat) seat.peer.seat = undefined
      this.#watchers.left(seat.peer, roster, true)
    }
  }

  /** Waits for the store. @throws Refusal unavailable when it does not answer or refuses */
  async #ask<T> (answer: Promise<T>): Promise<T> {
    try {
      return await answer
    } catch (error) {
      if (error instanceof Refusal) throw error
      throw new Refusal('unavailable', undefined, { cause: error })
    }
  }

  async #renew (): Promise<void> {
    try {
      await this.#presence.renew(Array.from(this.#hub.rosters, roster => roster.room))
    } catch (error) {
      this.#log.warn({ err: error }, 'rooms could not be kept from expiring; it is tried again')
    }
  }
}

function disbandedFrame (room: string, reason: DisbandReason): Frame {
  return frameOf({ type: 'room_disbanded', data: { room, reason } })
}
