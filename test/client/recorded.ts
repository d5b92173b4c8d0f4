import WebSocket from 'ws'
import { SignalingClient, type SignalingEvents, type SignalingOptions } from '../../src/client/index.ts'
import type { ServerMessageType } from '../../src/protocol/messages.ts'
import { tokenFor } from '../harness/token.ts'

/** How long anything may take before a test fails, ms. Only a broken client ever takes it. */
const LIMIT_MS = 15_000

export const EVENTS = [
  'state', 'joined', 'left', 'user_joined', 'user_left', 'user_resumed', 'resynced', 'data', 'resumed', 'room_created', 'room_disbanded',
  'ice_servers', 'goaway', 'degraded', 'error'
] as const satisfies Array<keyof SignalingEvents>

type EventName = (typeof EVENTS)[number]
type Heard = { [E in EventName]: { event: E, detail: SignalingEvents[E] } }[EventName]

/** A client that keeps what it tells, so that a test can wait for it and look back. */
export class Recorded {
  readonly client: SignalingClient
  readonly heard: Heard[] = []
  readonly frames: Array<SignalingEvents['frame']> = []
  #taken = 0
  #wake: () => void = () => {}

  constructor (options: SignalingOptions) {
    this.client = new SignalingClient({ WebSocket, ...options })
    for (const event of EVENTS) {
      this.client.on(event, detail => {
        this.heard.push({ event, detail } as Heard)
        this.#wake()
      })
    }
    this.client.on('frame', frame => {
      this.frames.push(frame)
      this.#wake()
    })
  }

  /** The next event of this name, among those that nobody has waited for; others before it are passed over. */
  async next<E extends EventName> (event: E, isIt: (detail: SignalingEvents[E]) => boolean = () => true): Promise<SignalingEvents[E]> {
    let found: SignalingEvents[E] | undefined
    await this.#until(`no ${event} came`, () => {
      while (found === undefined && this.#taken < this.heard.length) {
        const heard = this.heard[this.#taken++]
        if (heard?.event === event && isIt(heard.detail as SignalingEvents[E])) found = heard.detail as SignalingEvents[E]
      }
      return found !== undefined
    })
    return found as SignalingEvents[E]
  }

  /** Waits until so many frames of a type have come. */
  async replies (type: ServerMessageType, count: number): Promise<void> {
    await this.#until(`${count} ${type} did not come`, () => this.frames.filter(({ direction, frame }) => direction === 'in' && frame.type === type).length >= count)
  }

  /** Waits until it is in this state. */
  async state (state: SignalingEvents['state']['state']): Promise<SignalingEvents['state']> {
    return await this.next('state', change => change.state === state)
  }

  all<E extends EventName> (event: E): Array<SignalingEvents[E]> {
    return this.heard.filter(heard => heard.event === event).map(heard => heard.detail as SignalingEvents[E])
  }

  async #until (otherwise: string, isSo: () => boolean): Promise<void> {
    const deadline = Date.now() + LIMIT_MS
    while (!isSo()) {
      if (Date.now() >= deadline) throw new Error(`${otherwise}; heard ${JSON.stringify(this.heard.slice(-20))}`)
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, deadline - Date.now())
        this.#wake = () => { clearTimeout(timer); resolve() }
      })
    }
  }

  /** Types of the frames that went out. */
  get sent (): string[] { return this.frames.filter(({ direction }) => direction === 'out').map(({ frame }) => frame.type) }
}

/** A client of a user's, who gets a token whenever it needs one. It is closed when the test is over. */
export function clientFor (t: { after: (done: () => void) => void }, url: string, userId: string, options: Partial<SignalingOptions> = {}): Recorded {
  const recorded = new Recorded({ url, token: () => tokenFor(userId), ...options })
  t.after(() => { recorded.client.close() })
  return recorded
}
