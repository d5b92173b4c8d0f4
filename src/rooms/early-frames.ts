import type { Frame } from '../protocol/frame.ts'
import type { Seat } from './seat.ts'

/** What a member says. */
export interface RelayedFrame {
  readonly sender: string
  readonly targets: readonly string[]
  readonly frame: Frame
  /** The instance that it comes from; undefined: this one. */
  readonly origin: string | undefined
  /** When it came. @see timesPassed */
  readonly at: number
}

/** The most bytes that wait. A gap lasts a second or so at the most; what comes beyond is lost. */
const LIMIT_BYTES = 1024 * 1024

/** Sends a frame to those of these seats that it is for. */
export function tell ({ sender, targets, frame, origin, at }: RelayedFrame, seats: readonly Seat[]): void {
  for (const seat of seats) {
    const { peer: { id } } = seat
    if (targets.length === 0 ? id !== sender && seat.isToldHere?.(origin, at) !== false : targets.includes(id)) seat.send(frame)
  }
}

/** Relayed frames that wait for a join to be applied: their senders', or one of ours that they are also for. In order. */
export class EarlyFrames {
  #frames: RelayedFrame[] = []
  #bytes = 0

  hold (early: RelayedFrame): void {
    if (this.#bytes + early.frame.length > LIMIT_BYTES) return
    this.#bytes += early.frame.length
    this.#frames.push(early)
  }

  get all (): readonly RelayedFrame[] { return this.#frames }

  isFrom (sender: string): boolean {
    return this.#frames.some(early => early.sender === sender)
  }

  /** @returns all of them; none waits from now on */
  take (): RelayedFrame[] {
    const frames = this.#frames
    this.#frames = []
    this.#bytes = 0
    return frames
  }
}
