import { setTimeout as delay } from 'node:timers/promises'
import WebSocket from 'ws'
import type { ServerMessage } from '../../src/protocol/messages.ts'
import { tokenFor } from '../harness/token.ts'

const CANDIDATES = 10
/** Candidates are found one after the other, ms. */
const TRICKLE_MS = 50
/** How long until a join or a connection that was refused is tried again, ms. */
const RETRY_MS = 200
/** As large as a real one's. */
const DESCRIPTION = 'v=0 '.padEnd(2400, 'o')

/** What the two ends of a call tell each other. An exchange that broke off is begun anew, under the next number. */
interface Signal { kind: 'offer' | 'answer' | 'candidate' | 'again', exchange: number, sdp?: string }

/** What happened to calls. */
export interface Tally {
  /** How long clients that were sent away were in no room, ms. */
  readonly away: number[]
  /** How long it took from the first attempt to connect until an end had all it needs, ms. */
  readonly setUp: number[]
  /** Exchanges that broke off and were begun anew. */
  redone: number
  /** Joins that were answered `unavailable`, and connections that were refused: tried again. */
  unavailable: number
  refused: number
  /** Connections that ended in another way than with goaway and 1012. */
  readonly dropped: number[]
}

/** Where servers are; an entry's process may be another one later. */
export type Servers = readonly string[]

/**
 * One end of a call, as a client of the protocol would be written: it goes where it is sent, joins its room again, and
 * does over what was not finished. The end that offers does so whenever it sees the other come and its own part is open,
 * or when the other asks.
 */
export class Caller {
  readonly #userId: string
  readonly #peerId: string
  readonly #room: string
  readonly #offers: boolean
  readonly #servers: Servers
  readonly #tally: Tally
  #server: number
  #socket: WebSocket | undefined
  #started = performance.now()
  #awaySince: number | undefined
  #exchange = 0
  #described = false
  #candidates = 0
  #connected = false
  #present = false
  #inRoom = false
  #leaving = false
  #wake: () => void = () => {}

  constructor (room: string, offers: boolean, servers: Servers, tally: Tally) {
    const [userId, peerId] = offers ? ['ana', 'ben'] : ['ben', 'ana']
    this.#userId = `${userId}-${room}`
    this.#peerId = `${peerId}-${room}`
    this.#room = room
    this.#offers = offers
    this.#servers = servers
    this.#tally = tally
    this.#server = Math.floor(Math.random() * servers.length)
    this.#connect()
  }

  /** Whether it has all that a peer connection needs. */
  get isConnected (): boolean { return this.#connected }

  /** Whether it is in the room and sees the other there. */
  get seesPeer (): boolean { return this.#inRoom && this.#present }

  /** What it knows, for a message. */
  get state (): string {
    return JSON.stringify({ user: this.#userId, server: this.#server, socket: this.#socket?.readyState, inRoom: this.#inRoom, present: this.#present, exchange: this.#exchange, described: this.#described, candidates: this.#candidates })
  }

  /** Resolves when something has changed. */
  async change (limitMs: number): Promise<void> {
    const limit = new AbortController()
    await Promise.race([
      new Promise<void>(resolve => { this.#wake = resolve }),
      delay(limitMs, undefined, { signal: limit.signal }).catch(() => {})
    ])
    limit.abort()
  }

  /** Hangs up. */
  hangUp (): void {
    this.#leaving = true
    this.#socket?.close(1000)
  }

  #connect (): void {
    if (this.#leaving) return
    const socket = this.#socket = new WebSocket(`${this.#servers[this.#server]}?token=${tokenFor(this.#userId)}`, { perMessageDeflate: false })
    let opened = false
    let backMs: number | undefined
    socket.on('open', () => {
      opened = true
      this.#send({ type: 'join', room: this.#room })
    })
    socket.on('message', (text: Buffer) => {
      const frame = JSON.parse(text.toString()) as ServerMessage
      if (frame.type === 'goaway') backMs = frame.data.reconnect_after_ms
      else this.#receive(frame)
      this.#wake()
    })
    socket.on('error', () => {}) // 'close' tells
    socket.on('close', code => {
      this.#inRoom = this.#present = false
      this.#wake()
      if (this.#leaving) return
      this.#awaySince ??= performance.now()
      if (!opened) this.#tally.refused++
      else if (backMs === undefined || code !== 1012) this.#tally.dropped.push(code)
      this.#server = (this.#server + 1) % this.#servers.length
      setTimeout(() => { this.#connect() }, backMs ?? RETRY_MS)
    })
  }

  #receive (frame: ServerMessage): void {
    switch (frame.type) {
      case 'joined':
      case 'resynced': {
        this.#inRoom = true
        if (this.#awaySince !== undefined) this.#tally.away.push(performance.now() - this.#awaySince)
        this.#awaySince = undefined
        const wasPresent = this.#present
        this.#present = frame.data.members.some(({ user_id: user }) => user === this.#peerId)
        if (this.#present && !wasPresent) this.#meet()
        break
      }
      case 'user_joined':
        this.#present = true
        this.#meet()
        break
      case 'user_left':
        this.#present = false
        break
      case 'data':
        this.#signal(frame.data as Signal)
        break
      case 'error':
        if (frame.code === 'unavailable' && !this.#inRoom) {
          this.#tally.unavailable++
          setTimeout(() => { this.#send({ type: 'join', room: this.#room }) }, RETRY_MS)
        } else if (frame.code !== 'peer_not_found') throw new Error(`${frame.code} came to ${this.state}`)
        break
    }
  }

  /** The other has come. */
  #meet (): void {
    if (this.#connected) return
    if (this.#offers) this.#offer()
    else if (this.#exchange > 0) this.#tell({ kind: 'again', exchange: this.#exchange })
  }

  #offer (): void {
    if (this.#exchange > 0) this.#tally.redone++
    this.#begin(this.#exchange + 1)
    this.#describe('offer')
  }

  #begin (exchange: number): void {
    this.#exchange = exchange
    this.#described = false
    this.#candidates = 0
  }

  #describe (kind: 'offer' | 'answer'): void {
    const exchange = this.#exchange
    this.#tell({ kind, exchange, sdp: DESCRIPTION })
    for (let i = 1; i <= CANDIDATES; i++) {
      setTimeout(() => { if (exchange === this.#exchange) this.#tell({ kind: 'candidate', exchange }) }, i * TRICKLE_MS)
    }
  }

  #signal ({ kind, exchange }: Signal): void {
    if (kind === 'again') return this.#offer()
    if (kind === 'offer') {
      this.#begin(exchange)
      this.#described = true
      this.#describe('answer')
    } else if (exchange !== this.#exchange) return // of one that broke off
    else if (kind === 'answer') this.#described = true
    else this.#candidates++
    if (this.#connected || !this.#described || this.#candidates < CANDIDATES) return
    this.#connected = true
    this.#tally.setUp.push(performance.now() - this.#started)
  }

  #tell (signal: Signal): void {
    this.#send({ type: 'data', to: this.#peerId, data: signal })
  }

  #send (message: object): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message))
  }
}
