import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { closeCodes, type CloseCode } from '../protocol/codes.ts'
import type { Frame } from '../protocol/frame.ts'
import { Inlet } from './inlet.ts'
import { Outbox, type OutboxQueue } from './outbox.ts'
import type { Throttle } from './throttle.ts'
import type { Traffic } from './traffic.ts'
import type { Turn } from './turn.ts'

/** How long more than SEND_BUFFER_BYTES may wait for a reader before it is given up, ms. */
const SLOW_READER_MS = 5000
/** A reader with this many times SEND_BUFFER_BYTES waiting is given up at once: a fast room must not fill memory in 5 s. */
const SLOW_READER_FACTOR = 4
/** How long a client may send more than it may without a break, ms: it was slowed down, and has not yielded. */
const FLOOD_MS = 30_000
/** How a socket ends that nobody closed (RFC 6455 §7.1.5). */
const CUT_OFF = 1006

/** Where a WebSocket's line is found by its listeners, which all of them share: a closure for each is memory that idles. */
const LINE = Symbol('turnip.line')
type Lined = WebSocket & { [LINE]: Line }

/** What all lines of an instance share. */
export interface LineContext {
  readonly traffic: Traffic
  /** A clock in ms that stands still while this process does. */
  readonly connections: { readonly now: number }
  readonly outboxes: OutboxQueue
  readonly throttle: Throttle
  readonly turn: Turn
  readonly pingIntervalMs: number
  readonly pongTimeoutMs: number
  readonly sendBufferBytes: number
  readonly log: { debug (context: object, message: string): void }
}

/** Whose line it is: told what comes over it, and that it has ended. */
export interface LineOwner {
  readonly id: string
  /** A text message. Not called any more once the line has ended. */
  received (text: Buffer): void
  /** Called once. @param code of the Close frame that ended it, the client's or ours; 1005 for one without, 1006 for none */
  lost (code: number): void
}

/**
 * One WebSocket, and all that has to do with the socket alone: what is read and written, how fast, and whether anybody is
 * still there. A connection has one line at a time; with a session it may go on over another.
 */
export class Line {
  readonly #socket: WebSocket
  readonly #context: LineContext
  readonly #inlet: Inlet
  readonly #outbox: Outbox
  #owner: LineOwner | undefined
  /** What came before it had an owner. */
  #early: Buffer[] | undefined
  #endCode: number | undefined
  #slowSince: number | undefined
  #floodSince: number | undefined
  #pingAt: number
  #pongBy: number | undefined
  #answer: Promise<boolean> | undefined

  /** @param tcp what carries the WebSocket: frames are written to it as they are */
  constructor (socket: WebSocket, tcp: Socket, context: LineContext) {
    this.#context = context
    this.#socket = socket
    this.#inlet = new Inlet(socket, tcp, this, context.throttle, context.turn)
    this.#outbox = new Outbox(socket, tcp, this, context.outboxes)
    // The first ping comes at a random time: after a restart all clients come at once, and pings must not.
    this.#pingAt = context.connections.now + Math.random() * context.pingIntervalMs
    Object.assign(socket, { [LINE]: this })
    socket.on('message', Line.#onMessage).on('pong', Line.#onPong).on('close', Line.#onClose).on('error', Line.#onError)
  }

  static #of (socket: WebSocket): Line { return (socket as Lined)[LINE] }

  static #onMessage (this: WebSocket, data: Buffer, isBinary: boolean): void {
    const line = Line.#of(this)
    if (!isBinary) line.received(data)
    else if (line.isOpen) line.close(1003)
  }

  static #onPong (this: WebSocket): void { Line.#of(this).#pongBy = undefined }

