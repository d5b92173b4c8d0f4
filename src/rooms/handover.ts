/**
 * Sessions that go on at another instance than the one that held them. The old holder gives up the client's place: what it
 * needs to go on, the frames it has missed, and after that whatever still reaches it there. The new holder makes the client
 * a member at its own place, which all instances of the room hear as a change of the room. Each of them then tells the old
 * holder that it sends another way from now on; when the last has said so, all is there, and the new holder lets the room
 * speak for itself. So order is kept and nothing comes twice, whichever way it took.
 */
import { randomUUID } from 'node:crypto'
import type { Broker } from '../broker/broker.ts'
import type { Frame } from '../protocol/frame.ts'
import { Arrival, type GivenUp, type Life, type Moved } from './arrival.ts'
import { decodeHandover, encodeForwarded, encodeMessage, type HandoverMessage } from './handover-record.ts'
import { Passed } from './passed.ts'
import type { Peer } from './peer.ts'
import type { DataRecord } from './record.ts'
import type { Move } from './roster-owner.ts'
import type { Seat } from './seat.ts'

/** How long a client waits for the holder of its session, ms; after that it is a new one. */
const ANSWER_MS = 2000
/** How long the old holder forwards what still reaches it, ms. */
const FORWARD_MS = 5000
/** A session that was handed on is looked for at so many instances, one after the other. */
const MOST_HOLDERS = 4

/** A client that has come with a session. */
export interface SessionAsk { readonly key: string, readonly seen: number, readonly userId: string, readonly connectionId: string }

/** A connection whose client has come to another instance. */
export interface Leaving {
  readonly peer: Peer
  /**
   * From now on all that is said to it goes to `forward`.
   * @returns what it needs to go on; the instance that has it by now; undefined when it cannot go on, and is over
   */
  take (forward: (frame: Frame) => void): Omit<GivenUp, 'room'> | string | undefined
  /** It is over here: it leaves its room, unless it has moved. */
  end (): void
}

/** Holds sessions of this instance. */
export interface SessionHolder {
  /** Whether it has ended all, as its instance goes away. */
  readonly isOver: boolean
  /**
   * Finishes what the client had asked for. Never rejects.
   * @param to the instance that asks
   * @returns the instance that has it by now; undefined when there is no such session (any more), or that takes too long
   */
  giveUp (ask: SessionAsk, to: string): Promise<Leaving | string | undefined>
}

/** What the rooms of this instance do for a hand-over. */
export interface HandoverRooms {
  /**
   * Makes a peer a member in the place of the one that has its id elsewhere.
   * @param onSeat called before anything of the room is sent to it
   * @returns undefined when that is gone
   */
  move (peer: Peer, life: Life, onSeat: (seat: Seat) => void): Promise<Moved | undefined>
  isWatching (peer: Peer): boolean
  watch (peer: Peer, on: boolean): Promise<void>
}

/** A connection that goes on elsewhere, and what still reaches it here. */
interface Departure {
  readonly leaving: Leaving
  readonly to: string
  /** Where it sat. */
  readonly life: Life
  /** The instances that have said that they send another way. */
  readonly passed: Passed
  /** Those that have to; undefined while this one does not know of the move. */
  awaited: Set<string> | undefined
  readonly timer: NodeJS.Timeout
}

/** A session that an instance does not have. @see HandoverMessage */
interface Refused { readonly elsewhere: string | undefined }

export class Handovers {
  readonly #broker: Broker
  readonly #rooms: HandoverRooms
  readonly #asked = new Map<string, { readonly connectionId: string, answer (given: Arrival | Refused | 'gone'): void }>()
  readonly #departures = new Map<string, Departure>()
  readonly #arrivals = new Map<string, Arrival>()
  #holder: SessionHolder | undefined
  #onIdle: Array<() => void> = []

  constructor (broker: Broker, rooms: HandoverRooms) {
    this.#broker = broker
    this.#rooms = rooms
  }

