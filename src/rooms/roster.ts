/**
 * One life of a room as this instance knows it: its members everywhere, those of them that sit here, and the other
 * instances it lives on. Changes are applied in the order of their versions, whatever order they arrive in, so every
 * local member sees each change once and without a gap. Everything here is synchronous.
 */
import { frameOf, type Frame } from '../protocol/frame.ts'
import type { DisbandReason, MemberInfo } from '../protocol/messages.ts'
import { infoOfMember, type Member, type Snapshot } from '../presence/presence.ts'
import { EarlyFrames } from './early-frames.ts'
import type { Seat } from './seat.ts'

/** What one version of a room changed. */
export type RosterChange =
  | { readonly kind: 'joined', readonly version: number, readonly member: Member }
  | { readonly kind: 'left', readonly version: number, readonly connectionId: string }
  | { readonly kind: 'disbanded', readonly version: number, readonly reason: DisbandReason }

/** A change, and what to do for our own peer that brought it about once its turn has come. */
interface Due { readonly change: RosterChange, readonly seat?: Seat, readonly settled?: () => void }

/** A member, and its seat when it sits here. */
interface Resident { readonly member: Member, seat: Seat | undefined }

/** What a roster reports to its owner. */
export interface RosterOwner {
  /** A change is missing: later ones wait for it. Called once, until the gap is closed. */
  onGap (roster: Roster): void
  /** The life has ended by a disband; the seats were told. */
  onDisbanded (roster: Roster, seats: readonly Seat[]): void
}

export class Roster {
  readonly room: string
  readonly epoch: string
  #version: number
  #ended = false
  readonly #self: string
  readonly #owner: RosterOwner
  #residents = new Map<string, Resident>()
  #seats: Seat[] = []
  /** Members on each other instance, by its nonce; absent while the room lives here alone. */
  #remote: Map<string, number> | undefined
  /** Changes that came before their turn, by version; absent while there is no gap. */
  #ahead: Map<number, Due> | undefined
  #early: EarlyFrames | undefined

  /** @param self this instance's nonce */
  constructor (room: string, snapshot: Snapshot, self: string, owner: RosterOwner) {
    this.room = room
    this.epoch = snapshot.epoch
    this.#version = snapshot.version
    this.#self = self
    this.#owner = owner
    for (const member of snapshot.members) this.#add(member, undefined)
  }

