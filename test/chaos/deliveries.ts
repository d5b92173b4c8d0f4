import type { Fail, Session } from './session.ts'
import { instances, now, type Troubles } from './troubles.ts'
import type { Stay } from './view.ts'

/** Whoever leaves, or is hit, this soon after something was said may miss it, ms. */
const IN_FLIGHT_MS = 3000
/** What has not come after this time does not come any more, ms. */
const LOST_MS = 8000

/** Something said that somebody is to hear. */
interface Awaited {
  readonly sender: Session
  readonly receiver: Session
  readonly stay: Stay
  readonly n: number
  readonly at: number
}

/**
 * Every message between two members that knew of each other when it was sent has to arrive, unless one of them left, or
 * its instance was in trouble, within moments of the sending. Two members of one instance need no Redis for that.
 * (That nothing comes twice or out of order, the views see.)
 */
export class Deliveries {
  demanded = 0
  readonly #awaited = new Map<string, Awaited>()
  readonly #troubles: Troubles
  readonly #fail: Fail

  constructor (troubles: Troubles, fail: Fail) {
    this.#troubles = troubles
    this.#fail = fail
  }

  /** Something was said by a member. @param receivers whom it is for */
  said (sender: Session, n: number, receivers: Iterable<Session>): void {
    for (const receiver of receivers) {
      const { stay, members, room } = receiver.view
      if (stay === undefined || room !== sender.view.room || !members.has(sender.connection.id) || receiver.connection.endedAt !== Infinity) continue
      this.#awaited.set(keyOf(receiver, sender.connection.id, n), { sender, receiver, stay, n, at: now() })
    }
  }

  heard (receiver: Session, by: string, n: number): void {
    if (this.#awaited.delete(keyOf(receiver, by, n))) this.demanded++
  }

  /** Looks at what has not come. */
  sweep (): void {
    const time = now()
    for (const [key, awaited] of this.#awaited) {
      const { sender, receiver, stay, at } = awaited
      const [from, to] = [sender.connection, receiver.connection]
      const until = Math.min(stay.until, to.endedAt, from.endedAt)
      if (until === Infinity && (from.awaySince ?? to.awaySince) !== undefined) continue // what it says and misses comes when it is back
      if (until === Infinity && time < Math.max(at, from.backAt, to.backAt) + LOST_MS) continue
      this.#awaited.delete(key)
      if (until < at + IN_FLIGHT_MS || this.#isExcused(awaited)) continue
      this.#fail(`message ${awaited.n} of ${sender.view.userId}, sent at ${at.toFixed(0)} on instance ${sender.connection.instance}, did not reach ${receiver.view.userId} on instance ${receiver.connection.instance}`, receiver, sender)
    }
  }

  #isExcused ({ sender: { connection: from }, receiver: { connection: to }, at }: Awaited): boolean {
    const end = Math.max(at, from.backAt, to.backAt) + IN_FLIGHT_MS
    const [first, ...others] = new Set([...from.instancesSince(at), ...to.instancesSince(at)])
    if (first !== undefined && others.length === 0) return this.#troubles.ofDeath(first, at, end)
    const hasMoved = from.instancesSince(at).length > 1 || to.instancesSince(at).length > 1 // what takes the old way may need any of them
    return (hasMoved ? instances : [first ?? 0, ...others]).some(instance => this.#troubles.ofLoss(instance, at, end))
  }
}

function keyOf ({ connection: { id } }: Session, by: string, n: number): string {
  return `${id} ${by} ${n}`
}
