/**
 * One life of a room as this instance knows it: its members everywhere, those of them that sit here, and the other
 * instances it lives on. Changes are applied in the order of their versions, whatever order they arrive in, so every
 * local member sees each change once and without a gap. Everything here is synchronous.
 */
import { frameOf, type Frame } from '../protocol/frame.ts'
import type { DisbandReason, MemberInfo } from '../protocol/messages.ts'
import { infoOfMember, type Member, type Position, type RosterChange, type Snapshot } from '../presence/presence.ts'
import { EarlyFrames } from './early-frames.ts'
import { Residents } from './residents.ts'
import type { Seat } from './seat.ts'

/** A change, and what to do for our own peer that brought it about once its turn has come. */
interface Due { readonly change: RosterChange, readonly seat?: Seat, readonly settled?: () => void }

/** What a roster reports to its owner. */
export interface RosterOwner {
  /** A change is missing: later ones wait for it. Called once, until the gap is closed. */
  onGap (roster: Roster): void
  /** The life has ended by a disband; the seats were told. */
  onDisbanded (roster: Roster, seats: readonly Seat[]): void
}

export class Roster implements Position {
  readonly room: string
  #epoch: string
  #version: number
  #ended = false
  readonly #self: string
  readonly #owner: RosterOwner
  #residents: Residents
  #seats: Seat[] = []
  /** Changes that came before their turn, by version; absent while there are none. */
  #ahead: Map<number, Due> | undefined
  /** The store is being asked for the whole: until it answers, changes wait. */
  #suspended = false
  #early: EarlyFrames | undefined

  /** @param self this instance's nonce */
  constructor (room: string, snapshot: Snapshot, self: string, owner: RosterOwner) {
    this.room = room
    this.#epoch = snapshot.epoch
    this.#version = snapshot.version
    this.#self = self
    this.#owner = owner
    this.#residents = new Residents(self, snapshot.members)
  }

