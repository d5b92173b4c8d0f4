import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { unpinned, type Frame } from '../protocol/frame.ts'
import type { Turn } from './turn.ts'

/** So many bytes are written before the turn is over: what a slow reader does not take has to be seen, and bounded. */
const FLUSH_BYTES = 262_144

/**
 * The outboxes that have something to send. They are flushed together, once a turn of the event loop, so that what one
 * turn says to one socket is one write, whatever number of frames is in it.
 */
export class OutboxQueue {
  #dirty: Outbox[] = []
  readonly #turn: Turn

  constructor (turn: Turn) {
    this.#turn = turn
  }

  /** A frame was queued somewhere. */
  count (): void { this.#turn.spend(1) }

  add (outbox: Outbox): void {
    if (this.#dirty.push(outbox) === 1) setImmediate(() => { this.#flush() })
  }

  #flush (): void {
    const dirty = this.#dirty
    this.#dirty = []
    for (const outbox of dirty) outbox.flush()
  }
}

/** Told, whenever the socket takes no more at the moment, how many bytes wait for it. */
export interface Overflowing { overflowed (bytes: number): void }

/**
 * What is to be written to one socket. Frames are whole WebSocket frames, so they go straight to the TCP socket: the
 * WebSocket library beside it writes whole frames too (pong, close), and neither cuts into the other's.
 */
export class Outbox {
  readonly #socket: WebSocket
  readonly #tcp: Socket
  readonly #owner: Overflowing
  readonly #queue: OutboxQueue
  #frames: Frame[] = []
  #bytes = 0
  #queued = false
  #closed = false

  /** @param tcp what carries the WebSocket */
  constructor (socket: WebSocket, tcp: Socket, owner: Overflowing, queue: OutboxQueue) {
    this.#owner = owner
    this.#socket = socket
    this.#tcp = tcp
    this.#queue = queue
  }

  /** Bytes that were written and that the peer has not taken yet. */
  get waitingBytes (): number { return this.#tcp.writableLength }

  push (frame: Frame): void {
    if (this.#closed) return
    this.#frames.push(frame)
    this.#bytes += frame.length
    this.#queue.count()
    if (!this.#queued) {
      this.#queued = true
      this.#queue.add(this)
    }
    if (this.#bytes >= FLUSH_BYTES) this.#write()
  }

  flush (): void {
    this.#queued = false
    this.#write()
  }

  #write (): void {
    const frames = this.#frames
    if (frames.length === 0) return
    this.#frames = []
    this.#bytes = 0
    if (this.#socket.readyState !== this.#socket.OPEN) return // nothing may follow a close frame (RFC 6455 §5.5.1)
    const [only] = frames
    const one = frames.length > 1 || only === undefined ? Buffer.concat(frames) : only
    const bytes = this.#tcp.writableNeedDrain ? unpinned(one) : one // or it is on its way at once
    if (!this.#tcp.write(bytes) && this.#tcp.writableCorked === 0) this.#owner.overflowed(this.#tcp.writableLength)
  }

  /** Takes no more frames; what waits is forgotten. */
  close (): void {
    this.#closed = true
    this.#frames = []
    this.#bytes = 0
  }
}
