import assert from 'node:assert/strict'
import type { ServerMessage, SessionOffer } from '../../src/protocol/messages.ts'
import { Client, type MessageOf } from '../harness/client.ts'
import { tokenFor, type Claims } from '../harness/token.ts'

/** A client with a session: it knows what it has to show to go on. */
export class SessionClient {
  readonly userId: string
  readonly #claims: Claims
  client: Client
  offer: SessionOffer
  /** What it was told before its last return, openings apart. */
  readonly #before: ServerMessage[] = []
  /** What it has said since it has its session: what was not handled is said again. */
  #said: object[] = []
  /** What it had seen when it set out for another socket: what the old one brings from then on does not count. */
  #leftAt: number | undefined

  private constructor (userId: string, claims: Claims, client: Client) {
    this.userId = userId
    this.#claims = claims
    this.client = client
    this.offer = offerOf(client)
  }

  static async open (wsUrl: string, userId: string, claims: Claims = {}): Promise<SessionClient> {
    const client = await Client.openWith(`${wsUrl}?resume=true&token=${tokenFor(userId, claims)}`)
    return new SessionClient(userId, claims, client)
  }

  get id (): string { return this.client.id }

  /** Frames that it has of its session, not counting the one that gave it. */
  get seen (): number { return this.client.frames.length - 1 }

  /** All that it was told, over all its sockets, in order; openings apart. */
  get told (): ServerMessage[] { return [...this.#before, ...this.client.frames.slice(1, this.#leftAt)] }

  /** Sends something that is to be handled whatever becomes of the socket. */
  say (message: object): void {
    this.#said.push(message)
    this.client.send(message)
  }

  /** Its socket is gone, without a word. */
  cut (): void { this.client.socket.terminate() }

  /** Comes back with its session, over another socket. The old one stays as it is. */
  async back (wsUrl: string, { session = this.offer.session, seen = this.seen, userId = this.userId }: { session?: string, seen?: number, userId?: string } = {}): Promise<ServerMessage> {
    this.#leftAt = 1 + this.seen
    const heard = this.client.frames.slice(1, this.#leftAt)
    this.client = await Client.openWith(`${wsUrl}?token=${tokenFor(userId, this.#claims)}&session=${encodeURIComponent(session)}&seen=${seen}`)
    this.offer = offerOf(this.client)
    assert.ok(this.client.opening)
    this.#before.push(...heard)
    this.#leftAt = undefined
    return this.client.opening
  }

  /** As `back`, and it has to be gone on. @returns what it is told, and the frames that it had missed */
  async resume (wsUrl: string): Promise<{ data: MessageOf<'resumed'>['data'], missed: ServerMessage[] }> {
    const opening = await this.back(wsUrl)
    assert.equal(opening.type, 'resumed', JSON.stringify(opening))
    const { data } = opening as MessageOf<'resumed'>
    this.#said = this.#said.slice(data.received)
    for (const message of this.#said) this.client.send(message)
    const missed: ServerMessage[] = []
    while (missed.length < data.missed) missed.push(await this.client.take())
    return { data, missed }
  }

  /** As `back`, and it cannot go on. */
  async startAnew (wsUrl: string, options: { session?: string, seen?: number, userId?: string } = {}): Promise<MessageOf<'welcome'>['data']> {
    const opening = await this.back(wsUrl, options)
    assert.equal(opening.type, 'welcome', JSON.stringify(opening))
    const { data } = opening as MessageOf<'welcome'>
    assert.equal(data.resumed, false)
    return data
  }
}

function offerOf ({ opening }: Client): SessionOffer {
  assert.ok(opening?.data.session !== undefined && opening.data.resume_window_ms !== undefined, 'a session is offered')
  const { session, resume_window_ms } = opening.data
  return { session, resume_window_ms }
}
