import { once } from 'node:events'
import WebSocket from 'ws'
import type { ServerMessage, ServerMessageType } from '../../src/protocol/messages.ts'
import { tokenFor, type Claims } from './token.ts'

/** How long a frame or a close may take before a test fails, ms. Only a broken server ever takes it. */
const LIMIT_MS = 15_000

export type MessageOf<T extends ServerMessageType> = Extract<ServerMessage, { type: T }>

/** A WebSocket client that keeps what it gets. Every wait is for a frame, never for a time. */
export class Client {
  readonly socket: WebSocket
  /** Everything received, in order. */
  readonly frames: ServerMessage[] = []
  readonly closed: Promise<{ code: number, reason: string }>
  /** Set once `welcome` has come. */
  id = ''
  #taken = 0
  #wake: () => void = () => {}
  #fences = 0

  private constructor (socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data: Buffer) => {
      this.frames.push(JSON.parse(data.toString()) as ServerMessage)
      this.#wake()
    })
    this.closed = new Promise(resolve => {
      socket.on('close', (code, reason) => { resolve({ code, reason: reason.toString() }); this.#wake() })
    })
    socket.on('error', () => {}) // 'close' tells
  }

  /**
   * Opens a connection and waits for its `welcome`.
   * @param url of the server's /ws, without a query
   * @throws when the upgrade is refused, with the status and the body in the message
   */
  static async open (url: string, userId: string, claims: Claims = {}): Promise<Client> {
    return await Client.openWith(`${url}?token=${tokenFor(userId, claims)}`)
  }

  /** @param url complete; @param protocols and options as for `ws` */
  static async openWith (url: string, protocols: string[] = [], options: WebSocket.ClientOptions = {}): Promise<Client> {
    const socket = new WebSocket(url, protocols, { perMessageDeflate: false, ...options })
    const client = new Client(socket)
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve)
      socket.once('error', reject)
      socket.once('unexpected-response', (_request, response) => {
        let body = ''
        response.on('data', chunk => { body += String(chunk) }).on('end', () => { reject(new Error(`${response.statusCode ?? 0} ${body}`)) })
      })
    })
    client.id = (await client.next('welcome')).data.connection_id
    return client
  }

  send (message: object | string): void {
    this.socket.send(typeof message === 'string' ? message : JSON.stringify(message))
  }

  /** Joins a room and waits for `joined`. */
  async join (room: string, more: object = {}): Promise<MessageOf<'joined'>> {
    this.send({ type: 'join', room, ...more })
    return await this.next('joined')
  }

  /** Sends a message and waits for the `error` it gets. */
  async refused (message: object | string): Promise<MessageOf<'error'>> {
    this.send(message)
    return await this.next('error')
  }

  /** The next frame of a type among those that nobody has waited for yet; frames of other types before it are passed over. */
  async next<T extends ServerMessageType> (type: T, limitMs = LIMIT_MS): Promise<MessageOf<T>> {
    const deadline = Date.now() + limitMs
    for (;;) {
      while (this.#taken < this.frames.length) {
        const frame = this.frames[this.#taken++]
        if (frame?.type === type) return frame as MessageOf<T>
      }
      if (this.socket.readyState === WebSocket.CLOSED) throw new Error(`closed while waiting for ${type}; got ${this.#got()}`)
      const left = deadline - Date.now()
      if (left <= 0) throw new Error(`no ${type} came; got ${this.#got()}`)
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => { clearTimeout(timer); resolve() }
      })
    }
  }

  /** Waits until the server has handled everything sent before. @returns frames that came since the last wait */
  async fence (): Promise<ServerMessage[]> {
    const from = this.#taken
    const id = `fence-${++this.#fences}`
    this.send({ type: 'ping', id })
    while ((await this.next('pong')).id !== id);
    return this.frames.slice(from, this.#taken - 1)
  }

  /** All frames of a type so far. */
  all<T extends ServerMessageType> (type: T): Array<MessageOf<T>> {
    return this.frames.filter((frame): frame is MessageOf<T> => frame.type === type)
  }

  /** Closes and waits until the server has closed too. */
  async close (code = 1000): Promise<void> {
    if (this.socket.readyState === WebSocket.CLOSED) return
    this.socket.close(code)
    await once(this.socket, 'close')
  }

  #got (): string { return JSON.stringify(this.frames.map(frame => frame.type)) }
}