  /** The members that sit here. */
  get seats (): readonly Seat[] { return this.#seats }
  get version (): number { return this.#version }
  get ended (): boolean { return this.#ended }
  get hasGap (): boolean { return this.#ahead !== undefined }

  /** Whether a peer of ours sits here or waits for its turn to. Where none does, nobody tells this instance of changes. */
  get isAttended (): boolean {
    return this.#seats.length > 0 || Array.from(this.#ahead?.values() ?? []).some(({ seat }) => seat !== undefined)
  }

  /** Nonces of the other instances that hold members. */
  get instances (): Iterable<string> { return this.#remote?.keys() ?? [] }

  /** Whether anybody sits elsewhere: a room that lives here alone needs no broker. */
  get isSpread (): boolean { return this.#remote !== undefined }

  /** The members as clients are told of them, in the order they joined. @param except a connection_id to leave out */
  members (except?: string): MemberInfo[] {
    const list: MemberInfo[] = []
    for (const { member } of this.#residents.values()) {
      if (member.connection_id !== except) list.push({ ...infoOfMember(member), joined_at: member.joined_at })
    }
    return list
  }

  /**
   * Applies a change when its turn has come, keeps it while an earlier one is missing, drops one that is known.
   * @param seat the joiner's, when it sits here
   * @param settled called once the change is part of what this roster knows, on whatever way
   */
  receive (change: RosterChange, seat?: Seat, settled?: () => void): void {
    const due: Due = { change, ...(seat && { seat }), ...(settled && { settled }) }
    if (change.version > this.#version + 1 && !this.#ended) {
      const first = this.#ahead === undefined
      this.#ahead ??= new Map()
      if (this.#ahead.has(change.version)) return
      this.#ahead.set(change.version, due)
      if (first) this.#owner.onGap(this)
      return
    }
    this.#settle(due)
    this.#advance()
  }

  /**
   * Sends a frame of a member to others that sit here.
   * @param sender its connection_id; one that is no member (any more) reaches nobody
   * @param targets connection_ids; empty: everybody but the sender
   */
  deliver (sender: string, targets: readonly string[], frame: Frame): void {
    if (this.#ahead !== undefined && this.#isEarly(sender, targets)) {
      this.#early ??= new EarlyFrames()
      this.#early.hold({ sender, targets, frame })
    } else {
      this.#hand(sender, targets, frame)
    }
  }

  /**
   * Who `to` means: that connection, or else all connections of that user; never the sender itself.
   * @returns members, none when there is no such peer
   */
  resolve (to: string, sender: string): Member[] {
    const one = this.#residents.get(to)
    if (one !== undefined) return to === sender ? [] : [one.member]
    const found: Member[] = []
    for (const { member } of this.#residents.values()) {
      if (member.user_id === to && member.connection_id !== sender) found.push(member)
    }
    return found
  }

  /** Takes a seat away at once: nothing is sent to it any more. Its `left` follows when its version has come. */
  vacate (seat: Seat): void {
    const at = this.#seats.indexOf(seat)
    if (at >= 0) this.#seats.splice(at, 1)
    const resident = this.#residents.get(seat.peer.id)
    if (resident !== undefined) resident.seat = undefined
  }

  /**
   * Takes over what the store says, after a change was lost. Members are told the whole of it; changes that waited
   * and are part of it are settled, later ones go on waiting for their turn.
   */
  resync (snapshot: Snapshot): void {
    if (this.#ended || snapshot.version <= this.#version) return
    const known = this.#residents
    this.#residents = new Map()
    this.#remote = undefined
    this.#version = snapshot.version
    for (const member of snapshot.members) this.#add(member, known.get(member.connection_id)?.seat)
    this.#tellSnapshot()
    for (const [version, due] of this.#ahead ?? []) {
      if (version > this.#version) continue
      this.#ahead?.delete(version)
      this.#settle(due)
    }
    this.#deliverEarly()
    this.#advance()
  }

  /** Ends a life that the store knows no more: it was disbanded, and word of it was lost. */
  end (): void {
    for (const due of this.#ahead?.values() ?? []) {
      // One that waited to come in is told of the end as well.
      if (due.change.kind === 'joined' && due.seat !== undefined) this.#add(due.change.member, undefined)
      this.#settle(due)
    }
    this.#ahead = undefined
    if (!this.#ended) this.#apply({ change: { kind: 'disbanded', version: this.#version + 1, reason: 'user_requested' } })
  }

  /** Applies what waited, as far as there is no gap. */
  #advance (): void {
    while (this.#ahead !== undefined) {
      const due = this.#ahead.get(this.#version + 1)
      if (due === undefined) {
        if (this.#ahead.size > 0 && !this.#ended) return
        this.#ahead = undefined
        this.#deliverEarly()
        return
      }
      this.#ahead.delete(due.change.version)
      this.#settle(due)
    }
  }

  #settle (due: Due): void {
    if (due.change.version === this.#version + 1 && !this.#ended) this.#apply(due)
    else if (due.seat !== undefined) this.#take(due.seat) // known already, from a snapshot
    due.settled?.()
    if (due.change.kind === 'joined') this.#deliverEarly() // after the joiner was told that it is in
  }

  #apply ({ change, seat }: Due): void {
    this.#version = change.version
    switch (change.kind) {
      case 'joined': {
        const { member } = change
        if (this.#residents.has(member.connection_id)) {
          this.#tellSnapshot() // it joined once more, as the first answer was lost: the version needs a frame all the same
        } else {
          this.#tellJoined(member)
          this.#add(member, undefined)
        }
        if (seat !== undefined) this.#take(seat)
        break
      }
      case 'left': {
        this.#deliverEarly(change.connectionId)
        const member = this.#remove(change.connectionId)
        if (member === undefined || this.#seats.length === 0) break
        const frame = frameOf({ type: 'user_left', room: this.room, version: change.version, data: infoOfMember(member) })
        for (const other of this.#seats) other.send(frame)
        break
      }
      case 'disbanded': {
        for (const { sender, targets, frame } of this.#early?.take() ?? []) this.#hand(sender, targets, frame)
        this.#ended = true
        const message = { type: 'room_disbanded', data: { room: this.room, reason: change.reason } } as const
        const frame = frameOf(message)
        const seats = this.#seats
        this.#seats = []
        for (const seat of seats) seat.send(seat.requestId === undefined ? frame : frameOf({ ...message, id: seat.requestId }))
        this.#owner.onDisbanded(this, seats)
        break
      }
    }
  }

  #take (seat: Seat): void {
    const resident = this.#residents.get(seat.peer.id)
    if (resident === undefined || this.#ended) return
    resident.seat = seat
    this.#seats.push(seat)
  }

  #add (member: Member, seat: Seat | undefined): void {
    this.#residents.set(member.connection_id, { member, seat })
    if (member.instance === this.#self) return
    this.#remote ??= new Map()
    this.#remote.set(member.instance, (this.#remote.get(member.instance) ?? 0) + 1)
  }

  #remove (connectionId: string): Member | undefined {
    const resident = this.#residents.get(connectionId)
    if (resident === undefined) return undefined
    this.#residents.delete(connectionId)
    const { instance } = resident.member
    const others = (this.#remote?.get(instance) ?? 0) - 1
    if (others > 0) this.#remote?.set(instance, others)
    else this.#remote?.delete(instance)
    if (this.#remote?.size === 0) this.#remote = undefined
    return resident.member
  }

  #tellJoined (member: Member): void {
    if (this.#seats.length === 0) return
    const data = infoOfMember(member)
    const ready = frameOf({ type: 'ready', data })
    const joined = frameOf({ type: 'user_joined', room: this.room, version: this.#version, data })
    for (const other of this.#seats) {
      other.send(ready)
      other.send(joined)
    }
  }

  #tellSnapshot (): void {
    const frame = frameOf({ type: 'resynced', room: this.room, version: this.#version, data: { room: this.room, members: this.members() } })
    for (const seat of this.#seats) seat.send(frame)
  }

  /** Sends a frame to those it is for that sit here. A sender that is no member reaches nobody. */
  #hand (sender: string, targets: readonly string[], frame: Frame): void {
    if (!this.#residents.has(sender)) return
    if (targets.length === 0) {
      for (const seat of this.#seats) if (seat.peer.id !== sender) seat.send(frame)
    } else {
      for (const target of targets) this.#residents.get(target)?.seat?.send(frame)
    }
  }

  /** Whether a frame has to wait: its sender, or one of ours whom the sender knows already, has yet to come in. */
  #isEarly (sender: string, targets: readonly string[]): boolean {
    if (this.#early?.isFrom(sender) === true) return true // nothing overtakes what it said before
    for (const { change, seat } of this.#ahead?.values() ?? []) {
      if (change.kind !== 'joined') continue
      const { connection_id: joiner } = change.member
      if (joiner === sender || (seat !== undefined && (targets.length === 0 || targets.includes(joiner)))) return true
    }
    return false
  }

  /** Hands over what waited, as far as it has to wait no longer. @param leaver whose frames go now, before it leaves */
  #deliverEarly (leaver?: string): void {
    for (const { sender, targets, frame } of this.#early?.take() ?? []) {
      if (sender === leaver) this.#hand(sender, targets, frame)
      else this.deliver(sender, targets, frame)
    }
  }
}
