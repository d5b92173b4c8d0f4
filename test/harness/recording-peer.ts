import type { CloseCode } from '../../src/protocol/codes.ts'
import type { Frame } from '../../src/protocol/frame.ts'
import type { ServerMessage, ServerMessageType } from '../../src/protocol/messages.ts'
import type { Identity } from '../../src/rooms/identity.ts'
import type { Peer } from '../../src/rooms/peer.ts'
import type { Seat } from '../../src/rooms/seat.ts'
import type { MessageOf } from './client.ts'

/** How long a frame may take before a test fails, ms. Only a broken server ever takes it. */
const LIMIT_MS = 15_000

/** The JSON text of a text frame as a server builds it: unmasked and in one piece. */
export function textOf (frame: Frame): string {
  const length = frame[1] ?? 0
  return frame.toString('utf8', length === 127 ? 10 : length === 126 ? 4 : 2)
}

export function identityOf (userId: string, over: Partial<Identity> = {}): Identity {
  return { userId, username: `Name of ${userId}`, role: 'user', rooms: undefined, expiresAt: undefined, ...over }
}

/** A peer without a socket: it keeps what it is sent. */
export class RecordingPeer implements Peer {
  readonly id: string
  identity: Identity
  seat: Seat | undefined = undefined
  /** Everything received, in order. */
  readonly frames: ServerMessage[] = []
  /** The same as bytes. */
  readonly raw: Frame[] = []
  readonly closes: CloseCode[] = []
  #taken = 0
  #wake: () => void = () => {}

  /** @param id its connection_id; its user has the same name, without what follows a `/` */
  constructor (id: string, over: Partial<Identity> = {}) {
    this.id = id
    this.identity = identityOf(id.split('/', 1)[0] ?? id, over)
  }

  send (frame: Frame): void {
    this.raw.push(frame)
    this.frames.push(JSON.parse(textOf(frame)) as ServerMessage)
    this.#wake()
  }

  close (code: CloseCode): void { this.closes.push(code) }

  get types (): ServerMessageType[] { return this.frames.map(({ type }) => type) }

  all<T extends ServerMessageType> (type: T): Array<MessageOf<T>> {
    return this.frames.filter((frame): frame is MessageOf<T> => frame.type === type)
  }

  /** The next frame of a type among those that nobody has waited for yet; others before it are passed over. */
  async next<T extends ServerMessageType> (type: T): Promise<MessageOf<T>> {
    const deadline = Date.now() + LIMIT_MS
    for (;;) {
      while (this.#taken < this.frames.length) {
        const frame = this.frames[this.#taken++]
        if (frame?.type === type) return frame as MessageOf<T>
      }
      const left = deadline - Date.now()
      if (left <= 0) throw new Error(`no ${type} came to ${this.id}; got ${JSON.stringify(this.types)}`)
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => { clearTimeout(timer); resolve() }
      })
    }
  }

  /** Forgets what was received so far. */
  clear (): void {
    this.frames.length = this.raw.length = this.#taken = 0
  }
}
