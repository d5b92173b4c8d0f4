import type { Config } from '../config.ts'

/** A limit holds over this long, s: so much of it may come at once. */
const BURST_S = 10
/** How often connections that are not read are looked at, ms: their messages come in steps of this. */
const STEP_MS = 100

/**
 * A message has come to its end within so many times MAX_PAYLOAD_BYTES. The library keeps each read of the socket, 64 KiB,
 * as long as a fragment in it belongs to an open message: with pings between 64 fragments that is 4 MiB a connection.
 */
const OPEN_FACTOR = 2

/** What waits here until it may be read again. */
export interface Throttled {
  /** Reads on, if there is enough to spend. @returns whether it does */
  readOn (now: number): boolean
}

/** How much a connection may send: tokens a second, and the most it saves up. A rate of 0 is no limit. */
export interface Rate { readonly perSecond: number, readonly burst: number }

function rateOf (perSecond: number): Rate {
  return { perSecond, burst: perSecond === 0 ? Infinity : perSecond * BURST_S }
}

/**
 * How fast clients may send, and the connections that have sent more: they are not read until they may send on, with
 * one timer for all of them, which runs only while there are any.
 */
export class Throttle {
  readonly messages: Rate
  readonly bytes: Rate
  /** The largest message, in bytes. */
  readonly messageBytes: number
  /** The most bytes from the beginning of a message to its end. */
  readonly openBytes: number
  readonly #waiting = new Set<Throttled>()
  #timer: NodeJS.Timeout | undefined

  constructor ({ messagesPerSecond, bytesPerSecond, maxPayloadBytes }: Pick<Config, 'messagesPerSecond' | 'bytesPerSecond' | 'maxPayloadBytes'>) {
    this.messages = rateOf(messagesPerSecond)
    this.bytes = rateOf(bytesPerSecond)
    this.messageBytes = maxPayloadBytes
    this.openBytes = OPEN_FACTOR * maxPayloadBytes
  }

  add (connection: Throttled): void {
    this.#waiting.add(connection)
    this.#timer ??= setInterval(() => { this.#step() }, STEP_MS).unref()
  }

  delete (connection: Throttled): void {
    this.#waiting.delete(connection)
    if (this.#waiting.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #step (): void {
    const now = performance.now()
    for (const connection of this.#waiting) if (connection.readOn(now)) this.delete(connection)
  }
}
