import type { ClientMessage, ServerMessage } from '../../src/protocol/messages.ts'
import { tokenFor, type Claims } from '../harness/token.ts'
import { Sent } from './sent.ts'
import { now } from './troubles.ts'
import { Wire, type WireOwner } from './wire.ts'

/** The last frames that a connection remembers, for the report. */
const REMEMBERED = 40

/** Something asked for that is still to be answered. */
export interface Request {
  readonly message: ClientMessage
  readonly at: number
}

/** Who is told what a connection goes through. */
export interface ConnectionOwner {
  onFrame (frame: ServerMessage, request: Request | undefined): void
  /** Its wire is gone; with a session it may go on over another. @param isOurs whether the client itself ended it */
  onClose (code: number, isOurs: boolean): void
  /** What the server says of its session cannot be. */
  onWrong? (error: unknown): void
}

export interface ConnectionOptions {
  readonly userId: string
  readonly claims?: Claims
  /** Whether it asks for a session. */
  readonly hasSession?: boolean
}

/** Called with a new connection: who gets its frames, the first one too. */
export type Adopt = (connection: Connection) => ConnectionOwner

/**
 * One connection of a client, over one wire or, with a session, over several in a row: matches answers with what was asked,
 * sends again what was not handled, and remembers the last of what went over it.
 */
export class Connection implements WireOwner {
  readonly id: string
  /** What is asked and not yet answered, in the order asked. `data` is not: nothing answers it. */
  readonly pending = new Map<number, Request>()
  readonly history: string[]
  lastAnswerAt = now()
  /** When it came back last. */
  backAt = now()
  /** Since when it has no wire, but may come back. */
  awaySince: number | undefined
  /** Since when it is over, or the client has let go of it. */
  endedAt = Infinity
  readonly #options: ConnectionOptions
  /** The instance that it is open to, or was last. */
  instance: number
  /** Where it was, or tried to be, and since when. */
  readonly #stations: Array<{ readonly instance: number, readonly since: number }> = []
  readonly #asked = new Map<number, Request>()
  readonly #sent: Sent | undefined
  #wire: Wire
  #requests = 0
  #isOurs = false
  #owner: ConnectionOwner | undefined

  private constructor (wire: Wire, instance: number, first: ServerMessage, options: ConnectionOptions, history: string[]) {
    const { connection_id: id, session } = first.type === 'welcome' ? first.data : { connection_id: '', session: undefined }
    this.#wire = wire
    this.id = id
    this.history = history
    this.#options = options
    this.#sent = session === undefined ? undefined : new Sent(session)
    this.instance = instance
    this.#stations.push({ instance, since: now() })
  }

  /** @returns undefined when the instance does not let it in, or is not there */
  static async open (url: string, instance: number, options: ConnectionOptions, adopt: Adopt): Promise<Connection | undefined> {
    const { userId, claims, hasSession = false } = options
    let connection: Connection | undefined
    await Wire.open(`${url}/ws?token=${tokenFor(userId, claims)}${hasSession ? '&resume=true' : ''}`, (wire, first, text) => {
      connection = Connection.#begin(new Connection(wire, instance, first, options, []), first, text, adopt)
      return connection
    })
    return connection
  }

