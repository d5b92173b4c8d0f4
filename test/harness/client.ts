import { once } from 'node:events'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import WebSocket from 'ws'
import type { PeerInfo, ServerMessage, ServerMessageType } from '../../src/protocol/messages.ts'
import { tokenFor, type Claims } from './token.ts'

/** How long a frame or a close may take before a test fails, ms. Only a broken server ever takes it. */
const LIMIT_MS = 15_000

export type MessageOf<T extends ServerMessageType> = Extract<ServerMessage, { type: T }>

/** How the server refused to open a WebSocket. */
export interface UpgradeRefusal { status: number, headers: IncomingHttpHeaders, body: unknown }

/** A WebSocket client that keeps what it gets. Every wait is for a frame, never for a time. */
export class Client {
  readonly socket: WebSocket
  /** Everything received, in order. */
  readonly frames: ServerMessage[] = []
  /** The same as they stood on the wire. */
  readonly texts: string[] = []
  readonly closed: Promise<{ code: number, reason: string }>
  /** What the server said first. */
  opening: MessageOf<'welcome' | 'resumed'> | undefined
  /** Who the server says it is: set once `opening` has come. */
  info: PeerInfo = { connection_id: '', user_id: '', username: '' }
  #tcp: Socket | undefined
  #taken = 0
  #wake: () => void = () => {}
  #fences = 0

  private constructor (socket: WebSocket) {
    this.socket = socket
    socket.on('upgrade', (response: IncomingMessage) => { this.#tcp = response.socket })
    socket.on('message', (data: Buffer) => {
      const text = data.toString()
      this.texts.push(text)
      this.frames.push(JSON.parse(text) as ServerMessage)
      this.#wake()
    })
    this.closed = new Promise(resolve => {
      socket.on('close', (code, reason) => { resolve({ code, reason: reason.toString() }); this.#wake() })
    })
    socket.on('error', () => {}) // 'close' tells
  }

  /**
   * Opens a connection and waits for its `welcome` (or `resumed`).
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
    client.opening = await client.#first('welcome', ({ type }) => type === 'welcome' || type === 'resumed') as MessageOf<'welcome' | 'resumed'>
    const { connection_id, user_id, username } = client.opening.data
    client.info = { connection_id, user_id, username }
    return client
  }

  send (message: object | string): void {
    this.socket.send(typeof message === 'string' ? message : JSON.stringify(message))
  }

  /** Its connection_id. */
  get id (): string { return this.info.connection_id }

  /** Writes bytes that are no frame of the protocol's. */
  write (bytes: Buffer): void {
    this.#tcp?.write(bytes)
  }

  /** Does several things in one write to the socket, so that the server gets them together. */
  together (actions: () => void): void {
    this.#tcp?.cork()
    actions()
    this.#tcp?.uncork()
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

  /** The next frame among those that nobody has waited for yet. */
  async take (): Promise<ServerMessage> {
    return await this.#first('frame', () => true)
  }

  /** The next frame of a type; frames of other types before it are passed over. */
  async next<T extends ServerMessageType> (type: T, limitMs = LIMIT_MS): Promise<MessageOf<T>> {
    return await this.#first(type, frame => frame.type === type, limitMs) as MessageOf<T>
  }

  /** Waits for a frame. @returns those before it that nobody has waited for yet, and the frame itself */
  async upTo (isLast: (frame: ServerMessage) => boolean): Promise<ServerMessage[]> {
    const from = this.#taken
    await this.#first('such frame', isLast)
    return this.frames.slice(from, this.#taken)
  }

  /** Waits until the server has handled everything sent before. @returns frames that came since the last wait */
  async fence (): Promise<ServerMessage[]> {
    const id = `fence-${++this.#fences}`
    this.send({ type: 'ping', id })
    return (await this.upTo(frame => frame.type === 'pong' && frame.id === id)).slice(0, -1)
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

  async #first (what: string, isIt: (frame: ServerMessage) => boolean, limitMs = LIMIT_MS): Promise<ServerMessage> {
    const deadline = Date.now() + limitMs
    for (;;) {
      for (let frame = this.frames[this.#taken]; frame !== undefined; frame = this.frames[this.#taken]) {
        this.#taken++
        if (isIt(frame)) return frame
      }
      if (this.socket.readyState === WebSocket.CLOSED) throw new Error(`closed while waiting for ${what}; got ${this.#got()}`)
      const left = deadline - Date.now()
      if (left <= 0) throw new Error(`no ${what} came; got ${this.#got()}`)
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => { clearTimeout(timer); resolve() }
      })
    }
  }

  #got (): string { return JSON.stringify(this.frames.slice(-50).map(frame => frame.type)) }
}

/** Tries to open a connection that is to be refused. */
export async function refusedUpgrade (url: string, protocols: string[] = [], options: WebSocket.ClientOptions = {}): Promise<UpgradeRefusal> {
  const socket = new WebSocket(url, protocols, options)
  return await new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.once('open', () => { socket.terminate(); reject(new Error('the upgrade was not refused')) })
    socket.once('unexpected-response', (_request, response) => {
      let body = ''
      response.on('data', chunk => { body += String(chunk) }).on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: JSON.parse(body) as unknown })
      })
    })
  })
}
