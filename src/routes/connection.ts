import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { IceServers } from '../ice/ice-servers.ts'
import { lastCodes, type CloseCode } from '../protocol/codes.ts'
import { decode } from '../protocol/decode.ts'
import { frameOf, typeOf, type Frame } from '../protocol/frame.ts'
import type { PeerInfo, RequestId, ServerMessage, Welcome } from '../protocol/messages.ts'
import { Refusal } from '../protocol/refusal.ts'
import { validUntil, type Identity } from '../rooms/identity.ts'
import { checkRefresh, infoOf, type Peer } from '../rooms/peer.ts'
import type { Seat } from '../rooms/seat.ts'
import { carryOut, refusalFrame, type CommandContext } from './commands.ts'
import type { Connections, Tended } from './connections.ts'
import type { Line, LineContext, LineOwner } from './line.ts'
import type { Resumption, Session } from './session.ts'

/** What all connections of an instance share. */
export interface ConnectionContext extends LineContext, CommandContext {
  readonly connections: Connections
  readonly ice: Pick<IceServers, 'grant' | 'renewAt'>
  readonly instanceId: string
  /** How long a connection with a session is kept when its line is gone, ms. */
  readonly resumeWindowMs: number
  readonly log: ConnectionLog
}

/** The part of a logger that is needed here. */
interface ConnectionLog {
  debug (context: object, message: string): void
  error (context: object, message: string): void
}

/** How long work under way may hold up that another line goes on, ms. */
const SETTLE_MS = 2000
/** How long a client that goes on already has to say so, ms. */
const PROBE_MS = 1000

/**
 * One client: what it sends is decoded and carried out in order, what is said to it is queued. Work that takes a while (a
 * join) holds up what comes behind it: the line is not read meanwhile, so the queue is bounded by what one read has
 * brought already. A client that asked for a session keeps its place for a while when its line is gone, and what it is
 * told meanwhile is kept for it.
 */
export class Connection implements Peer, Tended, LineOwner {
  readonly id: string
  identity: Identity
  seat: Seat | undefined = undefined
  readonly #context: ConnectionContext
  /** Undefined for a client that asked for none. */
  readonly session: Session | undefined
  #line: Line | undefined
  /** Takes what is said to a client that goes on at another instance. */
  #forward: ((frame: Frame) => void) | undefined
  #isOver = false
  #isBusy = false
  /** What the client has asked for and that takes a while; resolves whatever comes of it. */
  #work: Promise<void> | undefined
  #waiting: Buffer[] | undefined
  /** Resolves when all that was said to the client at another instance has come: it is in its room as long. */
  arrival: Promise<void> | undefined = undefined
  /** That was closed, until it is gone. */
  #lastLine: Line | undefined
  /** How much longer it is kept, as it was told to come back later, ms. */
  #awayMs = 0
  /** When its ICE servers are to be replaced, ms since 1970. */
  #renewIceAt: number | undefined

  constructor (identity: Identity, context: ConnectionContext, { session, id = randomUUID() }: { session?: Session, id?: string } = {}) {
    this.id = id
    this.identity = identity
    this.#context = context
    this.session = session
  }

