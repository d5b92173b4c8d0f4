import type { Fail, Session, Sessions } from './session.ts'
import { now, type Troubles } from './troubles.ts'
import type { Stay } from './view.ts'

/** Who comes or goes this close to being told of is no proof of anything, ms. */
const MARGIN_MS = 3000

/** Somebody was told that a member has left, or that a room has ended for want of members, while it seems to be there. */
interface Claim {
  readonly what: string
  readonly told: Session | undefined
  readonly member: Session
  readonly stay: Stay
  readonly at: number
}

/**
 * Nobody may be told that a member is gone who was there all the time, nor that a room has ended in which somebody was.
 * Only whose instance may have lost its lease (it was killed, frozen, cut off) is rightly taken for gone.
 */
export class Absences {
  #claims: Claim[] = []
  readonly #sessions: Sessions
  readonly #troubles: Troubles
  readonly #fail: Fail

  constructor (sessions: Sessions, troubles: Troubles, fail: Fail) {
    this.#sessions = sessions
    this.#troubles = troubles
    this.#fail = fail
  }

  /**
   * A member was told, by a frame or by a snapshot without it, that another has left.
   * @param version of the room, by the frame
   */
  left (told: Session, room: string, connectionId: string, version?: number): void {
    const member = this.#sessions.get(connectionId)
    // A frozen instance tells late of what was then.
    if (member === undefined || this.#troubles.ofProcess(told.connection.instance, now() - MARGIN_MS)) return
    this.#claim(`${told.view.userId} was told that ${member.view.userId} left ${room}`, member, room, told, version)
  }

  /** A watcher was told that a room has ended, as its last member left. */
  emptied (instance: number, room: string): void {
    if (this.#troubles.ofProcess(instance, now() - MARGIN_MS)) return
    for (const member of this.#sessions.values()) this.#claim(`the watcher of instance ${instance} was told that ${room} has ended`, member, room, undefined)
  }

  sweep (): void {
    const time = now()
    const isDue = ({ at, member: { connection: { awaySince } } }: Claim): boolean => at < time - MARGIN_MS && awaySince === undefined
    const due = this.#claims.filter(isDue)
    if (due.length === 0) return
    this.#claims = this.#claims.filter(claim => !isDue(claim))
    for (const { what, told, member, stay, at } of due) {
      const { view, connection } = member
      if (view.stay !== stay || connection.endedAt !== Infinity || connection.instancesSince(at - MARGIN_MS).some(instance => this.#troubles.ofLease(instance, at - MARGIN_MS))) continue
      this.#fail(`${what} at ${at.toFixed(0)}, where ${view.userId} has been all the time since ${stay.since.toFixed(0)}`, member, ...told === undefined ? [] : [told])
    }
  }

  #claim (what: string, member: Session, room: string, told: Session | undefined, version = 0): void {
    const { stay } = member.view
    // One who came under its former connection_id has not left after that, however shortly ago it was.
    if (stay === undefined || stay.room !== room || (stay.since > now() - MARGIN_MS && version <= stay.version)) return
    this.#claims.push({ what, told, member, stay, at: now() })
  }
}
