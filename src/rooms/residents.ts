import type { Member } from '../presence/presence.ts'
import { infoOfMember } from '../presence/presence.ts'
import type { MemberInfo } from '../protocol/messages.ts'
import type { Seat } from './seat.ts'

/** A member, and its seat when it sits here. */
interface Resident { readonly member: Member, seat: Seat | undefined }

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

  add (member: Member): void {
    this.#byId.set(member.connection_id, { member, seat: undefined })
    if (member.instance === this.#self) return
    this.#remote ??= new Map()
    this.#remote.set(member.instance, (this.#remote.get(member.instance) ?? 0) + 1)
  }

  remove (id: string): Member | undefined {
    const resident = this.#byId.get(id)
    if (resident === undefined) return undefined
    this.#byId.delete(id)
    const { instance } = resident.member
    const others = (this.#remote?.get(instance) ?? 0) - 1
    if (others > 0) this.#remote?.set(instance, others)
    else this.#remote?.delete(instance)
    if (this.#remote?.size === 0) this.#remote = undefined
    return resident.member
  }

  /** Puts a member into its seat, or out of it. @returns whether it is a member */
  seat (id: string, seat: Seat | undefined): boolean {
    const resident = this.#byId.get(id)
    if (resident === undefined) return false
    resident.seat = seat
    return true
  }
}
