import type { ClientMessageOf, ServerMessage } from '../../src/protocol/messages.ts'
import type { Absences } from './absences.ts'
import { DRAIN_TIMEOUT_MS, RESUME_WINDOW_MS } from './cluster.ts'
import { Connection, type ConnectionOwner, type Request } from './connection.ts'
import type { Deliveries } from './deliveries.ts'
import type { Doing } from './plan.ts'
import type { Random } from './random.ts'
import type { Fail, Session, Sessions } from './session.ts'
import { instances, now, type Troubles } from './troubles.ts'
import { View, type Said } from './view.ts'

/** How long an answer may take beyond what Redis may take, ms. */
const ANSWER_MS = 6500
/** One of so many clients uses no session. */
const PLAIN_OF = 3
/** A client with a session asks so often whether its instance is there, and goes elsewhere when it has not heard for so long, ms. */
const PING_EVERY_MS = 1000
const SILENCE_MS = 1200
/** An instance on its way down can hand a session over for at least so long, ms. */
const HAND_OVER_MS = DRAIN_TIMEOUT_MS / 2
/** Who came from another instance is told the whole of its room this long after that at the latest, ms. */
const SHORTLY_MS = 3000
/** Now and then a client gives up an attempt to come back while the instance may have done what it asked for: how often, and after how long, ms. */
const IMPATIENT = 0.3
const IMPATIENCE_MS = 20
/** How soon it asks again to be where it wants to be, ms. */
const TRY_AGAIN_MS = 300

/** What all clients share. */
export interface Surroundings {
  readonly urls: readonly string[]
  readonly sessions: Sessions
  readonly troubles: Troubles
  readonly deliveries: Deliveries
  readonly absences: Absences
  /** What became of those that came back with a session. */
  readonly comebacks: { here: number, elsewhere: number, anew: number }
  readonly fail: Fail
}

/** A user: wants to be in a room, or in none, and does what a good client does to get there whatever happens. */
export class Client {
  readonly userId: string
  readonly #random: Random
  readonly #around: Surroundings
  readonly #hasSession: boolean
  #session: Session | undefined
  #wanted: string | undefined
  #timer: NodeJS.Timeout | undefined
  #said = 0
  #pingedAt = 0
  #isOver = false

  /** @param random what this client draws from; @param room it wants to be in at first */
  constructor (index: number, room: string, random: Random, around: Surroundings) {
    this.userId = `user-${index}`
    this.#hasSession = index % PLAIN_OF > 0
    this.#wanted = room
    this.#random = random
    this.#around = around
    void this.#connect(random.pick(instances))
  }

