import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { closeCodes } from '../protocol/codes.ts'
import { FrameWalk } from './frame-walk.ts'
import type { Rate, Throttle, Throttled } from './throttle.ts'

/** So many pongs may wait to be one write: the library ends a connection for which 2,048 do. */
const MAX_CORKED = 1000

type Reader = (this: Socket, chunk: Buffer) => void

/**
 * What is read from one socket. It stands between the socket and the WebSocket library, and hands over no more frames
 * and bytes than the client may send: the rest stays in the socket, which is not read meanwhile, so TCP slows the
 * client down. `pause()` of the library would not do: it hands over all frames of the last read all the same, which may
 * be ten thousand. Every frame counts, also pings, pongs and fragments, empty ones too, of which the library says no word.
 */
export class Inlet implements Throttled {
  readonly #socket: WebSocket
  readonly #tcp: Socket
  readonly #throttle: Throttle
  readonly #reader: Reader
  readonly #walk = new FrameWalk()
  #messages: number
  #bytes: number
  #filledAt = performance.now()
  #isHeld = false
  #isSlow = false
  #wasSlow = false
  #isClosing = false
  /** Whether the library is handed the rest of the current frame. */
  #passes = true
  #ended = false

  /** @param tcp what carries the WebSocket, whose one reader is the library at this moment */
  constructor (socket: WebSocket, tcp: Socket, throttle: Throttle) {
    this.#socket = socket
    this.#tcp = tcp
    this.#throttle = throttle
    this.#messages = throttle.messages.burst
    this.#bytes = throttle.bytes.burst
    const [reader, ...others] = tcp.listeners('data') as Reader[]
    if (reader === undefined || others.length > 0) throw new Error('the socket of a WebSocket has one reader')
    this.#reader = reader
    tcp.on('data', (chunk: Buffer) => { this.#read(chunk) })
    tcp.off('data', reader)
    // Before the library, which takes what is left for itself: ten thousand frames of a client that floods and hangs up.
    tcp.prependOnceListener('close', () => {
      this.end()
      while (tcp.read() !== null);
    })
  }

  /** Whether the client was slowed down since this was asked last. */
  wasSlow (): boolean {
    const wasSlow = this.#wasSlow
    this.#wasSlow = this.#isSlow
    return wasSlow
  }

  /** Reads no more until `release`. What is at hand still comes. */
  hold (): void {
    this.#isHeld = true
    this.#socket.pause()
  }

  release (): void {
    this.#isHeld = false
    if (!this.#isSlow) this.#socket.resume()
  }

  readOn (now: number): boolean {
    this.#fill(now)
    if (this.#messages < 1 || this.#bytes < 1) return false
    this.#isSlow = false
    if (!this.#isHeld) this.#socket.resume()
    return true
  }

  /** The server has closed: its client's answer is looked for, and nothing else that it sends is read. */
  close (): void {
    this.#isClosing = true
    this.#throttle.delete(this)
    if (this.#socket.isPaused) this.#socket.resume() // or the socket stays half open
  }

  /** Hands over nothing any more: the connection has ended, or the library reads no further after a broken frame. */
  end (): void {
    this.#ended = true
    this.#throttle.delete(this)
  }

  #read (chunk: Buffer): void {
    if (this.#ended || this.#tcp.destroyed) return // the library takes what is left of a destroyed socket for itself
    if (this.#isClosing) return this.#seekClose(chunk, 0)
    this.#fill(performance.now())
    const walk = this.#walk
    walk.allowance = this.#messages
    const end = walk.advance(chunk, 0, Math.min(chunk.length, Math.floor(this.#bytes)))
    this.#messages = walk.allowance
    this.#bytes -= end
    if (walk.isClose && walk.isBetween) this.#ended = true
    if (end > 0) {
      // The library answers each ping by a write of its own: a thousand of them take a second of the kernel's.
      const isCorked = this.#throttle.messages.burst <= MAX_CORKED
      if (isCorked) this.#tcp.cork()
      this.#reader.call(this.#tcp, end === chunk.length ? chunk : chunk.subarray(0, end))
      if (isCorked) this.#tcp.uncork()
    }
    if (walk.openBytes > this.#throttle.openBytes) {
      this.#socket.close(1008, closeCodes[1008].reason)
      this.close()
    }
    if (end === chunk.length || this.#ended) return
    if (this.#isClosing) return this.#seekClose(chunk, end) // one of these frames made the server close
    this.#slowDown()
    this.#tcp.unshift(chunk.subarray(end))
  }

  #slowDown (): void {
    this.#isSlow = this.#wasSlow = true
    this.#socket.pause()
    this.#throttle.add(this)
  }

  /** Passes over frames, however many there are, up to the Close frame that ends them. */
  #seekClose (chunk: Buffer, from: number): void {
    const walk = this.#walk
    for (let at = from; at < chunk.length && !this.#ended;) {
      const start = at
      const isNew = walk.isBetween
      walk.allowance = isNew ? 1 : 0
      at = walk.advance(chunk, start, chunk.length)
      if (isNew) this.#passes = walk.isClose
      if (walk.isClose && walk.isBetween) this.#ended = true
      if (this.#passes) this.#reader.call(this.#tcp, chunk.subarray(start, at))
    }
  }

  #fill (now: number): void {
    const seconds = (now - this.#filledAt) / 1000
    this.#filledAt = now
    this.#messages = filled(this.#messages, this.#throttle.messages, seconds)
    this.#bytes = filled(this.#bytes, this.#throttle.bytes, seconds)
  }
}

function filled (tokens: number, { perSecond, burst }: Rate, seconds: number): number {
  return Math.min(burst, tokens + perSecond * seconds)
}
