/** The opcode of a Close frame (RFC 6455 §5.5.1): nothing that comes after it means anything. */
const CLOSE = 0x8
/** Opcodes below it are of data, and 0 goes on with the message that was begun (§5.4). */
const FIRST_CONTROL = 0x8
const FIN = 0x80

const START = 0
const LENGTH = 1
const EXTENDED_LENGTH = 2
const BODY = 3

/**
 * Where one is in the frames that a client sends (RFC 6455 §5.2). It knows of a frame where it begins and ends, and
 * nothing of what is in it: the WebSocket library checks and reads it, and says of fragments and broken frames no word.
 */
export class FrameWalk {
  /** How many more frames may begin. */
  allowance = 0
  #state = START
  #opcode = 0
  /** Bytes of an extended length that are still to come. */
  #missing = 0
  #length = 0
  /** Bytes of the mask and the payload that are still to come. */
  #rest = 0
  #passed = 0
  /** Where the message began whose last fragment has not come. */
  #openedAt: number | undefined

  /** Bytes since the beginning of a message that is not at its end, frames between its fragments included. */
  get openBytes (): number { return this.#openedAt === undefined ? 0 : this.#passed - this.#openedAt }

  /** Whether the next byte begins a frame. */
  get isBetween (): boolean { return this.#state === START }

  /** Whether the next byte begins a message, or a frame between two of them. */
  get isIdle (): boolean { return this.#state === START && this.#openedAt === undefined }

  /** Whether the current frame, or if there is none the last one, is a Close frame. */
  get isClose (): boolean { return this.#opcode === CLOSE }

  /** @returns how far it came: `end`, or the start of a frame for which there is no allowance, or that follows a Close */
  advance (chunk: Buffer, from: number, end: number): number {
    const at = this.#advance(chunk, from, end)
    this.#passed += at - from
    return at
  }

  #advance (chunk: Buffer, from: number, end: number): number {
    let at = from
    while (at < end) {
      switch (this.#state) {
        case START: {
          if (this.allowance < 1 || this.isClose) return at
          this.allowance--
          const first = chunk[at] ?? 0
          this.#opcode = first & 0x0f
          if (this.#opcode < FIRST_CONTROL) this.#openedAt = first >= FIN ? undefined : this.#openedAt ?? this.#passed + at - from
          at++
          this.#state = LENGTH
          break
        }
        case LENGTH: {
          const byte = chunk[at++] ?? 0
          const short = byte & 0x7f
          this.#rest = byte >= 0x80 ? 4 : 0 // the mask
          this.#length = 0
          this.#missing = short === 126 ? 2 : short === 127 ? 8 : 0
          if (this.#missing === 0) this.#rest += short
          this.#state = this.#missing === 0 ? BODY : EXTENDED_LENGTH
          break
        }
        case EXTENDED_LENGTH:
          this.#length = this.#length * 256 + (chunk[at++] ?? 0)
          if (--this.#missing > 0) break
          this.#rest += this.#length
          this.#state = BODY
          break
        default: {
          const step = Math.min(this.#rest, end - at)
          at += step
          this.#rest -= step
          if (this.#rest === 0) this.#state = START
        }
      }
    }
    return at
  }
}