  /**
   * Begins to speak over a line: `opening` first.
   * @param missed frames that the client has not seen, to follow at once
   * @param wasReached whether the store can be reached, as far as the client knows then
   */
  open (line: Line, opening: ServerMessage, missed: readonly Frame[] = [], wasReached = true): void {
    const { connections, traffic, ice } = this.#context
    if (this.#isOver) return line.close(4409) // its member has gone on elsewhere only just
    traffic.connections++
    traffic.sent[opening.type]++
    line.send(frameOf(opening))
    for (const frame of missed) line.send(frame)
    this.#line = line
    this.#awayMs = 0
    this.#renewIceAt = ice.renewAt
    connections.add(this)
    line.open(this)
    // The others were told when it went away; all of them are told when it is back.
    if (this.isReached !== wasReached) this.send(frameOf({ type: 'degraded', data: { redis: this.isReached ? 'up' : 'down' } }))
    if (!this.#isBusy) line.release()
  }

  /** What every opening frame says. */
  get greeting (): Pick<Welcome, keyof PeerInfo | 'instance_id' | 'ping_interval_ms' | 'ice_servers'> {
    const { instanceId, pingIntervalMs, ice } = this.#context
    const { ice_servers: servers } = ice.grant(this.identity.userId)
    return { ...infoOf(this), instance_id: instanceId, ping_interval_ms: pingIntervalMs, ...(servers.length > 0 && { ice_servers: servers }) }
  }

  /** @param again as it is sent once more where it did not arrive */
  send (frame: Frame, again = frame): void {
    if (this.#isOver) return
    if (this.#forward !== undefined) return this.#forward(again)
    this.#context.traffic.sent[typeOf(frame)]++
    this.session?.push(again)
    this.#line?.send(frame)
  }

  close (code: CloseCode): void {
    if (this.#line !== undefined) this.#line.close(code)
    else if (lastCodes.has(code)) this.end()
  }

  terminate (): void {
    const line = this.#line ?? this.#lastLine
    line?.terminate()
  }

  async goAway (reason: string, reconnectAfterMs: number): Promise<void> {
    const line = this.#line
    if (line === undefined) return // it went while others were told
    this.#awayMs = reconnectAfterMs
    this.#lastLine = line
    this.send(frameOf({ type: 'goaway', data: { reason, reconnect_after_ms: reconnectAfterMs } }))
    await line.goAway()
  }

  beat (now: number): void {
    if (Date.now() >= validUntil(this.identity)) return this.close(4401)
    this.#line?.beat(now, this.#isBusy)
    if (this.#line !== undefined && this.#renewIceAt !== undefined && Date.now() >= this.#renewIceAt) this.#renewIce()
  }

  received (text: Buffer): void {
    if (this.#isBusy) (this.#waiting ??= []).push(text)
    else this.#handle(text)
  }

  lost (code: number): void {
    const { connections, resumeWindowMs } = this.#context
    this.#line = undefined
    this.#waiting = undefined // not handled: a client that goes on sends it again
    const keptMs = Math.min(resumeWindowMs + this.#awayMs, validUntil(this.identity) - Date.now())
    if (this.session === undefined || lastCodes.has(code) || keptMs <= 0) this.end()
    else connections.keep(this, this.identity.userId, keptMs)
  }

  /**
   * The client has come back: its old line is closed, and what it had asked for is finished first.
   * @param key the name of the session that it came with
   * @returns whether it can go on; false when it is over, or goes on already, or that takes too long
   */
  async yield (key: string): Promise<boolean> {
    if (!await this.#isDue(key)) return false
    this.#dismiss()
    if (this.#isOver) return false
    let isSettled = false
    const late = new AbortController()
    await Promise.race([Promise.resolve(this.#work).then(() => { isSettled = true }), delay(SETTLE_MS, undefined, { signal: late.signal }).catch(() => {})])
    late.abort()
    return isSettled && !this.#isOver && !this.isElsewhere
  }

  /** The client is about to come back with this: its old line, which may be half-open, ends now. Resolves when its socket counts no more. */
  async vacate (key: string): Promise<void> {
    if (this.#line !== undefined && await this.#isDue(key)) await this.#dismiss()?.cutOff()
  }

  /**
   * @param key the name of the session that the client came with
   * @param seen frames that it has of that session
   * @param identity of the token that it came with
   * @returns what it is told of its stay; undefined when it cannot go on
   */
  resume (key: string, seen: number, identity: Identity): Resumption | undefined {
    if (this.#isOver || this.isInUse) return undefined // since it has yielded
    try {
      checkRefresh(this, identity)
    } catch {
      return undefined // the token does not open its room any more
    }
    const resumption = this.session?.resume(key, seen)
    if (resumption === undefined) return undefined
    this.identity = { ...identity, username: this.identity.username }
    const { view } = resumption
    if (view === undefined) return resumption
    const joined = new Map(this.seat?.roster.members().map(member => [member.connection_id, member]))
    const members = view.members.filter(({ connection_id: id }) => id !== this.id).map(member => joined.get(member.connection_id) ?? member)
    return { ...resumption, view: { ...view, members } }
  }

  /** Whether the store can be reached, as all clients here were told. */
  get isReached (): boolean { return this.#context.rooms.standing?.isReached ?? true }

  /** Whether its client has done nothing yet: it may not know of it. */
  get isUntouched (): boolean { return this.session?.received === 0 && this.seat === undefined }

  /** Whether its client goes on, here or at another instance. */
  get isInUse (): boolean { return this.#line !== undefined || this.isElsewhere }

  /** Whether its client goes on at another instance. */
  get isElsewhere (): boolean { return this.#forward !== undefined }

  /** From now on all that is said to the client goes elsewhere: it goes on at another instance. */
  forwardTo (forward: (frame: Frame) => void): void {
    this.#forward = forward
    this.session?.end()
    this.#context.connections.delete(this)
  }

  /** Its client has come here from another instance. @param finished resolves when all that was said to it there has come */
  arriving (finished: Promise<void>): void {
    this.arrival = finished.then(() => { this.arrival = undefined })
  }

  /** Is over, for whatever reason: leaves its room as soon as it is in. */
  end (): void {
    if (this.#isOver) return
    this.#isOver = true
    const { connections, rooms } = this.#context
    connections.delete(this)
    this.session?.end()
    void rooms.exit(this, this.#work)
  }

  /** Whether a client that comes with this may take its place here. */
  async #isDue (key: string): Promise<boolean> {
    // Whoever has the session after this one comes with that: an attempt that was given up, and comes late, takes nothing.
    if (this.session?.isFormer(key) === true && await this.#line?.answers(PROBE_MS) === true) return false
    return !this.isElsewhere && this.session?.keys.includes(key) === true // it may have gone on while it was asked
  }

  /** Its client goes on over another line: it is kept until it has that. @returns the line that it had */
  #dismiss (): Line | undefined {
    const { connections, resumeWindowMs } = this.#context
    const line = this.#line
    this.#line = undefined
    this.#waiting = undefined
    line?.dismiss(4409)
    if (!this.#isOver) connections.keep(this, this.identity.userId, resumeWindowMs)
    return line
  }

  /** Before its credentials end. Whoever is away is given others when it comes back. */
  #renewIce (): void {
    const { ice } = this.#context
    const { ice_servers: servers, expires_at: expiresAt } = ice.grant(this.identity.userId)
    this.#renewIceAt = ice.renewAt
    if (expiresAt !== null) this.send(frameOf({ type: 'ice_servers', data: { ice_servers: servers, expires_at: expiresAt } }))
  }

  #handle (text: Buffer): void {
    const { traffic } = this.#context
    this.session?.handled()
    const { message, refused } = decode(text)
    if (refused !== undefined) {
      traffic.received.other++
      return this.#refuse(new Refusal(refused.code, refused.sentence), refused.id)
    }
    traffic.received[message.type]++
    try {
      const work = carryOut(this, message, text, this.#context)
      if (work !== undefined) this.#await(work, message.id)
    } catch (error) {
      this.#refuse(error, message.id)
    }
  }

  /** Holds up what comes behind, until the work is done. */
  #await (work: Promise<void>, id: RequestId | undefined): void {
    this.#isBusy = true
    this.#line?.hold()
    this.#work = work.catch((error: unknown) => { this.#refuse(error, id) })
    void this.#work.then(() => {
      this.#isBusy = false
      this.#work = undefined
      while (!this.#isBusy && !this.#isOver) {
        const next = this.#waiting?.shift()
        if (next === undefined) return this.#line?.release()
        this.#handle(next)
      }
    })
  }

  #refuse (error: unknown, id: RequestId | undefined): void {
    this.send(refusalFrame(error, id, this, this.#context.log))
  }
}
