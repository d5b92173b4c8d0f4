/**
 * One life of a room as this instance knows it: its members everywhere, those of them that sit here, and the other
 * instances it lives on. Changes are applied in the order of their versions, whatever order they arrive in, so every
 * local member sees each change once and without a gap. Everything here is synchronous.
 */
import type { Frame } from '../protocol/frame.ts'
import type { DisbandReason, MemberInfo } from '../protocol/messages.ts'
import { infoOfMember, type Member, type Position, type RosterChange, type Snapshot } from '../presence/presence.ts'
import { Audience } from './audience.ts'
import { comersOf, hasGone, isEntry, isTooEarly, type Ahead, type Due } from './due.ts'
import { EarlyFrames, tell, type RelayedFrame } from './early-frames.ts'
import { timesPassed } from './passed.ts'
import { Residents } from './residents.ts'
import type { RosterOwner } from './roster-owner.ts'
import type { Seat } from './seat.ts'

export class Roster implements Position {
  readonly room: string
  #epoch: string
  #version: number
  #ended = false
  readonly #self: string
  readonly #owner: RosterOwner
  #residents: Residents
  readonly #audience: Audience
  #ahead: Ahead
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
    this.#audience = new Audience(this)
  }

  get epoch (): string { return this.#epoch }
  get version (): number { return this.#version }
  get ended (): boolean { return this.#ended }
  /** Whether a change waits for its turn. */
  get isBehind (): boolean { return this.#ahead !== undefined }
  get hasGap (): boolean { return this.#ahead !== undefined && !this.#suspended }
  /** The seats of the members that sit here. */
  get seats (): readonly Seat[] { return this.#audience.seats }

  /** Whether a peer of ours sits here or waits for its turn to. Where none does, nobody tells this instance of changes. */
  get isAttended (): boolean {
    return this.seats.length > 0 || comersOf(this.#ahead).length > 0
  }

  /** Nonces of the other instances that hold members. */
  get instances (): Iterable<string> { return this.#residents.instances }

  /** Whether anybody sits elsewhere: a room that lives here alone needs no broker. */
  get isSpread (): boolean { return this.#residents.isSpread }

  /** The members as clients are told of them, in the order they joined. @param except a connection_id to leave out */
  members (except?: string): MemberInfo[] { return this.#residents.infos(except) }

  /** The members that sit here or wait for their turn to, but for those of whom it is known that they go on elsewhere. */
  ours (): Member[] {
    const seated = this.#residents.seated().filter(({ connection_id: id }) => !hasGone(this.#ahead, id, this.#self))
    const members = [...seated, ...comersOf(this.#ahead)]
    return [...new Map(members.map(member => [member.connection_id, member])).values()] // some come in once more
  }

  /** Whether a seat is its member's place at present. */
  isTaken (seat: Seat): boolean {
    return this.#residents.seatOf(seat.peer.id) === seat
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
   * @param origin the instance that it comes from; undefined: this one
   * @param at when it came
   */
  deliver (sender: string, targets: readonly string[], frame: Frame, origin?: string, at = timesPassed()): void {
    const relayed = { sender, targets, frame, origin, at }
    if (this.#ahead !== undefined && (this.#early?.isFrom(sender) === true || isTooEarly(this.#ahead, sender, targets))) {
      this.#early ??= new EarlyFrames() // nothing overtakes what its sender said before
      this.#early.hold(relayed)
    } else {
      this.#hand(relayed)
    }
  }

  /** Who `to` means: that connection, or else all connections of that user; never the sender itself. */
  resolve (to: string, sender: string): Member[] { return this.#residents.resolve(to, sender) }

  /** Takes a seat away at once: nothing is sent to it any more. Its `left` follows when its version has come. */
  vacate (seat: Seat): void {
    this.#audience.remove(seat)
    if (this.isTaken(seat)) this.#residents.seat(seat.peer.id, undefined)
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

  /** The store knows the room no more: goes on as before, but for those whose move from here waits for its turn in vain. */
  abandon (): void {
    for (const seat of this.seats.filter(({ peer: { id } }) => hasGone(this.#ahead, id, this.#self))) this.#giveUp(seat)
    this.resume()
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
    for (const comer of comersOf(this.#ahead)) this.#residents.add(comer) // one that waited to come in is told of the end as well
    for (const due of this.#ahead?.values() ?? []) this.#settle(due)
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
    const lost = this.seats.filter(({ peer: { id } }) => this.#residents.instanceOf(id) !== this.#self)
    for (const seat of lost) this.#audience.remove(seat)
    for (const seat of this.seats) this.#residents.seat(seat.peer.id, seat)
    this.#audience.tellWhole()
    for (const seat of lost) this.#giveUp(seat)
    for (const { connection_id: id, instance: to } of snapshot.members) {
      const from = known.seatOf(id) === undefined ? known.instanceOf(id) : undefined
      if (from !== undefined && from !== to) this.#owner.onMoved(this, { connectionId: id, version: snapshot.version, from, to, seat: undefined })
    }
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
    if (isEntry(change)) this.#deliverEarly() // after the joiner was told that it is in
  }

  #apply ({ change }: Due): void {
    this.#version = change.version
    switch (change.kind) {
      case 'joined': {
        const { member } = change
        const isKnown = this.#residents.has(member.connection_id)
        this.#residents.add(member)
        if (isKnown) this.#audience.tellWhole() // it joined once more, as the first answer was lost: the version needs a frame all the same
        else this.#audience.tellJoined(infoOfMember(member))
        break
      }
      case 'moved': return this.#move(change.member)
      case 'left': {
        this.#deliverEarly(change.connectionId)
        const member = this.#residents.remove(change.connectionId)
        if (member === undefined) this.#audience.tellWhole() // gone already: the version needs a frame all the same
        else this.#audience.tellLeft(infoOfMember(member))
        break
      }
      case 'disbanded': {
        for (const early of this.#early?.take() ?? []) this.#hand(early)
        this.#ended = true
        this.#owner.onDisbanded(this, this.#audience.dismiss(change.reason))
        break
      }
    }
  }

  #move (member: Member): void {
    const { connection_id: id, instance: to } = member
    const from = this.#residents.instanceOf(id)
    const seat = to === this.#self ? undefined : this.#residents.seatOf(id)
    if (seat !== undefined) {
      for (const early of this.#early?.all ?? []) this.#hand(early, seat) // they wait for others, who come in after its move
      this.vacate(seat)
    }
    this.#residents.add(member)
    if (from === undefined) this.#audience.tellWhole() // nobody has heard of it: the version needs a frame all the same
    else this.#audience.tellResumed(infoOfMember(member))
    this.#owner.onMoved(this, { connectionId: id, version: this.#version, from, to, seat })
  }

  /** Takes the seat of one away who goes on elsewhere, as is known without the change itself. */
  #giveUp (seat: Seat): void {
    const { id } = seat.peer
    const to = this.#residents.instanceOf(id)
    this.vacate(seat)
    this.#owner.onMoved(this, { connectionId: id, version: this.#version, from: this.#self, to: to === this.#self ? undefined : to, seat })
  }

  #take (seat: Seat): void {
    const { id } = seat.peer
    const to = this.#residents.instanceOf(id)
    if (this.#ended || to === undefined) return
    if (to !== this.#self) return this.#giveUp(seat) // it has gone on elsewhere before its turn came
    const former = this.#residents.seatOf(id)
    if (former !== undefined) this.vacate(former)
    this.#residents.seat(id, seat)
    this.#audience.add(seat)
    if (former !== undefined) this.#owner.onReplaced(this, former)
  }

  /** Sends a frame to those it is for that sit here. A sender that is no member reaches nobody. @param only to this one alone */
  #hand (relayed: RelayedFrame, only?: Seat): void {
    const { sender, targets, origin } = relayed
    const instance = this.#residents.instanceOf(sender)
    // One that goes on elsewhere speaks there: a former holder that was frozen has yet to hear of it.
    if (instance === undefined || (origin !== undefined && origin !== instance)) return
    if (only !== undefined) tell(relayed, [only])
    else tell(relayed, targets.length === 0 ? this.seats : targets.flatMap(target => this.#residents.seatOf(target) ?? []))
  }

  /** Hands over what waited, as far as it has to wait no longer. @param leaver whose frames go now, before it leaves */
  #deliverEarly (leaver?: string): void {
    for (const early of this.#early?.take() ?? []) {
      if (early.sender === leaver) this.#hand(early)
      else this.deliver(early.sender, early.targets, early.frame, early.origin, early.at)
    }
  }
}
