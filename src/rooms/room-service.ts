/**
 * What a peer can do with rooms: join, leave, relay, disband, watch. Routes call nothing else; embedders get it as
 * `app.turnip.rooms`. It asks presence what is true, tells the other instances through the broker, and tells the
 * peers here through rosters.
 *
 * Calls for one peer must come one after the other: its connection sees to that. A change is passed on in the same
 * turn in which the store answered it.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { NotDone, type Presence } from '../presence/presence.ts'
import { frameOf } from '../protocol/frame.ts'
import { ROOM_NAME, type ClientMessageOf, type MemberInfo, type RequestId } from '../protocol/messages.ts'
import { Refusal } from '../protocol/refusal.ts'
import { disbandedFrame } from './audience.ts'
import { Cluster, type ClusterOptions, type RoomLog, type Standing } from './cluster.ts'
import { answerOf, Entrance } from './entrance.ts'
import { mayWatch, opens } from './identity.ts'
import type { Life, Moved } from './arrival.ts'
import type { Handovers } from './handover.ts'
import type { Peer } from './peer.ts'
import { GAP_MS, type Leaver } from './reconciler.ts'
import type { Roster } from './roster.ts'
import type { Seat } from './seat.ts'
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
  readonly #log: RoomLog
  readonly #maxMembers: number
  readonly #cluster: Cluster
  readonly #watchers: Watchers
  readonly #entrance: Entrance
  readonly #underWay = new Set<Promise<void>>()

  constructor ({ maxMembers, ...options }: RoomServiceOptions) {
    const { presence, broker, log } = options
    this.#presence = presence
    this.#log = log
    this.#maxMembers = maxMembers
    this.#watchers = new Watchers(on => broker.hearLobby(on))
    this.#cluster = new Cluster(options, {
      onLobby: event => { this.#watchers.announce(event) },
      move: async (peer, life, onSeat) => await this.move(peer, life, onSeat),
      isWatching: peer => this.#watchers.has(peer),
      watch: async (peer, on) => { await this.watch(peer, on) },
      onDisbanded: (roster, seats) => {
        for (const seat of seats) {
          if (seat.peer.seat === seat) seat.peer.seat = undefined
          this.#watchers.left(seat.peer, roster, true)
        }
      },
      onMoved: (roster, { seat }) => { if (seat !== undefined) this.#supersede(roster, seat) },
      onReplaced: (roster, seat) => { this.#supersede(roster, seat) }
    })
    this.#entrance = new Entrance(this.#cluster, this.#watchers, broker.nonce)
  }

  /** Rooms that have a member on this instance. */
  get roomCount (): number { return this.#cluster.hub.roomCount }
  /** This instance's place in the cluster; undefined when it is the only one there can be. */
  get standing (): Standing | undefined { return this.#cluster.standing }
  /** Sessions on their way between instances. */
  get handovers (): Pick<Handovers, 'serve' | 'fetch'> { return this.#cluster.handovers }
  /** What was mended, since the start. */
  get repairs (): Cluster['counts'] { return this.#cluster.counts }

  /**
   * Begins to hear other instances, and takes up the lease. To be called again when it rejects.
   * @returns whether the lease is held; otherwise the instance goes on trying, and cannot serve yet
   */
  async open (): Promise<boolean> {
    return await this.#cluster.open()
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
    const entered = await this.#entrance.enter(peer, {
      room,
      isHeld: previous !== undefined,
      ask: async member => await this.#presence.join(room, member, this.#maxMembers),
      onSeated: seat => { seat.confirm(id) }
    })
    if (entered === 'full') throw new Refusal('room_full')
    if (entered === undefined) throw new Refusal('internal')
    const { seat } = entered
    this.counts.joins++
    if (peer.seat !== undefined) await this.leave(peer) // it has none if that room was disbanded meanwhile
    this.#entrance.sit(peer, seat)
    seat.release()
  }

  /**
   * Has a peer go on as the member that it is: its client's connection was held by another instance until now. It is sent
   * nothing by itself; what the room sends after the move waits in the seat until its `release`.
   * @param life the room and the epoch of the life that it is a member of
   * @param onSeat called before anything is sent there
   * @returns its seat, the version of the move, and the room as it was then; undefined when that life or its membership has ended
   * @throws Refusal unavailable
   */
  async move (peer: Peer, { room, epoch }: Life, onSeat: (seat: Seat) => void = () => {}): Promise<Moved | undefined> {
    let whole = { version: 0, members: [] as MemberInfo[] }
    const entered = await this.#entrance.enter(peer, {
      room,
      isHeld: true,
      ask: async member => await this.#presence.move(room, member, epoch),
      onSeated: (seat, version) => {
        whole = { version: seat.roster.version, members: seat.roster.members() }
        onSeat(seat)
        if (whole.version !== version) seat.resync()
      }
    })
    return entered !== undefined && entered !== 'full' && this.#entrance.sit(peer, entered.seat) ? { ...entered, whole } : undefined
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
    const snapshot = await answerOf(this.#presence.snapshot(room))
    return (snapshot?.members ?? []).map(({ instance, ...info }) => info)
  }

  /**
   * Has a peer told of rooms being born and ending, or no longer.
   * @throws Refusal forbidden, unavailable
   */
  async watch (peer: Peer, on: boolean): Promise<void> {
    if (!mayWatch(peer.identity)) throw new Refusal('forbidden', 'Watching needs a rooms claim in the token, or the role admin')
    await answerOf(on ? this.#watchers.add(peer) : this.#watchers.remove(peer))
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

  /** A member goes on over another connection: the one that it had is in no room, and is done. */
  #supersede (roster: Roster, seat: Seat): void {
    const { peer } = seat
    if (peer.seat === seat) peer.seat = undefined
    this.#watchers.left(peer, roster, false)
    peer.close(4409)
  }

  async #disband (room: string, requester: string | undefined): Promise<boolean> {
    await this.#entrance.ready(room)
    const outcome = await answerOf(this.#presence.disband(room, requester).catch((error: unknown) => {
      if (!(error instanceof NotDone)) this.#cluster.doubt(room)
      throw error
    }))
    if (outcome === undefined) return false
    this.#cluster.pass(room, outcome.epoch, outcome.instances, { kind: 'disbanded', version: outcome.version, reason: 'user_requested' })
    return true
  }
}