  get epoch (): string { return this.#epoch }
  get version (): number { return this.#version }
  get ended (): boolean { return this.#ended }
  get hasGap (): boolean { return this.#ahead !== undefined && !this.#suspended }
  /** The seats of the members that sit here. */
  get seats (): readonly Seat[] { return this.#seats }

  /** Whether a peer of ours sits here or waits for its turn to. Where none does, nobody tells this instance of changes. */
  get isAttended (): boolean {
    return this.#seats.length > 0 || Array.from(this.#ahead?.values() ?? []).some(({ seat }) => seat !== undefined)
  }

  /** Nonces of the other instances that hold members. */
  get instances (): Iterable<string> { return this.#residents.instances }

  /** Whether anybody sits elsewhere: a room that lives here alone needs no broker. */
  get isSpread (): boolean { return this.#residents.isSpread }

  /** The members as clients are told of them, in the order they joined. @param except a connection_id to leave out */
  members (except?: string): MemberInfo[] {
    return this.#residents.infos(except)
  }

  /** The members that sit here or wait for their turn to. */
  ours (): Member[] {
    const members = this.#residents.seated()
    for (const { change, seat } of this.#ahead?.values() ?? []) if (change.kind === 'joined' && seat !== undefined) members.push(change.member)
    return members
  }

  /**
   * Applies a change when its turn has come, keeps it while an earlier one is missing, drops one that is known.
   * @param seat the joiner's, when it sits here
   * @param settled called once the change is part of what this roster knows, on whatever way
   */
  receive (change: RosterChange, seat?: Seat, settled?: () => void): void {
    const due: Due = { change, ...(seat && { seat }), ...(settled && { settled }) }
    if (!this.#ended && change.version > this.#version + (this.#suspended ? 0 : 1)) {
      this.#ahead ??= new Map()
      if (this.#ahead.has(change.version) && seat === undefined) return
      this.#ahead.set(change.version, due)
      if (this.#ahead.size === 1 && !this.#suspended) this.#owner.onGap(this)
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

  /** Who `to` means: that connection, or else all connections of that user; never the sender itself. */
  resolve (to: string, sender: string): Member[] {
    return this.#residents.resolve(to, sender)
  }

  /** Takes a seat away at once: nothing is sent to it any more. Its `left` follows when its version has come. */
  vacate (seat: Seat): void {
    const at = this.#seats.indexOf(seat)
    if (at >= 0) this.#seats.splice(at, 1)
    this.#residents.seat(seat.peer.id, undefined)
  }

  /** The store was asked for the whole of the room: changes wait until `adopt` or `resume`. */
  suspend (): void {
    this.#suspended = true
  }

  /** The store did not answer: goes on as before. */
  resume (): void {
    this.#suspended = false
    this.#advance()
    if (this.#ahead !== undefined) this.#owner.onGap(this)
  }

  /**
   * Takes over what the store says. Members are told change by change where that is possible, otherwise the whole of it.
   * Changes that waited and are part of it are settled, later ones go on waiting for their turn.
   * @param changes those that led to the snapshot, as far as they are known
   * @returns whether members had to be told the whole
   */
  adopt (snapshot: Snapshot, changes: readonly RosterChange[] = []): boolean {
    const isSameLife = snapshot.epoch === this.#epoch
    if (this.#ended || (isSameLife && snapshot.version < this.#version)) { // what was on its way came sooner
      this.resume()
      return false
    }
    this.#suspended = false
    if (isSameLife) {
      for (const change of changes) this.#keep(change)
      this.#advance(snapshot.version)
      if (this.#ended) return false
    }
    const isAsTold = isSameLife && this.#version === snapshot.version && this.#residents.equal(snapshot.members)
    if (!isAsTold) this.#replace(snapshot, isSameLife)
    this.#advance()
    if (this.#ahead !== undefined) this.#owner.onGap(this)
    return !isAsTold
  }

  /** Ends a life that the store knows no more: it was disbanded, and word of it was lost. */
  end (reason: DisbandReason): void {
    this.#suspended = false
    for (const due of this.#ahead?.values() ?? []) {
      // One that waited to come in is told of the end as well.
      if (due.change.kind === 'joined' && due.seat !== undefined) this.#residents.add(due.change.member)
      this.#settle(due)
    }
    this.#ahead = undefined
    if (!this.#ended) this.#apply({ change: { kind: 'disbanded', version: this.#version + 1, reason } })
  }

  #keep (change: RosterChange): void {
    if (change.version <= this.#version) return
    this.#ahead ??= new Map()
    if (!this.#ahead.has(change.version)) this.#ahead.set(change.version, { change })
  }

  #replace (snapshot: Snapshot, isSameLife: boolean): void {
    const known = this.#residents
    this.#residents = new Residents(this.#self, snapshot.members)
    this.#epoch = snapshot.epoch
    this.#version = snapshot.version
    for (const { connection_id: id } of snapshot.members) this.#residents.seat(id, known.seatOf(id))
    this.#tellSnapshot()
    for (const [version, due] of this.#ahead ?? []) {
      if (isSameLife && version > this.#version) continue
      this.#ahead?.delete(version)
      this.#conclude(due) // part of the snapshot, or of a former life: its number may be the next one by chance
    }
    this.#deliverEarly()
  }

  /** Applies what waited, as far as there is no gap. @param limit the last version to apply */
  #advance (limit = Infinity): void {
    while (this.#ahead !== undefined && !this.#suspended) {
      const due = this.#ahead.get(this.#version + 1)
      if (due === undefined || this.#version >= limit) {
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
    this.#conclude(due)
  }

  /** A change is part of what is known, or of what is over: its own peer is seated where it is a member. */
  #conclude ({ change, seat, settled }: Due): void {
    if (seat !== undefined) this.#take(seat)
    settled?.()
    if (change.kind === 'joined') this.#deliverEarly() // after the joiner was told that it is in
  }

  #apply ({ change }: Due): void {
    this.#version = change.version
    switch (change.kind) {
      case 'joined': {
        const { member } = change
        if (this.#residents.has(member.connection_id)) {
          this.#tellSnapshot() // it joined once more, as the first answer was lost: the version needs a frame all the same
        } else {
          this.#tellJoined(member)
          this.#residents.add(member)
        }
        break
      }
      case 'left': {
        this.#deliverEarly(change.connectionId)
        const member = this.#residents.remove(change.connectionId)
        if (member === undefined) this.#tellSnapshot() // gone already: the version needs a frame all the same
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
    if (this.#ended || !this.#residents.seat(seat.peer.id, seat)) return
    this.#seats.push(seat)
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
    if (this.#seats.length === 0) return
    const frame = frameOf({ type: 'resynced', room: this.room, version: this.#version, data: { room: this.room, members: this.members() } })
    for (const seat of this.#seats) seat.send(frame)
  }

  /** Sends a frame to those it is for that sit here. A sender that is no member reaches nobody. */
  #hand (sender: string, targets: readonly string[], frame: Frame): void {
    if (!this.#residents.has(sender)) return
    if (targets.length === 0) {
      for (const seat of this.#seats) if (seat.peer.id !== sender) seat.send(frame)
    } else {
      for (const target of targets) this.#residents.seatOf(target)?.send(frame)
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
