import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { closeCodes, type CloseCode } from '../protocol/codes.ts'
import { decode, signalType } from '../protocol/decode.ts'
import { frameOf, typeOf, type Frame } from '../protocol/frame.ts'
import type { ClientMessage, ClientMessageOf, RequestId } from '../protocol/messages.ts'
import { Refusal } from '../protocol/refusal.ts'
import { validUntil, type Identity } from '../rooms/identity.ts'
import { checkRefresh, infoOf, type Peer } from '../rooms/peer.ts'
import type { RoomService } from '../rooms/room-service.ts'
import type { Seat } from '../rooms/seat.ts'
import type { Connections, Tended } from './connections.ts'
import { Inlet } from './inlet.ts'
import { Outbox, type OutboxQueue } from './outbox.ts'
import type { Throttle } from './throttle.ts'
import type { Traffic } from './traffic.ts'
import type { Turn } from './turn.ts'

/** How long more than SEND_BUFFER_BYTES may wait for a reader before it is given up, ms. */
const SLOW_READER_MS = 5000
/** A reader with this many times SEND_BUFFER_BYTES waiting is given up at once: a fast room must not fill memory in 5 s. */
const SLOW_READER_FACTOR = 4
/** How long a client may send more than it may without a break, ms: it was slowed down, and has not yielded. */
const FLOOD_MS = 30_000

/** What all connections of an instance share. */
export interface ConnectionContext {
  readonly rooms: RoomService
  /** Rejects with a Refusal that has a token failure's code. */
  readonly verify: (token: string | undefined) => Promise<Identity>
  readonly traffic: Traffic
  readonly connections: Connections
  readonly outboxes: OutboxQueue
  readonly throttle: Throttle
  readonly turn: Turn
  readonly instanceId: string
  readonly pingIntervalMs: number
  readonly pongTimeoutMs: number
  readonly sendBufferBytes: number
  readonly log: ConnectionLog
}

/** The part of a logger that is needed here. */
interface ConnectionLog {
  debug (context: object, message: string): void
  error (context: object, message: string): void
}

/**
 * One WebSocket: what its client sends is decoded and carried out in order, what is said to it is queued. Work that
 * takes a while (a join) holds up what comes behind it: the socket is not read meanwhile, so the queue is bounded by
 * what one read has brought already.
 */
export class Connection implements Peer, Tended {
  readonly id = randomUUID()
  identity: Identity
  seat: Seat | undefined = undefined
  readonly #context: ConnectionContext
  readonly #socket: WebSocket
  readonly #inlet: Inlet
  readonly #outbox: Outbox
  #closed = false
  #busy = false
  /** What the client asked for last and that takes a while; resolves whatever comes of it. */
  #work: Promise<void> = Promise.resolve()
  #waiting: Buffer[] = []
  #slowSince: number | undefined
  #floodSince: number | undefined
  #pingAt: number
  #pongBy = Infinity

