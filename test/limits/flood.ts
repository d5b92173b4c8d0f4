import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { rawSocket, upgradeHead } from '../faults/raw-socket.ts'

export const TEXT = 0x1
export const CONTINUATION = 0x0
export const CLOSE = 0x8
export const PING = 0x9
export const PONG = 0xa

/** A frame as a client sends it (RFC 6455 §5.2). */
export function frameFrom (opcode: number, payload: string | Buffer, { fin = true } = {}): Buffer {
  const body = Buffer.from(payload)
  const length = body.length < 126 ? [body.length] : body.length < 65_536 ? [126, body.length >> 8, body.length & 0xff] : [127, 0, 0, 0, 0, ...lengthBytes(body.length)]
  const mask = randomBytes(4)
  const [first = 0, ...rest] = length
  const masked = body.map((byte, i) => byte ^ (mask[i % 4] ?? 0))
  return Buffer.concat([Buffer.from([(fin ? 0x80 : 0) | opcode, 0x80 | first, ...rest]), mask, masked])
}

function lengthBytes (length: number): number[] {
  return [length >>> 24, (length >>> 16) & 0xff, (length >>> 8) & 0xff, length & 0xff]
}

/** The same frame many times over, in one buffer. */
export function times (count: number, frame: Buffer): Buffer {
  return Buffer.concat(Array<Buffer>(count).fill(frame))
}

/** A client by hand, which sends what it likes and counts the frames that come. */
export class RawClient {
  readonly socket: Socket
  /** How many frames came, by opcode. */
  readonly got: Record<number, number> = {}
  /** The texts among them. */
  readonly texts: string[] = []
  /** The code of the server's Close, once it has come. */
  closeCode: number | undefined
  #buffered: Buffer = Buffer.alloc(0)

  private constructor (socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => { this.#take(chunk) })
  }

  static async open (url: string, userId: string): Promise<RawClient> {
    const socket = await rawSocket(url)
    socket.write(upgradeHead('/ws', userId))
    const [answer] = await once(socket, 'data') as [Buffer]
    const end = answer.indexOf('\r\n\r\n') + 4
    if (!answer.toString('latin1').startsWith('HTTP/1.1 101 ') || end < 4) throw new Error(answer.toString('latin1'))
    const client = new RawClient(socket)
    client.#take(answer.subarray(end)) // the welcome may come along
    return client
  }

  count (opcode: number): number {
    return this.got[opcode] ?? 0
  }

  send (message: object): void {
    this.socket.write(frameFrom(TEXT, JSON.stringify(message)))
  }

  /** Goes on writing the same as fast as it is taken, until the socket closes or this is called. @returns what ends it */
  flood (bytes: Buffer): () => void {
    const { socket } = this
    const write = (): void => { while (!socket.destroyed && socket.write(bytes)); }
    socket.on('drain', write)
    write()
    return () => { socket.off('drain', write) }
  }

  /** Frames of a server are not masked. */
  #take (chunk: Buffer): void {
    this.#buffered = Buffer.concat([this.#buffered, chunk])
    for (;;) {
      const [first = 0, second = 0] = this.#buffered
      const head = second === 126 ? 4 : second === 127 ? 10 : 2
      if (this.#buffered.length < head) return
      const length = second === 126 ? this.#buffered.readUInt16BE(2) : second === 127 ? Number(this.#buffered.readBigUInt64BE(2)) : second
      if (this.#buffered.length < head + length) return
      const opcode = first & 0x0f
      const body = this.#buffered.subarray(head, head + length)
      this.got[opcode] = this.count(opcode) + 1
      if (opcode === TEXT) this.texts.push(body.toString())
      if (opcode === CLOSE) this.closeCode = body.readUInt16BE(0)
      this.#buffered = this.#buffered.subarray(head + length)
    }
  }
}
