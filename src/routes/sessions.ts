import type { SessionOffer } from '../protocol/messages.ts'
import type { Leaving, SessionAsk, SessionHolder } from '../rooms/handover.ts'
import { opens, type Identity } from '../rooms/identity.ts'
import { Connection, type ConnectionContext } from './connection.ts'
import type { Line } from './line.ts'
import { Session, type Resumption, type SessionState } from './session.ts'
import type { SessionClaim, SessionTokens } from './session-token.ts'
import type { Resume } from './traffic.ts'

/** What a client comes back with. */
export interface Claim {
  /** As it was given. */
  readonly session: string
  /** Frames that it has of it. */
  readonly seen: number
}

/**
 * The connections of this instance that outlive their sockets. A client that comes back goes on with its connection where
 * this instance has it, fetches it where another has, and otherwise is a new one.
 */
export class Sessions implements SessionHolder {
  readonly #context: ConnectionContext
  readonly #tokens: SessionTokens
  readonly #nonce: string
  readonly #byKey = new Map<string, Connection>()
  readonly #byId = new Map<string, Connection>()
  /** The instances that sessions went on to from here, by their names here: whose client did not hear of it comes with that. */
  readonly #handedOn = new Map<string, string>()

  /** @param nonce this instance's name for the others */
  constructor (context: ConnectionContext, tokens: SessionTokens, nonce: string) {
    this.#context = context
    this.#tokens = tokens
    this.#nonce = nonce
    context.rooms.handovers.serve(this)
  }

