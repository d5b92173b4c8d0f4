import type { Socket } from 'node:net'
import { closeOf, rawSocket, upgradeHead } from '../faults/raw-socket.ts'

/** Opcodes of RFC 6455 §5.2. */
export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

/** What a frame is to be, right or wrong. The defaults make a right text frame of a client. */
export interface FrameShape {
  opcode?: number
  fin?: boolean
  /** The three reserved bits, as a number from 0 to 7. */
  rsv?: number
  masked?: boolean
  /** What the header says of the payload's length. */
  length?: number
}

/** A frame as bytes. Its mask is zero, which leaves the payload as it is. */
export function frameBytes (payload: string | Buffer = '', { opcode = opcodes.text, fin = true, rsv = 0, masked = true, length = Buffer.byteLength(payload) }: FrameShape = {}): Buffer {
  const size = length < 126 ? 0 : length < 65536 ? 2 : 8
  const header = Buffer.alloc(2 + size + (masked ? 4 : 0))
  header[0] = (fin ? 0x80 : 0) | rsv << 4 | opcode
  header[1] = (masked ? 0x80 : 0) | (size === 0 ? length : size === 2 ? 126 : 127)
  if (size === 2) header.writeUInt16BE(length, 2)
  if (size === 8) header.writeBigUInt64BE(BigInt(length), 2)
  return Buffer.concat([header, Buffer.from(payload)])
}

/** A WebSocket client that writes its bytes itself: what it sends may be anything. It answers no ping, and a close by hanging up. */
export class RawClient {
  readonly socket: Socket
  /** The texts that it got, in order. */
  readonly texts: string[] = []
  /** How many frames of each opcode it got. */
  readonly counts: Record<number, number> = {}
  /** The server's close code, or undefined when it just cut the connection. */
  readonly closed: Promise<number | undefined>
  #closeCode: number | undefined
  #rest = Buffer.alloc(0)
  #wake: () => void = () => {}

  private constructor (socket: Socket) {
    this.socket = socket
    this.closed = new Promise(resolve => { socket.once('close', () => { this.#wake(); resolve(this.#closeCode) }) })
  }

  /** @param url of the server, without a path @param query more of it: `&resume=true` */
  static async open (url: string, userId: string, query = ''): Promise<RawClient> {
    const socket = await rawSocket(url)
    socket.write(upgradeHead('/ws', userId, query))
    const client = new RawClient(socket)
    let head = Buffer.alloc(0)
    await new Promise<void>((resolve, reject) => {
      const listen = (bytes: Buffer): void => {
        head = Buffer.concat([head, bytes])
        const end = head.indexOf('\r\n\r\n')
        if (end === -1) return
        socket.off('data', listen)
        if (!head.toString('latin1').startsWith('HTTP/1.1 101 ')) return reject(new Error(head.toString('latin1')))
        socket.on('data', more => { client.#take(more) })
        client.#take(head.subarray(end + 4))
        resolve(client.got(text => text.startsWith('{"type":"welcome"')).then(() => {}))
      }
      socket.on('data', listen).once('close', () => { reject(new Error(`closed while it opened: ${head.toString('latin1')}`)) })
    })
    return client
  }

  /** Its connection_id, once its `welcome` has come. */
  get id (): string { return /"connection_id":"([^"]+)"/.exec(this.texts[0] ?? '')?.[1] ?? '' }

  /** Writes bytes, and waits while the server does not take them. @returns whether the connection is still open */
  async write (bytes: Buffer): Promise<boolean> {
    if (this.socket.destroyed || !this.socket.writable) return false
    if (this.socket.write(bytes)) return true
    await new Promise<void>(resolve => {
      const go = (): void => { this.socket.off('drain', go).off('close', go); resolve() }
      this.socket.on('drain', go).on('close', go)
    })
    return !this.socket.destroyed
  }

  /** Writes a text frame. */
  async send (message: object | string): Promise<boolean> {
    return await this.write(frameBytes(typeof message === 'string' ? message : JSON.stringify(message)))
  }

  /** Waits until a text has come that is asked for. @throws when the connection ends before */
  async got (isIt: (text: string) => boolean): Promise<string> {
    for (;;) {
      const text = this.texts.find(isIt)
      if (text !== undefined) return text
      if (this.socket.destroyed) throw new Error(`closed with ${this.#closeCode}; got ${this.texts.slice(-5).join(' ').slice(0, 500)}`)
      await new Promise<void>(resolve => { this.#wake = resolve })
    }
  }

  /** Waits until the server has read everything sent before. */
  async fence (): Promise<void> {
    const before = this.counts[opcodes.pong] ?? 0
    await this.write(frameBytes('', { opcode: opcodes.ping }))
    while ((this.counts[opcodes.pong] ?? 0) === before) {
      if (this.socket.destroyed) throw new Error(`closed with ${this.#closeCode}`)
      await new Promise<void>(resolve => { this.#wake = resolve })
    }
  }

  async join (room: string): Promise<void> {
    await this.send({ type: 'join', room })
    await this.got(text => text.startsWith(`{"type":"joined","room":"${room}"`))
  }

  async end (): Promise<void> {
    this.socket.destroy()
    await closeOf(this.socket)
  }

  #take (bytes: Buffer): void {
    let rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    for (;;) {
      const [first, second] = rest
      if (first === undefined || second === undefined) break
      const size = second === 127 ? 8 : second === 126 ? 2 : 0
      if (rest.length < 2 + size) break
      const length = size === 8 ? rest.readUInt32BE(6) : size === 2 ? rest.readUInt16BE(2) : second
      if (rest.length < 2 + size + length) break
      const payload = rest.subarray(2 + size, 2 + size + length)
      const opcode = first & 15
      this.counts[opcode] = (this.counts[opcode] ?? 0) + 1
      if (opcode === opcodes.text) this.texts.push(payload.toString())
      if (opcode === opcodes.close) {
        this.#closeCode = length < 2 ? undefined : payload.readUInt16BE(0)
        this.socket.end()
      }
      rest = rest.subarray(2 + size + length)
    }
    this.#rest = Buffer.from(rest)
    this.#wake()
  }
}