  /** Whose sessions are given up when other instances ask. */
  serve (holder: SessionHolder): void {
    this.#holder = holder
  }

  /**
   * Asks an instance for a session that it holds.
   * @returns what it gave; `refused`: the client cannot go on; `gone`: the instance is dead, or cut off, or goes away;
   * `here`: it has come here by now, over another line
   */
  async fetch (instance: string, ask: SessionAsk): Promise<Arrival | 'refused' | 'gone' | 'here'> {
    let holder: string | undefined = instance
    for (let asked = 0; asked < MOST_HOLDERS && holder !== undefined; asked++) {
      if (holder === this.#broker.nonce) {
        await this.#arrivals.get(ask.connectionId)?.finished
        return 'here'
      }
      const answer: Arrival | Refused | 'gone' = await this.#ask(holder, ask)
      if (answer === 'gone' || answer instanceof Arrival) return answer
      holder = answer.elsewhere
    }
    return 'refused'
  }

  async #ask (instance: string, { key, seen, userId, connectionId }: SessionAsk): Promise<Arrival | Refused | 'gone'> {
    const request = randomUUID()
    const answer = new Promise<Arrival | Refused | 'gone'>(resolve => {
      const late = setTimeout(resolve, ANSWER_MS, 'gone')
      this.#asked.set(request, { connectionId, answer: given => { clearTimeout(late); resolve(given) } })
      const message: HandoverMessage = { kind: 'ask', request, key, seen, user_id: userId, connection_id: connectionId }
      void this.#broker.ask(instance, encodeMessage(message)).then(isHeard => {
        if (isHeard !== false) return
        clearTimeout(late)
        resolve('gone')
      })
    })
    try {
      return await answer
    } finally {
      this.#asked.delete(request)
    }
  }

  /** @throws RangeError or SyntaxError when the bytes are no record */
  receive (record: Buffer, origin: string): void {
    const decoded = decodeHandover(record)
    if (decoded.kind === 'forwarded') return this.#arrivals.get(decoded.connectionId)?.forwarded(decoded.frame)
    const { message, frames } = decoded
    switch (message.kind) {
      case 'ask':
        void this.#giveUp(message, origin)
        return
      case 'given': return this.#given(message, frames, origin)
      case 'refused': return this.#asked.get(message.request)?.answer({ elsewhere: message.elsewhere })
      case 'gone': return this.#asked.get(message.request)?.answer('gone')
      case 'passed': return this.#passed(message.connection_id, origin)
      case 'done': return this.#arrivals.get(message.connection_id)?.done()
      case 'aborted': return this.#end(message.connection_id)
    }
  }

  /** What came for members here is also for one that has just gone on elsewhere, as long as its origin did not know. */
  relayed ({ room, epoch, sender, targets, frame }: DataRecord, origin: string): void {
    if (this.#departures.size === 0) return
    for (const [id, { life, to, awaited, passed }] of this.#departures) {
      if (awaited === undefined || passed.has(origin) || life.room !== room || life.epoch !== epoch || id === sender) continue
      if (targets.length === 0 || targets.includes(id)) this.#broker.send(to, encodeForwarded(id, frame))
    }
  }

  /**
   * A roster here knows that a member has moved.
   * @param others the other instances that its room lives on
   */
  moved ({ connectionId, version, from, to }: Move, others: Iterable<string>): void {
    const { nonce } = this.#broker
    const passed = encodeMessage({ kind: 'passed', connection_id: connectionId, version })
    for (const instance of [from, to]) if (instance !== undefined && instance !== nonce) this.#broker.send(instance, passed)
    const departure = this.#departures.get(connectionId)
    if (departure === undefined || from !== nonce) return
    departure.awaited = new Set(others)
    this.#look(connectionId, departure)
  }

  /** Waits until nothing has to be forwarded any more. */
  async idle (): Promise<void> {
    if (this.#departures.size > 0) await new Promise<void>(resolve => { this.#onIdle.push(resolve) })
  }

  async #giveUp ({ request, key, seen, user_id: userId, connection_id: connectionId }: HandoverMessage & { kind: 'ask' }, to: string): Promise<void> {
    await this.#arrivals.get(connectionId)?.finished // it has come here only just
    const leaving = await this.#holder?.giveUp({ key, seen, userId, connectionId }, to)
    if (leaving === undefined || typeof leaving === 'string') return this.#refuse(to, request, leaving)
    await this.#broker.settled() // what the client said here must not come behind what it says there
    const given = leaving.take(frame => {
      if (!this.#broker.send(to, encodeForwarded(connectionId, frame))) this.#end(connectionId)
    })
    if (given === undefined || typeof given === 'string') return this.#refuse(to, request, given)
    const { peer } = leaving
    const life = peer.seat && { room: peer.seat.roster.room, epoch: peer.seat.roster.epoch }
    const { username, received, view, missed, isReached: reached } = given
    const message: HandoverMessage = { kind: 'given', request, username, received, reached, watching: this.#rooms.isWatching(peer), view: view ?? null, room: life ?? null }
    const isSent = this.#broker.send(to, encodeMessage(message, missed))
    if (!isSent || life === undefined) return leaving.end()
    this.#end(connectionId) // it was here before, and that departure has had no end yet
    const timer = setTimeout(() => { this.#end(connectionId) }, FORWARD_MS)
    const passed = new Passed()
    if (peer.seat !== undefined) peer.seat.isToldHere = (origin, at) => !passed.has(origin, at)
    this.#departures.set(connectionId, { leaving, to, life, passed, awaited: undefined, timer })
  }

  #refuse (to: string, request: string, elsewhere?: string): void {
    const isGone = elsewhere === undefined && this.#holder?.isOver === true
    this.#broker.send(to, encodeMessage(isGone ? { kind: 'gone', request } : { kind: 'refused', request, ...(elsewhere !== undefined && { elsewhere }) }))
  }

  #given ({ request, username, received, reached, view, room, watching }: HandoverMessage & { kind: 'given' }, missed: Frame[], from: string): void {
    const asked = this.#asked.get(request)
    if (asked === undefined) return // too late: the old holder gives the client up by itself
    const { connectionId } = asked
    const arrival = new Arrival({ username, received, isReached: reached, view: view ?? undefined, missed, room: room?.room }, {
      settle: async (peer, onSeat) => {
        const moved = room === null ? 'nowhere' : await this.#rooms.move(peer, room, onSeat)
        if (watching) void this.#rooms.watch(peer, true).catch(() => {}) // the store is away: all see that nothing comes
        return moved
      },
      over: () => { if (this.#arrivals.get(connectionId) === arrival) this.#arrivals.delete(connectionId) },
      abort: () => { this.#broker.send(from, encodeMessage({ kind: 'aborted', connection_id: connectionId })) }
    })
    this.#arrivals.set(connectionId, arrival) // what is forwarded comes right behind
    asked.answer(arrival)
  }

  #passed (connectionId: string, origin: string): void {
    this.#arrivals.get(connectionId)?.passed(origin)
    const departure = this.#departures.get(connectionId)
    if (departure === undefined) return
    departure.passed.add(origin)
    this.#look(connectionId, departure)
  }

  #look (connectionId: string, { awaited, passed, to }: Departure): void {
    if (awaited === undefined || [...awaited].some(instance => !passed.has(instance))) return
    this.#broker.send(to, encodeMessage({ kind: 'done', connection_id: connectionId }))
    this.#end(connectionId)
  }

  #end (connectionId: string): void {
    const departure = this.#departures.get(connectionId)
    if (departure === undefined) return
    clearTimeout(departure.timer)
    this.#departures.delete(connectionId)
    departure.leaving.end()
    if (this.#departures.size > 0) return
    for (const tell of this.#onIdle.splice(0)) tell()
  }
}