  get session (): Session | undefined { return this.#session }

  /** What keeps it from being where it wants to be; undefined when it is there. */
  get unrest (): string | undefined {
    if (this.#isOver) return undefined
    const { connection, view } = this.#session ?? {}
    if (connection?.isOpen !== true || view === undefined) return `${this.userId} is not connected`
    const [pending] = connection.pending.values()
    if (pending !== undefined) return `${this.userId} waits for the answer to ${JSON.stringify(pending.message)}`
    if (view.room !== this.#wanted) return `${this.userId} is in ${view.room ?? 'no room'} and wants to be in ${this.#wanted ?? 'none'}`
    if (view.redis === 'down') return `${this.userId} on instance ${connection.instance} was not told that Redis is back`
    return undefined
  }

  act (doing: Doing): void {
    const { connection, view } = this.#session ?? {}
    if (connection?.isOpen !== true || view === undefined) return
    switch (doing.what) {
      case 'join':
        this.#wanted = doing.room
        connection.ask({ type: 'join', room: doing.room })
        if (doing.andSpeak) this.speak(this.#random)
        break
      case 'leave':
        if (this.#wanted === undefined) break
        this.#wanted = undefined
        connection.ask({ type: 'leave' })
        break
      case 'disband':
        if (view.room !== undefined) connection.ask({ type: 'disband_room' })
        break
      case 'drop':
        connection.drop()
        break
      case 'go':
        connection.close()
        break
    }
  }

  /** Says something to the room, to one in it, or, now and then, to somebody who is not there. */
  speak (random: Random): void {
    const session = this.#session
    if (session === undefined) return
    const { connection, view: { room, members } } = session
    const choice = random.next()
    if (room === undefined && choice < 0.9) return
    const others = [...members.values()].filter(({ connection_id: id }) => id !== connection.id)
    const one = others[random.below(others.length)]
    const to = choice < 0.65 ? undefined : choice < 0.97 && one !== undefined ? random.chance(0.5) ? one.connection_id : one.user_id : 'nobody'
    const isStill = connection.pending.size === 0
    const n = this.#said++
    const data: Said & { pad?: string } = { by: connection.id, n, ...(isStill && room !== undefined && { room }), ...(choice < 0.02 && { pad: 'x'.repeat(8000) }) }
    const request = connection.ask({ type: 'data', data, ...(to !== undefined && { to }) })
    if (request === undefined || !isStill || room === undefined) return
    const receivers = others.filter(({ connection_id, user_id }) => to === undefined || to === connection_id || to === user_id)
    this.#around.deliveries.said(session, n, receivers.map(({ connection_id: id }) => this.#around.sessions.get(id)).filter(receiver => receiver !== undefined))
  }

  /** Leaves for good, in one of the two ways. */
  finish (byClosing: boolean): void {
    this.#isOver = true
    clearTimeout(this.#timer)
    const { connection, view } = this.#session ?? {}
    if (byClosing || view?.room === undefined) connection?.close()
    else connection?.ask({ type: 'leave' })
  }

  /** Fails when something asked for is not answered in time. @param limitMs how long Redis may take */
  checkAnswers (limitMs: number): void {
    if (this.#session === undefined) return
    const { connection } = this.#session
    const [first] = connection.pending.values()
    if (!connection.isOpen) return
    if (this.#hasSession) this.#ask(connection)
    if (first === undefined || Math.max(first.at, connection.lastAnswerAt) > now() - ANSWER_MS - limitMs) return
    if (connection.instancesSince(first.at).some(instance => this.#around.troubles.ofProcess(instance, first.at))) return
    this.#around.fail(`${this.userId} gets no answer to ${JSON.stringify(first.message)}, asked at ${first.at.toFixed(0)}`, this.#session)
  }

  /** Now and then asks whether the instance is there, and gives it up when it is silent. */
  #ask (connection: Connection): void {
    const [first] = connection.pending.values()
    const silentSince = Math.max(first?.at ?? Infinity, connection.lastAnswerAt)
    if (first?.message.type === 'ping' && now() - silentSince > SILENCE_MS) return connection.drop()
    if (now() - this.#pingedAt < PING_EVERY_MS) return
    this.#pingedAt = now()
    connection.ping()
  }

  async #connect (instance: number): Promise<void> {
    const connection = await Connection.open(this.#around.urls[instance] ?? '', instance, { userId: this.userId, hasSession: this.#hasSession }, opened => this.#adopt(opened))
    if (connection !== undefined) this.#begin(connection)
    else this.#later(100, () => { void this.#connect((instance + 1) % instances.length) })
  }

  #begin (connection: Connection): void {
    if (this.#isOver) connection.close()
    else if (this.#wanted !== undefined) connection.ask({ type: 'join', room: this.#wanted })
  }

  /** Its connection has lost its wire: goes on over another, or begins anew. */
  async #comeBack (session: Session, instance: number): Promise<void> {
    const { connection } = session
    const { comebacks } = this.#around
    const { instance: former } = connection
    const present = await connection.comeBack(this.#around.urls[instance] ?? '', instance, opened => {
      this.#checkEnd(session, opened)
      connection.end()
      this.#end(session)
      return this.#adopt(opened)
    }, this.#random.chance(IMPATIENT) ? this.#random.between(0, 2 * IMPATIENCE_MS) : undefined)
    if (present !== undefined) comebacks[present !== connection ? 'anew' : instance === former ? 'here' : 'elsewhere']++
    if (present === undefined) this.#later(100, () => { void this.#comeBack(session, (instance + 1) % instances.length) })
    else if (present !== connection) this.#begin(present)
    else if (this.#isOver) connection.close()
    else this.#later(TRY_AGAIN_MS, () => { this.#tryAgain(session) }) // what it was about to ask for when its wire was gone
  }

  /** A session may end only where what held it was in trouble; and where that is dead, its client stays who it was. */
  #checkEnd (session: Session, { id, instance }: Connection): void {
    const { troubles, fail } = this.#around
    const { connection } = session
    const { instance: former, awaySince = now() } = connection
    const since = awaySince - 1
    if (now() - awaySince > RESUME_WINDOW_MS) return
    const hasTime = now() - awaySince < HAND_OVER_MS
    const tried = connection.instancesSince(since)
    const isExcused = tried.every(one => one === former)
      ? troubles.ofProcess(former, since)
      : tried.some(one => hasTime ? troubles.ofLoss(one, since) : troubles.ofAny(one, since))
    if (!isExcused) fail(`${this.userId} came back to instance ${instance} and could not go on with what it had on instance ${former}`, session)
    else if (id !== connection.id && troubles.isKilled(former, since) && tried.every(one => one === former || !troubles.ofAny(one, since))) fail(`${this.userId} came back to instance ${instance} from instance ${former}, which is dead, and is somebody else`, session)
  }

  #end (session: Session): void {
    const { sessions } = this.#around
    const { connection: { id }, view } = session
    view.clear()
    if (sessions.get(id) === session) sessions.delete(id)
    this.#session = undefined
  }

  #adopt (connection: Connection): ConnectionOwner {
    const { sessions, fail } = this.#around
    const session: Session = { connection, view: new View(this.userId) }
    this.#session = session
    sessions.set(connection.id, session)
    let comeBackAfterMs = this.#random.between(50, 800)
    return {
      onFrame: (frame, request) => {
        try {
          this.#receive(session, frame, request)
        } catch (error) {
          fail(`${(error as Error).message}: ${JSON.stringify(frame)} for ${this.userId}, in ${session.view.room ?? 'no room'} at ${session.view.version} with ${JSON.stringify([...session.view.members.keys()])}`, session)
        }
        if (frame.type === 'goaway') comeBackAfterMs = frame.data.reconnect_after_ms
      },
      onWrong: error => { fail(`${(error as Error).message}: ${this.userId}`, session) },
      onClose: (code, isOurs) => {
        const { view } = session
        if (!isOurs && code !== (view.isSentAway ? 1012 : 1006)) fail(`${this.userId} was closed with ${code}`, session)
        else if (!isOurs && !this.#around.troubles.ofProcess(connection.instance, now() - 1)) fail(`${this.userId} was closed with ${code}, and nothing was the matter`, session)
        const elsewhere = isOurs ? instances : instances.filter(other => other !== connection.instance)
        const there = this.#random.pick(elsewhere)
        if (connection.endedAt === Infinity) return this.#later(comeBackAfterMs, () => { void this.#comeBack(session, there) })
        this.#end(session)
        this.#later(comeBackAfterMs, () => { void this.#connect(there) })
      }
    }
  }

  #receive (session: Session, frame: ServerMessage, request: Request | undefined): void {
    const { view } = session
    const { room, members } = view
    view.apply(frame)
    switch (frame.type) {
      case 'data': {
        const { by, n } = frame.data as Said
        return this.#around.deliveries.heard(session, by, n)
      }
      case 'user_left': return this.#around.absences.left(session, frame.room, frame.data.connection_id, frame.version)
      case 'resynced':
        if (!this.#mayMissChanges(session)) throw new Error('a change was lost, though nothing is the matter')
        for (const id of members.keys()) if (!view.members.has(id)) this.#around.absences.left(session, frame.room, id)
        break
      case 'room_disbanded':
        if (frame.data.reason === 'user_requested' && this.#wanted === room && !isAskedFor(session, room)) this.#wanted = undefined
        break
      case 'error': return this.#refused(session, frame, request)
    }
  }

  /** Whether a change may have been lost on its way here; where it has come from elsewhere shortly ago, its room waits for the word of all. */
  #mayMissChanges ({ connection }: Session): boolean {
    const { troubles } = this.#around
    const shortlyAgo = now() - SHORTLY_MS
    const hasMoved = connection.instancesSince(shortlyAgo).length > 1
    return hasMoved ? instances.some(instance => troubles.ofAny(instance, shortlyAgo)) : troubles.ofChanges(connection.instance, now() - 1)
  }

  /** Whether an error is one that the protocol allows in this situation; and what a client then does. */
  #refused (session: Session, { code, data }: Extract<ServerMessage, { type: 'error' }>, request: Request | undefined): void {
    const { view, connection } = session
    if (request === undefined) throw new Error('an error that answers nothing')
    const { message, at } = request
    const inTrouble = connection.instancesSince(at).some(instance => this.#around.troubles.ofAny(instance, at))
    if (code === 'unavailable' && inTrouble) {
      if (message.type === 'join') this.#later(this.#random.between(100, TRY_AGAIN_MS), () => { this.#tryAgain(session, message.room) })
      if (message.type === 'join' || message.type === 'disband_room' || (message.type === 'data' && data?.delivered === 'local')) return
    }
    if (code === 'not_in_room' && view.room === undefined) return
    if (code === 'not_in_room' && message.type === 'disband_room' && inTrouble) { // the room does not know it any more
      view.clear()
      this.#wanted = undefined
      return
    }
    // What its room says waits for the word of all instances where it has moved; answers do not.
    if (code === 'peer_not_found' && message.type === 'data' && (!isThere(view, message) || connection.instancesSince(now() - SHORTLY_MS).length > 1)) return
    throw new Error(`an error that is not allowed here, to ${JSON.stringify(message)}`)
  }

  #tryAgain (session: Session, room = this.#wanted): void {
    if (room !== undefined && this.#wanted === room && session.view.room !== room && !isAskedFor(session, room)) session.connection.ask({ type: 'join', room })
  }

  #later (ms: number, act: () => void): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => { if (!this.#isOver) act() }, ms)
  }
}

function isThere ({ members, self }: View, { to }: ClientMessageOf<'data'>): boolean {
  return [...members.values()].some(({ connection_id, user_id }) => connection_id !== self?.connection_id && (to === connection_id || to === user_id))
}

function isAskedFor ({ connection: { pending } }: Session, room: string | undefined): boolean {
  return [...pending.values()].some(({ message }) => message.type === 'join' && message.room === room)
}
