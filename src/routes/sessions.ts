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

  /** @param nonce this instance's name for the others */
  constructor (context: ConnectionContext, tokens: SessionTokens, nonce: string) {
    this.#context = context
    this.#tokens = tokens
    this.#nonce = nonce
    context.rooms.serveSessions(this)
  }

  /** How many there are. */
  get size (): number { return this.#byId.size }

  /**
   * A client that has asked for a session, or could not go on with the one that it showed.
   * @param resumed false for the latter
   * @param id its former connection_id, where it may keep it
   */
  start (line: Line, identity: Identity, resumed?: false, id?: string): void {
    const { session, connection } = this.#create(identity, id)
    connection.open(line, { type: 'welcome', data: { ...connection.greeting, ...this.#offer(session, connection), ...(resumed === false && { resumed }) } })
  }

  /** A client has come back with a session. Never rejects. */
  async resume (line: Line, identity: Identity, { session, seen }: Claim): Promise<void> {
    line.hold()
    try {
      const claim = this.#tokens.read(session, identity.userId)
      if (claim === undefined) this.#refuse(line, identity, 'it is not one of this user')
      else if (this.#byKey.has(claim.key) || claim.instance === this.#nonce) await this.#goOn(line, identity, claim, seen)
      else await this.#fetch(line, identity, claim, seen)
    } catch (error) {
      this.#context.log.error({ err: error, user_id: identity.userId }, 'a client could not come back')
      line.close(1011)
    }
  }

  async giveUp ({ key, seen, userId }: SessionAsk): Promise<Leaving | undefined> {
    const connection = this.#byKey.get(key)
    if (connection === undefined || connection.identity.userId !== userId) return undefined
    if (!await connection.yield()) {
      this.#giveUpOn(connection)
      return undefined
    }
    return {
      peer: connection,
      take: forward => {
        const resumption = connection.resume(key, seen, connection.identity)
        if (resumption === undefined) return undefined
        connection.forwardTo(forward)
        return { ...resumption, username: connection.identity.username }
      },
      end: () => { connection.end() }
    }
  }

  /** The session is one of this instance's, or was. */
  async #goOn (line: Line, identity: Identity, { key }: SessionClaim, seen: number): Promise<void> {
    const connection = this.#byKey.get(key)
    const resumption = await connection?.yield() === true ? connection?.resume(key, seen, identity) : undefined
    if (connection?.session === undefined || resumption === undefined) {
      if (connection !== undefined) this.#giveUpOn(connection)
      return this.#refuse(line, identity, connection === undefined ? 'it has ended' : 'what its client has seen is not kept, or its token does not open the room')
    }
    const { session } = connection
    this.#byKey.set(session.key, connection)
    this.#count('here')
    this.#open(connection, session, line, resumption)
  }

  /** Another instance has it. */
  async #fetch (line: Line, identity: Identity, { key, instance, connectionId }: SessionClaim, seen: number): Promise<void> {
    const { rooms } = this.#context
    const arrival = await rooms.fetchSession(instance, { key, seen, userId: identity.userId, connectionId })
    if (arrival === 'refused') return this.#refuse(line, identity, 'the instance that had it refused')
    if (arrival === 'gone') {
      this.#count('gone')
      return this.start(line, identity, false, connectionId)
    }
    const { given } = arrival
    if ((given.room !== undefined && !opens(identity, given.room)) || this.#byId.has(connectionId)) {
      arrival.abort()
      return this.#refuse(line, identity, 'its token does not open the room, or its place is taken')
    }
    const { session, connection } = this.#create({ ...identity, username: given.username }, connectionId, { ...given, spent: key })
    if (!await arrival.settle(connection)) {
      connection.end()
      return this.#refuse(line, identity, 'the room could not be changed')
    }
    this.#byKey.set(key, connection) // until the client has said something: the new session may not reach it
    this.#count('elsewhere')
    this.#open(connection, session, line, given)
    arrival.begin()
  }

  #count (result: Resume): void {
    this.#context.traffic.resumes[result]++
  }

  #refuse (line: Line, identity: Identity, why: string): void {
    this.#count('refused')
    this.#context.log.debug({ user_id: identity.userId, why }, 'a session cannot be gone on with')
    this.start(line, identity, false)
  }

  /** Its client cannot go on with it. */
  #giveUpOn (connection: Connection): void {
    if (!connection.isElsewhere) connection.end()
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

  #open (connection: Connection, session: Session, line: Line, { received, view, missed }: Resumption): void {
    const { room = null, version = null, members = [] } = view ?? {}
    const data = { ...connection.greeting, ...this.#offer(session, connection), received, room, version, members, missed: missed.length }
    connection.open(line, { type: 'resumed', data }, missed)
  }

  #offer ({ key }: Session, { id, identity: { userId } }: Connection): SessionOffer {
    return {
      session: this.#tokens.issue({ key, instance: this.#nonce, connectionId: id }, userId),
      resume_window_ms: this.#context.resumeWindowMs
    }
  }
}