  /** @param tcp what carries the WebSocket: frames are written to it as they are */
  constructor (socket: WebSocket, tcp: Socket, identity: Identity, context: ConnectionContext) {
    this.identity = identity
    this.#context = context
    this.#socket = socket
    this.#inlet = new Inlet(socket, tcp, this, context.throttle, context.turn)
    this.#outbox = new Outbox(socket, tcp, this, context.outboxes)
    // The first ping comes at a random time: after a restart all clients come at once, and pings must not.
    this.#pingAt = context.connections.now + Math.random() * context.pingIntervalMs
    socket.on('message', (data: Buffer, isBinary: boolean) => { this.#receive(data, isBinary) })
    socket.on('pong', () => { this.#pongBy = Infinity })
    socket.on('close', () => {
      this.#inlet.end()
      this.#end()
    })
    // The library has answered a broken frame with its close code (1002, 1007, 1009) already; 'close' follows.
    socket.on('error', (error: Error) => {
      this.#inlet.end()
      context.log.debug({ err: error, connection_id: this.id }, 'a client broke the WebSocket protocol')
    })
    context.traffic.connections++
    const { pingIntervalMs, instanceId } = context
    this.send(frameOf({ type: 'welcome', data: { ...infoOf(this), instance_id: instanceId, ping_interval_ms: pingIntervalMs } }))
  }

  send (frame: Frame): void {
    if (this.#closed) return
    this.#context.traffic.sent[typeOf(frame)]++
    this.#outbox.push(frame)
  }

  close (code: CloseCode): void {
    if (this.#closed) return
    this.#outbox.flush()
    this.#socket.close(code, closeCodes[code].reason)
    this.#inlet.close()
    this.#end()
  }

  /** Ends it without asking: for a peer that does not read, and at the end of a drain. */
  terminate (): void {
    this.#socket.terminate()
    this.#end()
  }

  async goAway (reason: string, reconnectAfterMs: number): Promise<void> {
    if (this.#closed) return // it went while others were told
    const gone = new Promise<void>(resolve => { this.#socket.once('close', () => { resolve() }) })
    this.send(frameOf({ type: 'goaway', data: { reason, reconnect_after_ms: reconnectAfterMs } }))
    this.close(1012)
    await gone
  }

  beat (now: number): void {
    const { pingIntervalMs, pongTimeoutMs, log } = this.#context
    if (Date.now() >= validUntil(this.identity)) return this.close(4401)
    if (this.#isTooSlow(now)) {
      log.debug({ connection_id: this.id, bytes: this.#outbox.waitingBytes }, 'a client reads too slowly')
      return this.close(1013) // behind what waits; the library cuts the socket off when that takes too long
    }
    const wasSlow = this.#inlet.wasSlow()
    if (this.#isFlooding(wasSlow, now)) return this.sentTooMuch()
    if (this.#busy || wasSlow) { // we do not read it, or read what it sent long ago, so it cannot answer
      if (this.#pongBy !== Infinity) this.#pongBy = now + pongTimeoutMs
      return
    }
    if (now >= this.#pongBy) {
      this.#socket.close(4408, closeCodes[4408].reason)
      return this.terminate()
    }
    if (now >= this.#pingAt) {
      this.#pingAt = now + pingIntervalMs
      if (this.#pongBy === Infinity) this.#pongBy = now + pongTimeoutMs
      this.#socket.ping()
    }
  }

  /** It was slowed down and does not yield, or a message of its does not come to its end. */
  sentTooMuch (): void {
    this.#context.traffic.floods++
    this.#context.log.debug({ connection_id: this.id }, 'a client goes on sending too much')
    this.close(1008)
  }

  /** So much waits that even five seconds are too long. */
  overflowed (bytes: number): void {
    const { sendBufferBytes, log } = this.#context
    if (sendBufferBytes === 0 || bytes <= SLOW_READER_FACTOR * sendBufferBytes) return
    log.debug({ connection_id: this.id, bytes }, 'a client does not read')
    this.terminate()
  }

  #isTooSlow (now: number): boolean {
    const { sendBufferBytes } = this.#context
    const waiting = this.#outbox.waitingBytes
    if (sendBufferBytes === 0 || waiting <= sendBufferBytes) {
      this.#slowSince = undefined
      return false
    }
    this.#slowSince ??= now
    return now - this.#slowSince >= SLOW_READER_MS
  }

  #isFlooding (wasSlow: boolean, now: number): boolean {
    if (!wasSlow) {
      this.#floodSince = undefined
      return false
    }
    if (this.#floodSince === undefined) this.#context.traffic.slowdowns++
    this.#floodSince ??= now
    return now - this.#floodSince >= FLOOD_MS
  }

  /** Frames still come after a close (the library hands over what it has read): they are not looked at. */
  #receive (data: Buffer, isBinary: boolean): void {
    if (this.#closed) return
    if (isBinary) return this.close(1003)
    if (this.#busy) this.#waiting.push(data)
    else this.#handle(data)
  }

  #handle (text: Buffer): void {
    const { traffic } = this.#context
    const { message, refused } = decode(text)
    if (refused !== undefined) {
      traffic.received.other++
      return this.#refuse(new Refusal(refused.code, refused.sentence), refused.id)
    }
    traffic.received[message.type]++
    try {
      const work = this.#carryOut(message, text)
      if (work !== undefined) this.#await(work, message.id)
    } catch (error) {
      this.#refuse(error, message.id)
    }
  }

  /** @returns work that takes a while; undefined when all is done. Throws or rejects with a Refusal, or with a bug. */
  #carryOut (message: ClientMessage, text: Buffer): Promise<void> | undefined {
    const { rooms, traffic } = this.#context
    switch (message.type) {
      case 'data':
        rooms.relay(this, message, text)
        traffic.countSignal(signalType(message.data))
        return undefined
      case 'join': return rooms.join(this, message)
      case 'leave': return rooms.leave(this, message.id)
      case 'disband_room': return rooms.disband(this, message.id)
      case 'watch': return rooms.watch(this, true).then(() => { this.#reply({ type: 'watching' }, message.id) })
      case 'unwatch': return rooms.watch(this, false).then(() => { this.#reply({ type: 'unwatched' }, message.id) })
      case 'refresh': return this.#refresh(message)
      case 'ping':
        this.#reply({ type: 'pong' }, message.id)
        return undefined
    }
  }

  /** Goes on under another token of the same user. What the room was told of the user (the name) stays as it is. */
  async #refresh ({ token, id }: ClientMessageOf<'refresh'>): Promise<void> {
    const next = await this.#context.verify(token)
    checkRefresh(this, next)
    this.identity = { ...next, username: this.identity.username }
    this.send(frameOf({ type: 'refreshed', data: { expires_at: next.expiresAt ?? null }, ...(id !== undefined && { id }) }))
  }

  #reply (message: { type: 'watching' | 'unwatched' | 'pong' }, id: RequestId | undefined): void {
    this.send(frameOf({ ...message, ...(id !== undefined && { id }) }))
  }

  /** Holds up what comes behind, until the work is done. */
  #await (work: Promise<void>, id: RequestId | undefined): void {
    this.#busy = true
    this.#inlet.hold()
    this.#work = work.catch((error: unknown) => { this.#refuse(error, id) })
    void this.#work.then(() => {
      this.#busy = false
      while (!this.#busy && !this.#closed) {
        const next = this.#waiting.shift()
        if (next === undefined) return this.#inlet.release()
        this.#handle(next)
      }
    })
  }

  #refuse (error: unknown, id: RequestId | undefined): void {
    const refusal = error instanceof Refusal ? error : new Refusal('internal', undefined, { cause: error })
    const { code, message, data, cause } = refusal
    const { log } = this.#context
    const context = { err: cause, code, connection_id: this.id, user_id: this.identity.userId }
    if (code === 'internal') log.error(context, 'a request failed')
    else if (cause !== undefined) log.debug(context, 'a request was refused')
    this.send(frameOf({ type: 'error', error: message, code, ...(data && { data }), ...(id !== undefined && { id }) }))
  }

  /** Runs once, however the connection ends. */
  #end (): void {
    if (this.#closed) return
    this.#closed = true
    this.#waiting = []
    this.#outbox.close()
    this.#context.connections.delete(this)
    void this.#context.rooms.exit(this, this.#work)
  }
}
