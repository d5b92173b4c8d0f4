/** All that goes to the server: at once while the connection is open, or when it is back. */
import type { ClientMessage } from '../protocol/messages.ts'
import { Requests, type NewRequest, type Refusal } from './requests.ts'
import { Backlog, Session, type Outgoing } from './session.ts'

const LOST = { code: 'connection_lost', message: 'The connection was lost before the answer came: it may have been done, or not' } as const

export class Outbox {
  readonly requests = new Requests()
  session = new Session()
  /** Sent once the connection is open. */
  readonly #waiting = new Backlog()
  readonly #write: (outgoing: Outgoing) => void
  #isOpen = false

  /** @param write puts it on the socket */
  constructor (write: (outgoing: Outgoing) => void) {
    this.#write = write
  }

  async ask (request: NewRequest): Promise<void> {
    await this.requests.add(request, frame => {
      if (this.#isOpen) this.transmit(frame)
      else this.#waiting.push(outgoing(frame))
    })
  }

  /** @returns false when too much waits already */
  say (frame: ClientMessage): boolean {
    const said = outgoing(frame)
    if (this.#isOpen) this.#send(said)
    else if (this.#waiting.isFullFor(said)) return false
    else this.#waiting.push(said)
    return true
  }

  /** Sends at once, past all that waits. */
  transmit (frame: ClientMessage): void {
    this.#send(outgoing(frame))
  }

  /** The connection is away. */
  hold (): void {
    this.#isOpen = false
    this.#fail(LOST, ({ type }) => type === 'refresh') // the next attempt takes a new token anyway
  }

  /**
   * The connection is back as if it had not been away: sends what the server has not had.
   * @returns how many frames those were
   */
  goOn (received: number, session: string): number {
    const { frames, areAll } = this.session.unreceived(received)
    this.session = new Session(session)
    const again = frames.filter(({ frame: { type } }) => type !== 'ping' && type !== 'refresh')
    for (const one of again) this.#send(one)
    if (!areAll) this.#fail(LOST, frame => !this.#waiting.has(frame) && !again.some(one => one.frame === frame))
    return again.length
  }

  /**
   * The connection is a new one, in no room. What was said on the old one is not said again, as it may have arrived;
   * requests that may be done twice go out again once it is open.
   * @param left is called when it was about to leave its room, which is done now
   */
  begin (session: string | undefined, left: () => void): void {
    this.session = new Session(session)
    const rest = this.#waiting.take()
    let joins = false
    for (const frame of this.requests.frames) {
      if (rest.some(one => one.frame === frame)) continue
      if (frame.type === 'disband_room') this.requests.settle(frame.id, LOST)
      else if (frame.type === 'leave' && !joins) {
        left()
        this.requests.settle(frame.id)
      } else this.#waiting.push(outgoing(frame))
      joins ||= frame.type === 'join'
    }
    this.#waiting.push(...rest)
  }

  /**
   * The connection is where it should be: sends what waits.
   * @param reaches whether data for this one, or for all, is of use; asked as far as the next join
   * @returns how many messages were of none
   */
  open (reaches: (to: string | undefined) => boolean): number {
    this.#isOpen = true
    let joins = false
    let useless = 0
    for (const one of this.#waiting.take()) {
      joins ||= one.frame.type === 'join'
      if (one.frame.type === 'data' && !joins && !reaches(one.frame.to)) useless++
      else this.#send(one)
    }
    return useless
  }

  /** Nothing goes out any more. */
  end (why: Refusal): void {
    this.#isOpen = false
    this.session = new Session()
    this.#waiting.take()
    this.#fail(why)
  }

  #send (one: Outgoing): void {
    this.session.sent(one)
    this.#write(one)
  }

  #fail (why: Refusal, which: (frame: ClientMessage) => boolean = () => true): void {
    for (const frame of this.requests.frames) if (which(frame)) this.requests.settle(frame.id, why)
  }
}

function outgoing (frame: ClientMessage): Outgoing {
  return { frame, text: JSON.stringify(frame) }
}
