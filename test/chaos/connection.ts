import WebSocket from 'ws'
import type { ClientMessage, ServerMessage } from '../../src/protocol/messages.ts'
import { tokenFor, type Claims } from '../harness/token.ts'
import { now } from './troubles.ts'

/** How long an instance may take to open a connection, ms: a frozen one never does, and the client goes elsewhere. */
const OPEN_MS = 1500
/** The last frames that a connection remembers, for the report. */
const REMEMBERED = 40

/** An instance that is frozen does not answer a close. (The types of `ws` do not know closeTimeout yet.) */
const options = { perMessageDeflate: false, closeTimeout: 500 } as WebSocket.ClientOptions

/** Something asked for that is still to be answered. */
export interface Request {
  readonly message: ClientMessage
  readonly at: number
}

/** Who is told what a connection goes through. */
export interface ConnectionOwner {
  onFrame (frame: ServerMessage, request: Request | undefined): void
  /** @param isOurs whether the client itself ended it */
  onClose (code: number, isOurs: boolean): void
}

/** One WebSocket of a client: matches answers with what was asked, and remembers the last of what went over it. */
export class Connection {
  /** The instance it is open to, by number. */
  readonly instance: number
  readonly id: string
  /** What is asked and not yet answered, in the order asked. `data` is not: nothing answers it. */
  readonly pending = new Map<number, Request>()
  readonly history: string[]
  lastAnswerAt = now()
  /** Since when it is closed, or the client has let go of it. */
  endedAt = Infinity
  readonly #socket: WebSocket
  readonly #sent = new Map<number, Request>()
  #requests = 0
  #isOurs = false
  #isDropped = false
  #owner: ConnectionOwner | undefined

  private constructor (socket: WebSocket, instance: number, id: string, history: string[]) {
    this.#socket = socket
    this.instance = instance
    this.id = id
    this.history = history
  }

  /**
   * Opens a connection; its first frame makes it one.
   * @param adopt who gets its frames, the first one too
   * @returns undefined when the instance does not let it in, or is not there
   */
  static async open (
    url: string, instance: number, userId: string, claims: Claims, adopt: (connection: Connection) => ConnectionOwner
  ): Promise<Connection | undefined> {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/ws?token=${tokenFor(userId, claims)}`, options)
    const history: string[] = []
    return await new Promise(resolve => {
      let connection: Connection | undefined
      const limit = setTimeout(() => { socket.terminate() }, OPEN_MS)
      socket.on('message', (data: Buffer) => {
        const text = data.toString()
        history.push(`${now().toFixed(0)} < ${text}`)
        if (history.length > REMEMBERED) history.shift()
        const frame = JSON.parse(text) as ServerMessage
        if (connection === undefined) {
          clearTimeout(limit)
          connection = new Connection(socket, instance, frame.type === 'welcome' ? frame.data.connection_id : '', history)
          connection.#owner = adopt(connection)
          resolve(connection)
        }
        connection.#receive(frame)
      })
      socket.on('error', () => {}) // 'close' follows
      socket.on('close', code => {
        clearTimeout(limit)
        if (connection === undefined) resolve(undefined)
        else connection.#close(code)
      })
    })
  }

  get isOpen (): boolean { return this.#socket.readyState === WebSocket.OPEN }

  /** Asks for something. @returns the request, whose answer comes to the owner; undefined when it is not open any more */
  ask (message: ClientMessage): Request | undefined {
    if (!this.isOpen) return undefined
    const id = ++this.#requests
    const request: Request = { message, at: now() }
    this.#sent.set(id, request)
    if (message.type !== 'data') this.pending.set(id, request)
    else this.#sent.delete(id - 2000) // an error comes soon or not at all
    const text = JSON.stringify({ ...message, id })
    this.history.push(`${now().toFixed(0)} > ${text}`)
    if (this.history.length > REMEMBERED) this.history.shift()
    this.#socket.send(text)
    return request
  }

  /** Closes it in order. */
  close (): void {
    this.#isOurs = true
    this.endedAt = now()
    this.#socket.close(1000)
  }

  /** Tears it, as a network does. */
  drop (): void {
    this.#isOurs = this.#isDropped = true
    this.endedAt = now()
    this.#socket.terminate()
  }

  #receive (frame: ServerMessage): void {
    if (this.#isDropped) return // what was on its way to a network that is gone
    const id = 'id' in frame && typeof frame.id === 'number' ? frame.id : undefined
    const request = id === undefined ? undefined : this.#sent.get(id)
    if (id !== undefined) {
      this.#sent.delete(id)
      this.pending.delete(id)
      this.lastAnswerAt = now()
    }
    this.#owner?.onFrame(frame, request)
  }

  #close (code: number): void {
    this.endedAt = Math.min(this.endedAt, now())
    this.history.push(`${now().toFixed(0)} closed with ${code}${this.#isOurs ? ', by the client' : ''}`)
    this.#owner?.onClose(code, this.#isOurs)
  }
}
