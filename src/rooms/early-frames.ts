import type { Frame } from '../protocol/frame.ts'

/** A relayed frame that waits for a join to be applied: its sender's, or one of ours that it is also for. */
export interface EarlyFrame { readonly sender: string, readonly targets: readonly string[], readonly frame: Frame, readonly origin: string | undefined }

/** The most bytes that wait. A gap lasts a second or so at the most; what comes beyond is lost. */
const LIMIT_BYTES = 1024 * 1024

/** Relayed frames that came before their turn, in order. */
export class EarlyFrames {
  #frames: EarlyFrame[] = []
  #bytes = 0

  hold (early: EarlyFrame): void {
    if (this.#bytes + early.frame.length > LIMIT_BYTES) return
    this.#bytes += early.frame.length
    this.#frames.push(early)
  }

  isFrom (sender: string): boolean {
    return this.#frames.some(early => early.sender === sender)
  }

  /** @returns all of them; none waits from now on */
  take (): EarlyFrame[] {
    const frames = this.#frames
    this.#frames = []
    this.#bytes = 0
    return frames
  }
}
