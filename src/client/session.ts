/** What both sides have of each other's frames: a connection that breaks loses none of them. */
import type { ClientMessage } from '../protocol/messages.ts'

/** A frame and its text, made when it was handed over: its data may change afterwards. */
export interface Outgoing { frame: ClientMessage, text: string }

/** The server takes no more back either. */
const MOST_FRAMES = 256
const MOST_CHARACTERS = 1_048_576

/** Frames in their order, few enough to be kept. */
export class Backlog {
  #frames: Outgoing[] = []
  #characters = 0

  get length (): number { return this.#frames.length }

  /** Whether one more would be too much. */
  isFullFor ({ text }: Outgoing): boolean {
    return this.length >= MOST_FRAMES || (this.length > 0 && this.#characters + text.length > MOST_CHARACTERS)
  }

  push (...outgoing: Outgoing[]): void {
    for (const one of outgoing) {
      this.#frames.push(one)
      this.#characters += one.text.length
    }
  }

  /** Takes the first ones out. */
  take (count = this.length): Outgoing[] {
    const taken = this.#frames.splice(0, count)
    for (const { text } of taken) this.#characters -= text.length
    return taken
  }

  has (frame: ClientMessage): boolean {
    return this.#frames.some(one => one.frame === frame)
  }
}

/** One session, from the frame that gave it to the one that gives the next. */
export class Session {
  readonly id: string | undefined
  /** How many frames of the server have come. */
  seen = 0
  readonly #sent = new Backlog()
  /** How many of our frames came before those that are kept. */
  #before = 0

  /** @param id what the server calls it; undefined: it gave none, and nothing is kept */
  constructor (id?: string) {
    this.id = id
  }

  /** What a connection says in its query, to go on with this session. */
  get claim (): Record<string, string> | undefined {
    return this.id === undefined ? undefined : { session: this.id, seen: String(this.seen) }
  }

  get ping (): ClientMessage {
    return { type: 'ping', ...(this.id !== undefined && { seen: this.seen }) }
  }

  sent (outgoing: Outgoing): void {
    if (this.id === undefined) return
    while (this.#sent.isFullFor(outgoing)) this.#forget(1)
    this.#sent.push(outgoing)
  }

  /** The server has had so many of our frames. */
  received (count: number): void {
    this.#forget(count - this.#before)
  }

  /**
   * At its end.
   * @param received how many of our frames the server has had
   * @returns those that it has not; undefined for the first of them when too many were sent since
   */
  unreceived (received: number): { frames: Outgoing[], areAll: boolean } {
    const areAll = received >= this.#before
    this.received(received)
    return { frames: this.#sent.take(), areAll }
  }

  #forget (count: number): void {
    this.#before += this.#sent.take(Math.max(count, 0)).length
  }
}