  static #begin (connection: Connection, first: ServerMessage, text: string, adopt: Adopt): Connection {
    connection.#remember('<', text)
    connection.#owner = adopt(connection)
    connection.#owner.onFrame(first, undefined)
    return connection
  }

  get isOpen (): boolean { return this.awaySince === undefined && this.#wire.isOpen }

  /** Where it has been, or tried to be, since then. */
  instancesSince (at: number): number[] {
    return this.#stations.filter((_, i) => (this.#stations[i + 1]?.since ?? Infinity) > at).map(({ instance }) => instance)
  }

  /**
   * Comes back with its session, to any instance.
   * @param anew called with the new connection that the client is instead, where it cannot go on
   * @param patienceMs how long the instance may take to answer; it may give the session to a wire that is given up by then
   * @returns the connection that there is now, this one or that one; undefined when there is nobody
   */
  async comeBack (url: string, instance: number, anew: Adopt, patienceMs?: number): Promise<Connection | undefined> {
    const { id, seen } = this.#sent ?? {}
    this.#stations.push({ instance, since: now() })
    let connection: Connection | undefined
    await Wire.open(`${url}/ws?token=${tokenFor(this.#options.userId, this.#options.claims)}&session=${id}&seen=${seen}`, (wire, first, text) => {
      if (first.type === 'resumed') {
        connection = this
        this.#wire = wire
        this.#goOn(first, text, instance)
      } else {
        connection = Connection.#begin(new Connection(wire, instance, first, this.#options, this.history), first, text, anew)
      }
      return connection
    }, patienceMs)
    return connection
  }

  /** Asks for something. @returns the request, whose answer comes to the owner; undefined when it is not open any more */
  ask (message: ClientMessage): Request | undefined {
    if (!this.isOpen) return undefined
    const id = ++this.#requests
    const request: Request = { message, at: now() }
    this.#asked.set(id, request)
    if (message.type !== 'data') this.pending.set(id, request)
    else this.#asked.delete(id - 2000) // an error comes soon or not at all
    const text = JSON.stringify({ ...message, id })
    this.#sent?.push(id, text, message.type === 'ping')
    this.#send(text)
    return request
  }

  /** Asks whether the instance is there, and tells it what need not be kept any more. */
  ping (): void {
    const { seen } = this.#sent ?? {}
    this.ask({ type: 'ping', ...(seen !== undefined && { seen }) })
  }

  /** Closes it in order. */
  close (): void {
    this.#isOurs = true
    this.endedAt = now()
    this.#wire.close()
  }

  /** Tears its wire, as a network does. */
  drop (): void {
    this.#isOurs = true
    this.#depart()
    this.#wire.drop()
  }

  /** It does not go on: it was over when it lost its wire. */
  end (): void {
    this.endedAt = this.awaySince ?? now()
    this.awaySince = undefined
  }

  onText (text: string): void {
    const frame = JSON.parse(text) as ServerMessage
    this.#remember('<', text)
    this.#sent?.heard()
    const id = 'id' in frame && typeof frame.id === 'number' ? frame.id : undefined
    const request = id === undefined ? undefined : this.#asked.get(id)
    if (id !== undefined) {
      this.#asked.delete(id)
      this.pending.delete(id)
      this.lastAnswerAt = now()
      this.#sent?.answered(id)
    }
    if (frame.type === 'pong' && frame.received !== undefined) this.#received(frame.received)
    this.#owner?.onFrame(frame, request)
  }

  onClose (code: number): void {
    this.#depart()
    const isOurs = this.#isOurs
    this.#isOurs = false
    this.history.push(`${now().toFixed(0)} closed with ${code}${isOurs ? ', by the client' : ''}`)
    this.#owner?.onClose(code, isOurs)
  }

  #depart (): void {
    if (this.endedAt !== Infinity) return
    if (this.#sent === undefined) this.endedAt = now()
    else this.awaySince ??= now()
  }

  #goOn (frame: Extract<ServerMessage, { type: 'resumed' }>, text: string, instance: number): void {
    const { session, received } = frame.data
    this.#remember('<', text)
    this.instance = instance
    this.awaySince = undefined
    this.backAt = this.lastAnswerAt = now()
    this.#received(received)
    const { again = [], pings = [] } = this.#sent?.goOn(session) ?? {}
    for (const id of pings) this.pending.delete(id)
    this.#owner?.onFrame(frame, undefined)
    for (const unhandled of again) this.#send(unhandled)
  }

  #received (count: number): void {
    try {
      this.#sent?.received(count)
    } catch (error) {
      this.#owner?.onWrong?.(error)
    }
  }

  #send (text: string): void {
    this.#remember('>', text)
    this.#wire.send(text)
  }

  #remember (way: '<' | '>', text: string): void {
    this.history.push(`${now().toFixed(0)} ${way} ${text}`)
    if (this.history.length > REMEMBERED) this.history.shift()
  }
}
