import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { FrameWalk } from './frame-walk.ts'
import { wholeText } from './whole-text.ts'
import type { Rate, Throttle, Throttled } from './throttle.ts'
import type { Turn } from './turn.ts'

/** So many frames are handed over at a time, before it is looked whether the turn has done its share. */
const STEP = 8

/** Told of messages, and of one that does not come to its end. */
export interface InletOwner {
  /** @param text a text message; the rest come by way of the library */
  received (text: Buffer): void
  sentTooMuch (): void
}

/** The library's listeners on a socket. */
type Reader = (this: Socket, chunk: Buffer) => void
type Ender = (this: Socket) => void

/** Where a socket's inlet is found by its listeners, which all sockets share: a closure for each is memory that idles. */
const INLET = Symbol('turnip.inlet')
type Carrier = Socket & { [INLET]: Inlet }

/**
 * What is read from one socket. It stands between the socket and the WebSocket library, and hands over no more frames
 * and bytes than the client may send: the rest stays in the socket, which is not read meanwhile, so TCP slows the
 * client down. `pause()` of the library would not do: it hands over all frames of the last read all the same, which may
 * be ten thousand. Every frame counts, also pings, pongs and fragments, empty ones too, of which the library says no word.
 *
 * Nearly all frames are whole text messages, and are read here: the library's way takes longer than all else that is done
 * for a message. From the first other frame on, the rest of a read is the library's, so whatever is unusual, broken or
 * forbidden is judged by it.
 */
export class Inlet implements Throttled {
  readonly #socket: WebSocket
  readonly #tcp: Socket
  readonly #throttle: Throttle
  readonly #turn: Turn
  readonly #owner: InletOwner
  readonly #reader: Reader
  readonly #ender: Ender
  /** Made at the first frame that is no usual one. */
  #walk: FrameWalk | undefined
  #messages: number
  #bytes: number
  #filledAt = performance.now()
  #isHeld = false
  #isSlow = false
  #isDeferred = false
  #wasSlow = false
  #isClosing = false
  /** Whether the library is handed the rest of the current frame. */
  #passes = true
  #ended = false
  /** The library has read something in this turn. */
  #followsLibrary = false
  /** A Close frame was read to its end. */
  #isConcluded = false

  /** @param tcp what carries the WebSocket, whose last reader is the library at this moment */
  constructor (socket: WebSocket, tcp: Socket, owner: InletOwner, throttle: Throttle, turn: Turn) {
    this.#socket = socket
    this.#tcp = tcp
    this.#owner = owner
    this.#throttle = throttle
    this.#turn = turn
    this.#messages = throttle.messages.burst
    this.#bytes = throttle.bytes.burst
    // By their names: others are a host's, who counts bytes, say.
    const reader = (tcp.listeners('data') as Reader[]).find(({ name }) => name === 'socketOnData')
    const ender = (tcp.listeners('end') as Ender[]).find(({ name }) => name === 'socketOnEnd')
    if (reader === undefined || ender === undefined) throw new Error('nobody reads the socket of a WebSocket')
    this.#reader = reader
    this.#ender = ender
    Object.assign(tcp, { [INLET]: this })
    // Taken off first: a list of three listeners keeps room for nineteen.
    tcp.off('data', reader).off('end', ender)
    tcp.on('data', Inlet.#onData).on('end', Inlet.#onEnd).prependListener('close', Inlet.#onClose)
  }

  static #of (tcp: Socket): Inlet { return (tcp as Carrier)[INLET] }

  static #onData (this: Socket, chunk: Buffer): void { Inlet.#of(this).#read(chunk) }

  /**
   * Behind a Close frame the library ends what it has ended already, and Node makes errors of that, which nobody hears of:
   * making them takes longer than checking a token.
   */
  static #onEnd (this: Socket): void {
    const inlet = Inlet.#of(this)
    if (!inlet.#isConcluded) inlet.#ender.call(this)
  }

  /** Before the library, which takes what is left for itself: ten thousand frames of a client that floods and hangs up. */
  static #onClose (this: Socket): void {
    Inlet.#of(this).end()
    while (this.read() !== null);
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
    this.#resume()
  }

