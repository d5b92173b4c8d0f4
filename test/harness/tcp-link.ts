import { Socket } from 'node:net'

export const HOST = '127.0.0.1'

/** How much of what a client sends is remembered of each connection. */
const REMEMBERED_BYTES = 65536
/** How much may wait to be passed on before the sender is held back, as a real network would. */
const HIGH_WATER_BYTES = 65536
/** A throttled connection gets its bytes in so many portions a second. */
const PORTIONS_A_SECOND = 20

/** Bytes under way, and what to do once they have gone on. */
export interface Parcel { bytes: Buffer, then?: () => void }

/** How a proxy treats all of its connections. */
export interface Terms { delayMs: number, bytesPerSecond: number }

/** One direction of a connection. */
class Way {
  readonly #from: Socket
  readonly #to: Socket
  readonly #terms: Terms
  #queue: Array<Parcel & { due: number }> = []
  #bytes = 0
  #held = false
  #ended = false
  #blocked = false
  #timer: NodeJS.Timeout | undefined
  /** When the next portion may go, while it is throttled. */
  #next = 0

  constructor (from: Socket, to: Socket, terms: Terms, take: (bytes: Buffer) => Parcel[]) {
    this.#from = from
    this.#to = to
    this.#terms = terms
    from.on('data', bytes => {
      for (const parcel of take(bytes)) {
        this.#queue.push({ ...parcel, due: performance.now() + terms.delayMs })
        this.#bytes += parcel.bytes.length
      }
      if (this.#bytes > HIGH_WATER_BYTES) from.pause()
      this.#pump()
    })
    from.on('close', () => { this.#ended = true; this.#pump() })
    to.on('drain', () => { this.#blocked = false; this.#pump() })
    to.on('close', () => { clearTimeout(this.#timer) })
  }

  /** Nothing passes, and nobody is told: what does not fit into the buffers of the system waits with its sender. */
  hold (): void {
    this.#held = true
    this.#from.pause()
  }

  release (): void {
    this.#held = false
    this.#pump()
  }

  #pump (): void {
    if (this.#held || this.#blocked || this.#timer !== undefined || this.#to.destroyed) return
    for (let parcel = this.#queue[0]; parcel !== undefined; parcel = this.#queue[0]) {
      const wait = Math.max(parcel.due, this.#next) - performance.now()
      if (wait > 0) {
        this.#timer = setTimeout(() => { this.#timer = undefined; this.#pump() }, wait)
        return
      }
      this.#blocked = !this.#to.write(this.#portionOf(parcel))
      if (parcel.bytes.length === 0) {
        this.#queue.shift()
        parcel.then?.()
      }
      if (this.#held || this.#blocked) return
    }
    if (this.#ended) this.#to.destroySoon()
    else this.#from.resume()
  }

  #portionOf (parcel: Parcel): Buffer {
    const { bytesPerSecond } = this.#terms
    const length = bytesPerSecond === 0 ? parcel.bytes.length : Math.min(parcel.bytes.length, Math.ceil(bytesPerSecond / PORTIONS_A_SECOND))
    const portion = parcel.bytes.subarray(0, length)
    parcel.bytes = parcel.bytes.subarray(length)
    this.#bytes -= length
    if (bytesPerSecond > 0) this.#next = performance.now() + 1000 * length / bytesPerSecond
    return portion
  }
}

/** What becomes of the bytes of a connection. */
export interface Handling { sent (link: Link, bytes: Buffer): Parcel[], received (link: Link, bytes: Buffer): Parcel[] }

/** A connection through a proxy. */
export class Link {
  /** The first connection of its proxy is 0. */
  readonly index: number
  readonly closed: Promise<void>
  readonly #near: Socket
  readonly #far = new Socket()
  readonly #there: Way
  readonly #back: Way
  readonly #connect: () => void
  #isConnected = false
  #isHeld = false
  #sent = ''

  constructor (index: number, near: Socket, port: number, terms: Terms, handling: Handling) {
    this.index = index
    this.#near = near
    for (const socket of [near, this.#far]) socket.on('error', () => {}) // 'close' tells the other end
    this.#there = new Way(near, this.#far, terms, bytes => {
      if (this.#sent.length < REMEMBERED_BYTES) this.#sent += bytes.toString('latin1')
      return handling.sent(this, bytes)
    })
    this.#back = new Way(this.#far, near, terms, bytes => handling.received(this, bytes))
    this.#connect = () => { this.#far.connect(port, HOST) }
    this.closed = new Promise(resolve => { near.once('close', () => { resolve() }) })
  }

  /** Connects to the server, unless the connection is held from its beginning. */
  open (): void {
    if (this.#isConnected || this.#isHeld) return
    this.#isConnected = true
    this.#connect()
  }

  get isHeld (): boolean { return this.#isHeld }
  get isDestroyed (): boolean { return this.#near.destroyed }

  /** Whether a text is in what the client has sent, at least in the beginning of it; case does not count. */
  hasSent (text: string): boolean {
    return this.#sent.toLowerCase().includes(text.toLowerCase())
  }

  /** Nothing passes any more, and nobody is told. */
  hold (): void {
    this.#isHeld = true
    this.#there.hold()
    this.#back.hold()
  }

  /** Nothing passes back from the server any more, and nobody is told; what the client sends passes. */
  holdReplies (): void {
    this.#isHeld = true
    this.#back.hold()
  }

  /** What was held flows again. */
  release (): void {
    this.#isHeld = false
    this.open()
    this.#there.release()
    this.#back.release()
  }

  /** Ends it on both sides, whatever is under way. */
  destroy (): void {
    this.#near.resetAndDestroy()
    this.#far.destroy()
  }

  /** Ends it on both sides; the client still gets what has passed. */
  end (): void {
    this.#near.destroySoon()
    this.#far.destroy()
  }
}
