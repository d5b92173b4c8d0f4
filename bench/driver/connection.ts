import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import type { Member, Protocol } from '../protocols/protocol.ts'
import { closeFrame, createFrameReader, pongFrame, textFrame } from './frames.ts'

const HOST = '127.0.0.1'
const HEAD_END = '\r\n\r\n'

/** One client over a raw socket: a WebSocket library would cost the driver more than the server. */
export class Connection implements Member {
  readonly id: string
  readonly room: string
  /** Called for each message of another member. */
  onMessage: () => void = () => {}
  /** Called when the socket ends before `close`. */
  onLost: (error: Error) => void = () => {}
  readonly #protocol: Protocol
  readonly #port: number
  #socket: Socket | undefined
  #isLeaving = false

  constructor (protocol: Protocol, port: number, id: string, room: string) {
    this.#protocol = protocol
    this.#port = port
    this.id = id
    this.room = room
  }

  /** Connects and goes into the room. @throws Error that says what the server did instead */
  async open (): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const socket = connect(this.#port, HOST)
      this.#socket = socket
      socket.setNoDelay(true)
      let isIn = false
      const fail = (reason: string): void => {
        if (this.#isLeaving) return
        const error = new Error(`Nothing answers as it should at ${HOST}:${this.#port}: ${reason}. Is the server running, and is it the one that was meant?`)
        if (isIn) this.onLost(error)
        else reject(error)
        socket.destroy()
      }
      const enter = (frame: Buffer | undefined): void => {
        try {
          isIn = this.#protocol.enter(this, frame, this.#say)
          if (isIn) resolve()
        } catch (error) {
          fail((error as Error).message)
        }
      }
      const read = createFrameReader(({ kind, payload }) => {
        if (kind === 'text') {
          if (!isIn) enter(payload)
          else if (this.#protocol.isMessage(payload, this.#say)) this.onMessage()
        } else if (kind === 'ping') {
          socket.write(pongFrame(payload))
        } else if (kind === 'close') {
          fail(`it closed the WebSocket, code ${payload.length < 2 ? 'none' : payload.readUInt16BE()}`)
        }
      })
      let head = ''
      const onHead = (chunk: Buffer): void => {
        head += chunk.toString('latin1')
        const end = head.indexOf(HEAD_END)
        if (end < 0) return
        if (!head.startsWith('HTTP/1.1 101 ')) {
          fail(`GET ${this.#protocol.path(this).split('?', 1)[0]} was answered with "${head.slice(0, head.indexOf('\r\n'))}" and no WebSocket`)
          return
        }
        socket.off('data', onHead)
        socket.on('data', read)
        enter(undefined)
        if (end + HEAD_END.length < head.length) read(Buffer.from(head.slice(end + HEAD_END.length), 'latin1'))
      }
      socket.on('data', onHead)
      socket.on('error', ({ message }) => { fail(message) })
      socket.on('close', () => { fail('it closed the connection') })
      socket.write(`GET ${this.#protocol.path(this)} HTTP/1.1\r\nHost: ${HOST}:${this.#port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}${HEAD_END}`)
    })
  }

  /** A message for the others, ready to be sent as often as needed. */
  frameFor (payload: string, to: Member): Buffer {
    return textFrame(this.#protocol.wrap(payload, to))
  }

  send (frame: Buffer): void {
    this.#socket?.write(frame)
  }

  /** Leaves in order, and waits until the server has closed the socket. */
  async close (): Promise<void> {
    const socket = this.#socket
    if (socket === undefined || socket.destroyed) return
    this.#isLeaving = true
    socket.write(closeFrame())
    await new Promise<void>(resolve => { socket.once('close', () => { resolve() }) })
  }

  /** Cuts the socket off. */
  destroy (): void {
    this.#isLeaving = true
    this.#socket?.destroy()
  }

  readonly #say = (text: string): void => { this.send(textFrame(text)) }
}

/** As many at a time as a listener's queue takes without dropping any. */
const AT_ONCE = 50

export async function openAll (connections: readonly Connection[]): Promise<void> {
  for (let i = 0; i < connections.length; i += AT_ONCE) await Promise.all(connections.slice(i, i + AT_ONCE).map(connection => connection.open()))
}
