/**
 * What a peer can do with rooms: join, leave, relay, disband, watch. Routes call nothing else; embedders get it as
 * `app.turnip.rooms`. It asks presence what is true, tells the other instances through the broker, and tells the
 * peers here through rosters.
 *
 * Calls for one peer must come one after the other: its connection sees to that. A change is passed on in the same
 * turn in which the store answered it.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { NotDone, type NewMember, type Presence, type RosterChange } from '../presence/presence.ts'
import { frameOf, type Frame } from '../protocol/frame.ts'
import { ROOM_NAME, type ClientMessageOf, type DisbandReason, type MemberInfo, type RequestId } from '../protocol/messages.ts'
import { Refusal } from '../protocol/refusal.ts'
import { Cluster, type ClusterOptions, type RoomLog, type Standing } from './cluster.ts'
import { mayWatch, opens } from './identity.ts'
import type { Arrival } from './arrival.ts'
import type { SessionAsk, SessionHolder } from './handover.ts'
import { infoOf, type Peer } from './peer.ts'
import { GAP_MS, type Leaver } from './reconciler.ts'
import { Seat } from './seat.ts'
import { Watchers } from './watchers.ts'

export interface RoomServiceOptions extends ClusterOptions {
  /** The most members of one room, against a room that costs each message dearly; 0 for no limit. */
  readonly maxMembers: number
}

/** What happened here since the start. Plain numbers: they are counted on the hot path and read when scraped. */
interface RoomCounts { joins: number, leaves: number }

export class RoomService {
  readonly counts: RoomCounts = { joins: 0, leaves: 0 }
  readonly #presence: Presence
  readonly #nonce: string
  readonly #log: RoomLog
  readonly #maxMembers: number
  readonly #cluster: Cluster
  readonly #watchers: Watchers
  readonly #underWay = new Set<Promise<void>>()