  static #onClose (this: WebSocket, code: number): void {
    const line = Line.#of(this)
    line.#inlet.end()
    line.#end(code)
  }

  /** The library has answered a broken frame with its close code (1002, 1007, 1009) already; 'close' follows. */
  static #onError (this: WebSocket, error: Error): void {
    const line = Line.#of(this)
    line.#inlet.end()
    line.#context.log.debug({ err: error, connection_id: line.#owner?.id }, 'a client broke the WebSocket protocol')
  }

  get isOpen (): boolean { return this.#endCode === undefined }

  /** Bytes that were written and that the peer has not taken yet. */
  get waitingBytes (): number { return this.#outbox.waitingBytes }

  /** From now on the owner is told, of what has come and happened before as well. */
  open (owner: LineOwner): void {
    this.#owner = owner
    const early = this.#early ?? []
    this.#early = undefined
    for (const text of early) if (this.isOpen) owner.received(text)
    if (this.#endCode !== undefined) owner.lost(this.#endCode)
  }

  send (frame: Frame): void {
    this.#outbox.push(frame)
  }

  /** Reads no more until `release`. What is at hand still comes. */
  hold (): void { this.#inlet.hold() }
  release (): void { this.#inlet.release() }

  close (code: CloseCode): void {
    if (!this.isOpen) return
    this.#outbox.flush()
    this.#socket.close(code, closeCodes[code].reason)
    this.#inlet.close()
    this.#end(code)
  }

  /** Asks whether its client is there. @returns whether it has answered within so many ms */
  async answers (ms: number): Promise<boolean> {
    this.#answer ??= new Promise<boolean>(resolve => {
      const socket = this.#socket
      const late = setTimeout(end, ms)
      socket.on('close', end).on('pong', answered).ping()
      function answered (): void { resolve(true); end() }
      function end (): void {
        clearTimeout(late)
        socket.off('close', end).off('pong', answered)
        resolve(false)
      }
    }).finally(() => { this.#answer = undefined })
    return await this.#answer
  }

  /** Closes a line that has been replaced: its owner goes on over another, and is told nothing. */
  dismiss (code: CloseCode): void {
    this.#owner = undefined
    this.close(code)
  }

  /** Ends it without asking: for a peer that does not read, and at the end of a drain. */
  terminate (code = CUT_OFF): void {
    this.#socket.terminate()
    this.#end(code)
  }

  /** Closes. Resolves when the socket is closed on both sides. */
  async goAway (): Promise<void> {
    const gone = this.#gone()
    this.close(1012)
    await gone
  }

  /** Ends one that was closed, without waiting for its client's answer. Resolves when the socket is. */
  async cutOff (): Promise<void> {
    const gone = this.#gone()
    this.terminate()
    await gone
  }

  /**
   * Looks after pings, pongs, slow readers and floods.
   * @param now a clock in ms that stands still while this process does
   * @param isHeld we do not read it, so it cannot answer
   */
  beat (now: number, isHeld: boolean): void {
    const { pingIntervalMs, pongTimeoutMs, log } = this.#context
    if (this.#isTooSlow(now)) {
      log.debug({ connection_id: this.#owner?.id, bytes: this.waitingBytes }, 'a client reads too slowly')
      return this.close(1013) // behind what waits; the library cuts the socket off when that takes too long
    }
    const wasSlow = this.#inlet.wasSlow()
    if (this.#isFlooding(wasSlow, now)) return this.sentTooMuch()
    if (isHeld || wasSlow) { // or we read what it sent long ago
      if (this.#pongBy !== undefined) this.#pongBy = now + pongTimeoutMs
      return
    }
    if (this.#pongBy !== undefined && now >= this.#pongBy) {
      this.#socket.close(4408, closeCodes[4408].reason)
      return this.terminate(4408)
    }
    if (now >= this.#pingAt) {
      this.#pingAt = now + pingIntervalMs
      this.#pongBy ??= now + pongTimeoutMs
      this.#socket.ping()
    }
  }

  /** A text message. They still come after a close (the library hands over what it has read): those are not looked at. */
  received (text: Buffer): void {
    if (!this.isOpen) return
    if (this.#owner === undefined) (this.#early ??= []).push(text)
    else this.#owner.received(text)
  }

  /** It was slowed down and does not yield, or a message of its does not come to its end. */
  sentTooMuch (): void {
    this.#context.traffic.floods++
    this.#context.log.debug({ connection_id: this.#owner?.id }, 'a client goes on sending too much')
    this.close(1008)
  }

  /** So much waits that even five seconds are too long. */
  overflowed (bytes: number): void {
    const { sendBufferBytes, log } = this.#context
    if (sendBufferBytes === 0 || bytes <= SLOW_READER_FACTOR * sendBufferBytes) return
    log.debug({ connection_id: this.#owner?.id, bytes }, 'a client does not read')
    this.terminate(1013)
  }

  async #gone (): Promise<void> {
    await new Promise<void>(resolve => { this.#socket.once('close', () => { resolve() }) })
  }

  #isTooSlow (now: number): boolean {
    const { sendBufferBytes } = this.#context
    if (sendBufferBytes === 0 || this.waitingBytes <= sendBufferBytes) {
      this.#slowSince = undefined
      return false
    }
    this.#slowSince ??= now
    return now - this.#slowSince >= SLOW_READER_MS
  }

  #isFlooding (wasSlow: boolean, now: number): boolean {
    if (!wasSlow) {
      this.#floodSince = undefined
      return false
    }
    if (this.#floodSince === undefined) this.#context.traffic.slowdowns++
    this.#floodSince ??= now
    return now - this.#floodSince >= FLOOD_MS
  }

  /** Runs once, however the line ends. */
  #end (code: number): void {
    if (!this.isOpen) return
    this.#endCode = code
    this.#outbox.close()
    this.#owner?.lost(code)
  }
}
