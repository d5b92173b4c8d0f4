import type { Connection } from './connection.ts'
import type { Meter } from './meter.ts'
import { answer, candidate, offer } from './payloads.ts'

const CANDIDATES = 10

/** What each side gets of an exchange. */
export const MESSAGES = 2 * (1 + CANDIDATES)

/** One side of a pair: what it says, and when it said what is still on its way. */
class Side {
  readonly #connection: Connection
  readonly #description: Buffer
  readonly #candidate: Buffer
  readonly sentAt: number[] = []
  received = 0

  constructor (connection: Connection, description: string, to: Connection) {
    this.#connection = connection
    this.#description = connection.frameFor(description, to)
    this.#candidate = connection.frameFor(candidate, to)
  }

  /** Says its description, and then a candidate each turn, as a browser finds them. */
  speak (): void {
    this.#say(this.#description)
    let left = CANDIDATES
    const next = (): void => {
      if (left-- === 0) return
      this.#say(this.#candidate)
      setImmediate(next)
    }
    setImmediate(next)
  }

  #say (frame: Buffer): void {
    this.sentAt.push(performance.now())
    this.#connection.send(frame)
  }
}

/** Two members of a room of their own. */
export interface Pair { readonly caller: Connection, readonly callee: Connection }

/** Answers a function that runs one exchange: offer, answer and candidates both ways; done when both have all. */
export function createExchange ({ caller, callee }: Pair, meter: Meter): () => Promise<void> {
  const a = new Side(caller, offer, callee)
  const b = new Side(callee, answer, caller)
  let done = (): void => {}
  const take = (to: Side, from: Side): void => {
    meter.arrived(from.sentAt[to.received++] ?? NaN)
    if (to === b && to.received === 1) b.speak()
    if (a.received + b.received === MESSAGES) done()
  }
  caller.onMessage = () => { take(a, b) }
  callee.onMessage = () => { take(b, a) }
  return async () => {
    for (const side of [a, b]) {
      side.sentAt.length = 0
      side.received = 0
    }
    await new Promise<void>(resolve => {
      done = resolve
      a.speak()
    })
  }
}
