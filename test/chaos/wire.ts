import WebSocket from 'ws'
import type { ServerMessage } from '../../src/protocol/messages.ts'

/** How long an instance may take to open a connection, ms: a frozen one never does, and the client goes elsewhere. */
const OPEN_MS = 1500
/** How long it may then take to speak, ms: where it has to ask for a session, it may ask one instance after the other. */
const SPEAK_MS = 5000

/** An instance that is frozen does not answer a close. (The types of `ws` do not know closeTimeout yet.) */
const options = { perMessageDeflate: false, closeTimeout: 500 } as WebSocket.ClientOptions

/** What comes over a wire, and how it ends. */
export interface WireOwner {
  onText (text: string): void
  onClose (code: number): void
}

/** One WebSocket to one instance. */
export class Wire {
  readonly #socket: WebSocket
  #isDropped = false

  private constructor (socket: WebSocket) {
    this.#socket = socket
  }

  /**
   * Opens one; its first frame makes it one.
   * @param url of an instance, with the path and a query
   * @param adopt who gets what follows
   * @param patienceMs how long the instance may take to speak
   * @returns whether there is one: not where the instance does not let it in, or is not there
   */
  static async open (url: string, adopt: (wire: Wire, first: ServerMessage, text: string) => WireOwner, patienceMs = SPEAK_MS): Promise<boolean> {
    const socket = new WebSocket(url.replace('http', 'ws'), options)
    const wire = new Wire(socket)
    return await new Promise(resolve => {
      let owner: WireOwner | undefined
      let limit = setTimeout(() => { socket.terminate() }, OPEN_MS)
      socket.on('open', () => {
        clearTimeout(limit)
        limit = setTimeout(() => { wire.drop() }, patienceMs)
      })
      socket.on('message', (data: Buffer) => {
        if (wire.#isDropped) return // what was on its way to a network that is gone
        const text = data.toString()
        if (owner !== undefined) return owner.onText(text)
        clearTimeout(limit)
        owner = adopt(wire, JSON.parse(text) as ServerMessage, text)
        resolve(true)
      })
      socket.on('error', () => {}) // 'close' follows
      socket.on('close', code => {
        clearTimeout(limit)
        if (owner === undefined) resolve(false)
        else owner.onClose(code)
      })
    })
  }

  get isOpen (): boolean { return this.#socket.readyState === WebSocket.OPEN }

  send (text: string): void { this.#socket.send(text) }

  /** Closes it in order. */
  close (): void { this.#socket.close(1000) }

  /** Tears it, as a network does. */
  drop (): void {
    this.#isDropped = true
    this.#socket.terminate()
  }
}