  /** How many there are. */
  get size (): number { return this.#byId.size }
  get isOver (): boolean { return this.#context.connections.isDrained }

  /**
   * A client that has asked for a session, or could not go on with the one that it showed.
   * @param resumed false for the latter
   * @param id its former connection_id, where it may keep it
   */
  start (line: Line, identity: Identity, resumed?: false, id?: string): void {
    const former = id === undefined ? undefined : this.#byId.get(id)
    if (former?.isUntouched === true) former.close(4409) // its welcome did not arrive, or the client would have come with its session
    const { session, connection } = this.#create(identity, id)
    connection.open(line, { type: 'welcome', data: { ...connection.greeting, ...this.#offer(session, connection), ...(resumed === false && { resumed }) } })
  }

  /** A client has come back with a session. Never rejects. */
  async resume (line: Line, identity: Identity, { session, seen }: Claim): Promise<void> {
    line.hold()
    try {
      const claim = this.#tokens.read(session, identity.userId)
      if (claim === undefined) return this.#refuse(line, identity, 'it is not one of this user')
      const holder = this.#byKey.has(claim.key) ? this.#nonce : this.#handedOn.get(claim.key) ?? claim.instance
      if (holder === this.#nonce) await this.#goOn(line, identity, claim, seen)
      else await this.#fetch(line, identity, { ...claim, instance: holder }, seen)
    } catch (error) {
      this.#context.log.error({ err: error, user_id: identity.userId }, 'a client could not come back')
      line.close(1011)
    }
  }

  /** A client that is about to come back has as many sockets as it may: its own old one, which may be half-open, must not keep it out. */
  async makeRoom (session: string, userId: string): Promise<void> {
    const claim = this.#tokens.read(session, userId)
    if (claim !== undefined) await this.#byKey.get(claim.key)?.vacate(claim.key)
  }

  async giveUp ({ key, seen, userId, connectionId }: SessionAsk, to: string): Promise<Leaving | string | undefined> {
    const connection = this.#byKey.get(key)
    if (connection === undefined) return this.#handedOn.get(key) ?? this.#deny(userId, 'it has ended')
    if (connection.identity.userId !== userId || connection.id !== connectionId) return this.#deny(userId, 'it is not one of this user')
    if (!await connection.yield(key)) return this.#giveUpOn(connection, key) ?? this.#deny(userId, 'it is in use, or what its client had asked for takes too long')
    return {
      peer: connection,
      take: forward => {
        const resumption = connection.resume(key, seen, connection.identity)
        if (resumption === undefined) return this.#giveUpOn(connection, key) ?? this.#deny(userId, `it has ended, or what its client has seen is not kept: ${seen} frames`)
        connection.forwardTo(forward)
        this.#handOn(key, to)
        return { ...resumption, username: connection.identity.username, isReached: connection.isReached }
      },
      end: () => { connection.end() }
    }
  }

  /** The session is one of this instance's, or was. */
  async #goOn (line: Line, identity: Identity, claim: SessionClaim, seen: number): Promise<void> {
    const { key } = claim
    const connection = this.#byKey.get(key)
    const resumption = await connection?.yield(key) === true ? connection?.resume(key, seen, identity) : undefined
    if (connection?.session === undefined || resumption === undefined) {
      const elsewhere = connection && this.#giveUpOn(connection, key)
      if (elsewhere !== undefined) return await this.#fetch(line, identity, { ...claim, instance: elsewhere }, seen)
      return this.#refuse(line, identity, connection === undefined ? 'it has ended' : 'it is in use, what its client has seen is not kept, or its token does not open the room')
    }
    const { session } = connection
    this.#byKey.set(session.key, connection)
    this.#count('here')
    this.#open(connection, session, line, { ...resumption, isReached: connection.isReached })
  }

  /** Another instance has it. */
  async #fetch (line: Line, identity: Identity, claim: SessionClaim, seen: number): Promise<void> {
    const { rooms } = this.#context
    const { key, instance, connectionId } = claim
    const arrival = await rooms.handovers.fetch(instance, { key, seen, userId: identity.userId, connectionId })
    if (arrival === 'refused') return this.#refuse(line, identity, 'the instance that had it refused')
    if (arrival === 'here') return await this.#goOn(line, identity, claim, seen)
    if (arrival === 'gone') {
      this.#context.log.debug({ user_id: identity.userId, holder: instance }, 'the instance that had a session does not answer, or goes away')
      this.#count('gone')
      return this.start(line, identity, false, connectionId)
    }
    const { given } = arrival
    if ((given.room !== undefined && !opens(identity, given.room)) || this.#byId.has(connectionId)) {
      arrival.abort()
      return this.#refuse(line, identity, 'its token does not open the room, or its place is taken')
    }
    const { session, connection } = this.#create({ ...identity, username: given.username }, connectionId, { ...given, spent: key, seen })
    if (!await arrival.settle(connection)) {
      connection.end()
      return this.#refuse(line, identity, 'its room could not be changed', arrival.error)
    }
    this.#byKey.set(key, connection) // until the client has said something: the new session may not reach it
    this.#count('elsewhere')
    connection.arriving(arrival.finished)
    this.#open(connection, session, line, given)
    arrival.begin()
  }

  /** As long as it is kept there, at the least, for a client that does not come. */
  #handOn (key: string, to: string): void {
    this.#handedOn.set(key, to)
    setTimeout(() => { this.#handedOn.delete(key) }, this.#context.resumeWindowMs).unref()
  }

  #count (result: Resume): void {
    this.#context.traffic.resumes[result]++
  }

  #refuse (line: Line, identity: Identity, why: string, error?: unknown): void {
    this.#count('refused')
    this.#context.log.debug({ user_id: identity.userId, why, ...(error !== undefined && { err: error }) }, 'a session cannot be gone on with')
    this.start(line, identity, false)
  }

  /** Says why another instance does not get a session. */
  #deny (userId: string, why: string): undefined {
    this.#context.log.debug({ user_id: userId, why }, 'a session was not given up to another instance')
  }

  /** A client cannot go on with it here. @returns the instance that has it by now, if one has */
  #giveUpOn (connection: Connection, key: string): string | undefined {
    if (!connection.isInUse && connection.session?.keys.includes(key) === true) connection.end() // it has not gone on since
    return this.#handedOn.get(key)
  }

  #create (identity: Identity, id?: string, state?: SessionState): { session: Session, connection: Connection } {
    const session: Session = new Session({
      spent: key => { this.#byKey.delete(key) },
      ended: () => {
        for (const key of session.keys) this.#byKey.delete(key)
        if (this.#byId.get(connection.id) === connection) this.#byId.delete(connection.id)
      }
    }, state)
    const connection: Connection = new Connection(identity, this.#context, { session, ...(id !== undefined && !this.#byId.has(id) && { id }) })
    this.#byKey.set(session.key, connection)
    this.#byId.set(connection.id, connection)
    return { session, connection }
  }

  /** @param isReached whether the store can be reached, as far as the client knows with what it has missed */
  #open (connection: Connection, session: Session, line: Line, { received, view, missed, isReached }: Resumption & { readonly isReached: boolean }): void {
    const { room = null, version = null, members = [] } = view ?? {}
    const data = { ...connection.greeting, ...this.#offer(session, connection), received, room, version, members, missed: missed.length }
    connection.open(line, { type: 'resumed', data }, missed, isReached)
  }

  #offer ({ key }: Session, { id, identity: { userId } }: Connection): SessionOffer {
    return {
      session: this.#tokens.issue({ key, instance: this.#nonce, connectionId: id }, userId),
      resume_window_ms: this.#context.resumeWindowMs
    }
  }
}
