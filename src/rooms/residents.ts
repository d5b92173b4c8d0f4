import type { Member } from '../presence/presence.ts'
import { infoOfMember } from '../presence/presence.ts'
import type { MemberInfo } from '../protocol/messages.ts'
import type { Seat } from './seat.ts'

/** A member, and its seat when it sits here. */
interface Resident { member: Member, seat: Seat | undefined }

/** The members of one room, wherever they sit, and on which other instances they do. */
export class Residents {
  readonly #self: string
  readonly #byId = new Map<string, Resident>()
  /** Members on each other instance, by its nonce; absent while all sit here. */
  #remote: Map<string, number> | undefined

  /** @param self this instance's nonce */
  constructor (self: string, members: readonly Member[]) {
    this.#self = self
    for (const member of members) this.add(member)
  }

  /** Nonces of the other instances that hold members. */
  get instances (): Iterable<string> { return this.#remote?.keys() ?? [] }

  /** Whether anybody sits elsewhere. */
  get isSpread (): boolean { return this.#remote !== undefined }

  has (id: string): boolean { return this.#byId.has(id) }
  seatOf (id: string): Seat | undefined { return this.#byId.get(id)?.seat }
  /** Where a member sits: an instance's nonce; undefined when it is no member. */
  instanceOf (id: string): string | undefined { return this.#byId.get(id)?.member.instance }

  /** As clients are told of them, in the order they joined. @param except a connection_id to leave out */
  infos (except?: string): MemberInfo[] {
    const list: MemberInfo[] = []
    for (const { member } of this.#byId.values()) {
      if (member.connection_id !== except) list.push({ ...infoOfMember(member), joined_at: member.joined_at })
    }
    return list
  }

  /** Those that sit here, in the order they joined. */
  seated (): Member[] {
    return Array.from(this.#byId.values()).filter(({ seat }) => seat !== undefined).map(({ member }) => member)
  }

  /**
   * Who `to` means: that connection, or else all connections of that user; never the sender itself.
   * @returns members, none when there is no such peer
   */
  resolve (to: string, sender: string): Member[] {
    const one = this.#byId.get(to)
    if (one !== undefined) return to === sender ? [] : [one.member]
    const found: Member[] = []
    for (const { member } of this.#byId.values()) {
      if (member.user_id === to && member.connection_id !== sender) found.push(member)
    }
    return found
  }

  /** Whether they are exactly these, each where it is said to sit. */
  equal (members: readonly Member[]): boolean {
    return members.length === this.#byId.size &&
      members.every(({ connection_id: id, instance }) => this.#byId.get(id)?.member.instance === instance)
  }

  /** Adds a member, or has one that is known sit where it does by now; its seat here is the caller's to take away. */
  add (member: Member): void {
    const known = this.#byId.get(member.connection_id)
    if (known === undefined) {
      this.#byId.set(member.connection_id, { member, seat: undefined })
    } else {
      this.#count(known.member.instance, -1)
      known.member = member
    }
    this.#count(member.instance, 1)
  }

  remove (id: string): Member | undefined {
    const resident = this.#byId.get(id)
    if (resident === undefined) return undefined
    this.#byId.delete(id)
    this.#count(resident.member.instance, -1)
    return resident.member
  }

  /** Puts a member into its seat, or out of it. @returns whether it is a member */
  seat (id: string, seat: Seat | undefined): boolean {
    const resident = this.#byId.get(id)
    if (resident === undefined) return false
    resident.seat = seat
    return true
  }

  #count (instance: string, difference: number): void {
    if (instance === this.#self) return
    const sum = (this.#remote?.get(instance) ?? 0) + difference
    if (sum > 0) (this.#remote ??= new Map()).set(instance, sum)
    else this.#remote?.delete(instance)
    if (this.#remote?.size === 0) this.#remote = undefined
  }
}
