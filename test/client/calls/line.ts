import { Socket } from 'node:net'
import { FrameSplitter } from './websocket-frames.ts'

export const HOST = '127.0.0.1'
/** Of a request or an answer (RFC 9112 §2.1). */
export const END_OF_HEAD = '\r\n\r\n'

/** Seen from the client. */
export type Direction = 'in' | 'out'

/** What passes on a line: a frame, or the request that opens it. */
export type Passing = { type: string } & Record<string, unknown>

/** Something is about to pass. What holds the line now holds it too. */
export type Passes = (line: Line, direction: Direction, passing: Passing) => void

/** A WebSocket through the balancer. */
export class Line {
  readonly user: string
  readonly instance: number
  readonly closed: Promise<void>
  readonly #near: Socket
  readonly #far = new Socket()
  readonly #passes: (direction: Direction, passing: Passing) => void
  #held: Array<() => void> | undefined
  #holdsNext = false

  constructor (user: string, instance: number, near: Socket, passes: Passes) {
    this.user = user
    this.instance = instance
    this.#near = near
    this.#passes = (direction, passing) => { passes(this, direction, passing) }
    this.closed = new Promise(resolve => { near.once('close', () => { resolve() }) })
  }

  /** @param head the client's request, which is what passes first */
  open (port: number, head: Buffer): void {
    const near = this.#near
    const far = this.#far
    far.on('error', () => {})
    near.on('close', () => { far.destroy() })
    far.on('close', () => { this.#go(() => { near.destroySoon() }) })
    this.#passes('out', { type: 'upgrade' })
    this.#go(() => {
      if (near.destroyed) return
      far.connect(port, HOST)
      far.write(head)
    })
    near.on('data', this.#carrier(far, 'out'))
    this.#answer()
    near.resume()
  }

  /** Nothing passes any more, and nobody is told. */
  hold (): void { this.#held ??= [] }

  /** ... what is passing now is the last that does. */
  holdNext (): void { this.#holdsNext = true }

  /** What was held flows on. */
  release (): void {
    const held = this.#held ?? []
    this.#held = undefined
    this.#holdsNext = false
    for (const pass of held) pass()
  }

  /** Gone without a word, with all that was held: a network that is away, or an instance. */
  drop (): void {
    this.#held = undefined
    this.#near.resetAndDestroy()
    this.#far.destroy()
  }

  #go (pass: () => void): void {
    if (this.#held === undefined) pass()
    else this.#held.push(pass)
    if (!this.#holdsNext) return
    this.#holdsNext = false
    this.hold()
  }

  /** What the instance says to the request, and what comes behind it. */
  #answer (): void {
    const far = this.#far
    let head: Buffer = Buffer.alloc(0)
    const read = (bytes: Buffer): void => {
      head = Buffer.concat([head, bytes])
      const end = head.indexOf(END_OF_HEAD)
      if (end < 0) return
      far.off('data', read)
      const isUpgraded = head.toString('latin1', 0, end).startsWith('HTTP/1.1 101')
      const answer = isUpgraded ? head.subarray(0, end + END_OF_HEAD.length) : head
      this.#go(() => { this.#near.write(answer) })
      if (!isUpgraded) {
        far.pipe(this.#near)
        return
      }
      const carry = this.#carrier(this.#near, 'in')
      carry(head.subarray(answer.length))
      far.on('data', carry)
    }
    far.on('data', read)
  }

  /** @returns what takes the bytes of one side, and passes them frame by frame */
  #carrier (to: Socket, direction: Direction): (bytes: Buffer) => void {
    const splitter = new FrameSplitter()
    return bytes => {
      for (const frame of splitter.push(bytes)) {
        if (frame.text !== undefined) this.#passes(direction, JSON.parse(frame.text) as Passing)
        this.#go(() => { to.write(frame.bytes) })
      }
    }
  }
}