  constructor ({ maxMembers, ...options }: RoomServiceOptions) {
    const { presence, broker, log } = options
    this.#presence = presence
    this.#nonce = broker.nonce
    this.#log = log
    this.#maxMembers = maxMembers
    this.#watchers = new Watchers(on => broker.hearLobby(on))
    this.#cluster = new Cluster(options, {
      onLobby: event => { this.#watchers.announce(event) },
      move: async () => undefined,
      isWatching: peer => this.#watchers.has(peer),
      watch: async (peer, on) => { await this.watch(peer, on) },
      onDisbanded: (roster, seats) => {
        for (const seat of seats) {
          if (seat.peer.seat === seat) seat.peer.seat = undefined
          this.#watchers.left(seat.peer, roster, true)
        }
      }
    })
  }

  /** Rooms that have a member on this instance. */
  get roomCount (): number { return this.#cluster.hub.roomCount }
  /** This instance's place in the cluster; undefined when it is the only one there can be. */
  get standing (): Standing | undefined { return this.#cluster.standing }
  /** What was mended, since the start. */
  get repairs (): Cluster['counts'] { return this.#cluster.counts }

  /**
   * Begins to hear other instances, and takes up the lease. To be called again when it rejects.
   * @returns whether the lease is held; otherwise the instance goes on trying, and cannot serve yet
   */
  async open (): Promise<boolean> {
    return await this.#cluster.open()
  }

  /** Gives up sessions of this instance to others that ask for them. */
  serveSessions (holder: SessionHolder): void {
    this.#cluster.handovers.serve(holder)
  }

  /**
   * Asks the instance that holds a session for it.
   * @returns what it gave; `refused`: it cannot be gone on with; `gone`: the instance does not answer
   */
  async fetchSession (instance: string, ask: SessionAsk): Promise<Arrival | 'refused' | 'gone'> {
    return await this.#cluster.handovers.fetch(instance, ask)
  }

  /** Waits until every peer that went has left in the store too, as far as it can be reached, and stops. */
  async close (): Promise<void> {
    await this.#cluster.handovers.idle()
    while (this.#underWay.size > 0) await Promise.all(this.#underWay)
    await this.#cluster.close()
  }

  /** The connection to the store was lost. */
  disconnected (): void {
    this.#cluster.disconnected()
  }

  /** The connection to the store is there again. */
  reconnected (): void {
    this.#cluster.reconnected()
  }

  /** A part of the store was lost: a node of a Redis Cluster, with the rooms that it holds. */
  partLost (): void { this.#cluster.partLost() }

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
    await this.#ready(room)
    this.#cluster.hub.expect(room)
    let seat: Seat
    let seated: Promise<void>
    let late: NodeJS.Timeout | undefined
    try {
      const newcomer: NewMember = { ...infoOf(peer), instance: this.#nonce }
      const snapshot = await this.#ask(this.#presence.join(room, newcomer, this.#maxMembers).catch((error: unknown) => {
        if (!(error instanceof NotDone)) this.#cluster.doubt(room) // it may have happened all the same
        throw error
      }))
      if (snapshot === 'full') throw new Refusal('room_full')
      const member = snapshot.members.find(({ connection_id: other }) => other === peer.id)
      if (member === undefined) throw new Refusal('internal', undefined, { cause: new Error('the store answered a join without its member') })
      const { epoch, version } = snapshot
      const change: RosterChange = { kind: 'joined', version, member }
      this.#cluster.relay.change(snapshot.members.map(({ instance }) => instance), room, epoch, change)
      const roster = this.#cluster.hub.open(room, snapshot, peer.id)
      seat = new Seat(peer, roster, peer.seat !== undefined)
      this.#watchers.moving(peer, epoch)
      seated = new Promise(resolve => {
        roster.receive(change, seat, () => { seat.confirm(id); resolve() })
      })
      if (roster.hasGap) late = setTimeout(() => { if (roster.hasGap) roster.adopt(snapshot) }, GAP_MS) // the join does not wait for a lost change
      this.counts.joins++
    } finally {
      this.#cluster.hub.arrived(room)
      this.#cluster.releaseUnused(room)
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
    this.#cluster.relay.data(peer.seat, message, text)
  }

  /**
   * Ends the room of a peer: every member is sent `room_disbanded` and is then in no room.
   * @throws Refusal not_in_room, unavailable
   */
  async disband (peer: Peer, id?: RequestId): Promise<void> {
    const { seat } = peer
    if (seat === undefined) throw new Refusal('not_in_room', 'You must be a member of a room to disband it')
    const { room } = seat.roster
    seat.requestId = id
    try {
      if (await this.#disband(room, peer.id) || seat.roster.ended) return
      await delay(GAP_MS) // somebody else was faster, and word of it is on its way
      if (seat.roster.ended) return
      this.#cluster.doubt(room) // or it was lost
      await this.#cluster.settle(room)
      if (peer.seat === seat) throw new Refusal('unavailable')
    } catch (error) {
      seat.requestId = undefined
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

  /** Takes a peer out of its seat at once, and out of the store as soon as that can be. Never rejects. */
  async #depart (peer: Peer): Promise<void> {
    const { seat } = peer
    if (seat === undefined) return
    const { roster } = seat
    const { room, epoch } = roster
    peer.seat = undefined
    roster.vacate(seat)
    this.#cluster.hub.release(roster)
    this.#watchers.moving(peer, epoch)
    this.counts.leaves++
    const leaver: Leaver = {
      connectionId: peer.id,
      known: { epoch, version: roster.version },
      tell: wasLast => {
        if (wasLast) peer.send(disbandedFrame(room, 'last_member_left'))
        this.#watchers.left(peer, { room, epoch }, wasLast)
      }
    }
    if (!this.#cluster.isCertain(room)) {
      this.#cluster.doubt(room, leaver)
      await this.#cluster.settle(room)
      return
    }
    try {
      const outcome = await this.#presence.leave(room, peer.id, leaver.known)
      if (outcome !== undefined) this.#cluster.pass(room, outcome.epoch, outcome.instances, { kind: 'left', version: outcome.version, connectionId: peer.id })
      leaver.tell(outcome?.emptied ?? false)
      this.#cluster.releaseUnused(room)
    } catch (error) {
      this.#log.debug({ err: error, room, connection_id: peer.id }, 'the store did not take a leave; it is made good later')
      this.#cluster.doubt(room, leaver)
    }
  }

  async #disband (room: string, requester: string | undefined): Promise<boolean> {
    await this.#ready(room)
    const outcome = await this.#ask(this.#presence.disband(room, requester).catch((error: unknown) => {
      if (!(error instanceof NotDone)) this.#cluster.doubt(room)
      throw error
    }))
    if (outcome === undefined) return false
    this.#cluster.pass(room, outcome.epoch, outcome.instances, { kind: 'disbanded', version: outcome.version, reason: 'user_requested' })
    return true
  }

  /** @throws Refusal unavailable when a room cannot be changed at the moment */
  async #ready (room: string): Promise<void> {
    if (!await this.#cluster.ready(room)) throw new Refusal('unavailable')
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
}

function disbandedFrame (room: string, reason: DisbandReason): Frame {
  return frameOf({ type: 'room_disbanded', data: { room, reason } })
}