  readOn (now: number): boolean {
    this.#fill(now)
    if (this.#messages < 1 || this.#bytes < 1) return false
    this.#isSlow = false
    this.#resume()
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
    this.#tcp.cork() // the library answers each ping by a write of its own: a thousand of them take a second of the kernel's
    const end = this.#handOver(chunk)
    this.#tcp.uncork()
    if ((this.#walk?.openBytes ?? 0) > this.#throttle.openBytes) this.#owner.sentTooMuch()
    if (end === chunk.length || this.#ended) return
    if (this.#isClosing) return this.#seekClose(chunk, end) // one of these frames made the server close
    if (this.#messages < 1 || this.#bytes < 1) this.#slowDown()
    else this.#defer()
    this.#tcp.unshift(chunk.subarray(end))
  }

  /** Hands the library what this client, and this turn, may have handled. @returns how far it came */
  #handOver (chunk: Buffer): number {
    const limit = Math.min(chunk.length, Math.floor(this.#bytes))
    let end = this.#takeTexts(chunk, limit)
    if (end === limit || this.#isClosing || this.#ended || (end > 0 && (this.#messages < 1 || this.#turn.isSpent))) return end
    const walk = this.#walk ??= new FrameWalk()
    do {
      const start = end
      const allowance = Math.min(this.#messages, this.#turn.isSpent ? 1 : STEP)
      walk.allowance = allowance
      end = walk.advance(chunk, start, limit)
      if (end === start) break
      this.#messages -= allowance - walk.allowance
      this.#bytes -= end - start
      this.#turn.spend(allowance - walk.allowance)
      if (walk.isClose && walk.isBetween) this.#ended = this.#isConcluded = true
      this.#reader.call(this.#tcp, start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end))
      this.#followLibrary()
    } while (end < limit && !this.#turn.isSpent && !this.#ended && !this.#isClosing)
    return end
  }

  /** What the library finds broken it tells some ticks later, and nothing that follows may be handled (RFC 6455 §7.1.7): the rest of this turn is its own. */
  #followLibrary (): void {
    if (this.#followsLibrary) return
    this.#followsLibrary = true
    setImmediate(() => { this.#followsLibrary = false })
  }

  /** Reads the whole text messages that a read begins with. @returns how far it came */
  #takeTexts (chunk: Buffer, limit: number): number {
    let at = 0
    if (this.#walk?.isIdle === false || this.#followsLibrary) return at
    while (at < limit && this.#messages >= 1 && (at === 0 || !this.#turn.isSpent) && !this.#ended && !this.#isClosing) {
      const text = wholeText(chunk, at, limit, this.#throttle.messageBytes)
      if (text === undefined) break
      const end = text.byteOffset - chunk.byteOffset + text.length
      this.#messages--
      this.#bytes -= end - at
      this.#turn.spend(1)
      at = end
      this.#owner.received(text)
    }
    return at
  }

  #defer (): void {
    this.#isDeferred = true
    this.#socket.pause()
    this.#turn.defer(() => {
      this.#isDeferred = false
      this.#resume()
    })
  }

  #resume (): void {
    if (!this.#isHeld && !this.#isSlow && !this.#isDeferred && !this.#ended) this.#socket.resume()
  }

  #slowDown (): void {
    this.#isSlow = this.#wasSlow = true
    this.#socket.pause()
    this.#throttle.add(this)
  }

  /** Passes over frames, however many there are, up to the Close frame that ends them. */
  #seekClose (chunk: Buffer, from: number): void {
    const walk = this.#walk ??= new FrameWalk()
    for (let at = from; at < chunk.length && !this.#ended;) {
      const start = at
      const isNew = walk.isBetween
      walk.allowance = isNew ? 1 : 0
      at = walk.advance(chunk, start, chunk.length)
      if (isNew) this.#passes = walk.isClose
      if (walk.isClose && walk.isBetween) this.#ended = this.#isConcluded = true
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
