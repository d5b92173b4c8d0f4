import type { ClientMessageOf, ServerMessage } from '../../src/protocol/messages.ts'
import type { Absences } from './absences.ts'
import { Connection, type ConnectionOwner, type Request } from './connection.ts'
import type { Deliveries } from './deliveries.ts'
import type { Doing } from './plan.ts'
import type { Random } from './random.ts'
import type { Fail, Session, Sessions } from './session.ts'
import { instances, now, type Troubles } from './troubles.ts'
import { View, type Said } from './view.ts'

/** How long an answer may take beyond what Redis may take, ms. */
const ANSWER_MS = 6500

/** What all clients share. */
export interface Surroundings {
  readonly urls: readonly string[]
  readonly sessions: Sessions
  readonly troubles: Troubles
  readonly deliveries: Deliveries
  readonly absences: Absences
  readonly fail: Fail
}

/** A user: wants to be in a room, or in none, and does what a good client does to get there whatever happens. */
export class Client {
  readonly userId: string
  readonly #random: Random
  readonly #around: Surroundings
  #session: Session | undefined
  #wanted: string | undefined
  #timer: NodeJS.Timeout | undefined
  #said = 0
  #isOver = false

  /** @param random what this client draws from; @param room it wants to be in at first */
  constructor (index: number, room: string, random: Random, around: Surroundings) {
    this.userId = `user-${index}`
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
    if (connection === undefined || view === undefined) return
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
    const { connection: { pending, instance, lastAnswerAt, isOpen } } = this.#session
    const [first] = pending.values()
    if (first === undefined || !isOpen || Math.max(first.at, lastAnswerAt) > now() - ANSWER_MS - limitMs) return
    if (this.#around.troubles.ofProcess(instance, first.at)) return
    this.#around.fail(`${this.userId} gets no answer to ${JSON.stringify(first.message)}, asked at ${first.at.toFixed(0)}`, this.#session)
  }

  async #connect (instance: number): Promise<void> {
    const connection = await Connection.open(this.#around.urls[instance] ?? '', instance, this.userId, {}, opened => this.#adopt(opened))
    if (connection !== undefined) {
      if (this.#isOver) connection.close()
      else if (this.#wanted !== undefined) connection.ask({ type: 'join', room: this.#wanted })
    } else {
      this.#later(100, () => { void this.#connect((instance + 1) % instances.length) })
    }
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
      onClose: (code, isOurs) => {
        const { view } = session
        view.clear()
        sessions.delete(connection.id)
        this.#session = undefined
        if (!isOurs && code !== (view.isSentAway ? 1012 : 1006)) fail(`${this.userId} was closed with ${code}`, session)
        else if (!isOurs && !this.#around.troubles.ofProcess(connection.instance, now() - 1)) fail(`${this.userId} was closed with ${code}, and nothing was the matter`, session)
        const elsewhere = isOurs ? instances : instances.filter(other => other !== connection.instance)
        this.#later(comeBackAfterMs, () => { void this.#connect(this.#random.pick(elsewhere)) })
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
      case 'user_left': return this.#around.absences.left(session, frame.room, frame.data.connection_id)
      case 'resynced':
        if (!this.#around.troubles.ofChanges(session.connection.instance, now() - 1)) throw new Error('a change was lost, though nothing is the matter')
        for (const id of members.keys()) if (!view.members.has(id)) this.#around.absences.left(session, frame.room, id)
        break
      case 'room_disbanded':
        if (frame.data.reason === 'user_requested' && this.#wanted === room && !isAskedFor(session, room)) this.#wanted = undefined
        break
      case 'error': return this.#refused(session, frame, request)
    }
  }

  /** Whether an error is one that the protocol allows in this situation; and what a client then does. */
  #refused (session: Session, { code, data }: Extract<ServerMessage, { type: 'error' }>, request: Request | undefined): void {
    const { view, connection } = session
    if (request === undefined) throw new Error('an error that answers nothing')
    const { message, at } = request
    const inTrouble = this.#around.troubles.ofAny(connection.instance, at)
    if (code === 'unavailable' && inTrouble) {
      if (message.type === 'join') this.#later(this.#random.between(100, 300), () => { this.#tryAgain(session, message) })
      if (message.type === 'join' || message.type === 'disband_room' || (message.type === 'data' && data?.delivered === 'local')) return
    }
    if (code === 'not_in_room' && view.room === undefined) return
    if (code === 'not_in_room' && message.type === 'disband_room' && inTrouble) { // the room does not know it any more
      view.clear()
      this.#wanted = undefined
      return
    }
    if (code === 'peer_not_found' && message.type === 'data' && !isThere(view, message)) return
    throw new Error(`an error that is not allowed here, to ${JSON.stringify(message)}`)
  }

  #tryAgain (session: Session, { room }: ClientMessageOf<'join'>): void {
    if (this.#wanted === room && session.view.room !== room && !isAskedFor(session, room)) session.connection.ask({ type: 'join', room })
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
