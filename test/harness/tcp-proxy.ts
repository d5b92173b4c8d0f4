import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { HOST, Link, type Parcel, type Terms } from './tcp-link.ts'

// Below the ports of the tests' Redis servers and of outgoing connections: one that is given up for a while (`cut`) is
// still free when it is taken again.
const FIRST_PORT = 10000
const LAST_PORT = 19999
const ATTEMPTS = 20

/** Which connections; all when it is left out. */
export type Which = (link: Link) => boolean

/** A text that clients may send, and what is to happen when one does. */
interface Trap { text: string, spring: (link: Link) => void, tails: WeakMap<Link, string> }

/** A real line between a client and a port of this machine, on which everything can happen that happens on networks. */
export class TcpProxy {
  /** A connection has come in; held in here, it does not reach the server. */
  onLink: (link: Link) => void = () => {}
  readonly port: number
  readonly #server: Server
  readonly #target: number
  readonly #links = new Set<Link>()
  readonly #terms: Terms = { delayMs: 0, bytesPerSecond: 0 }
  readonly #traps = new Set<Trap>()
  #count = 0
  #isDark = false

  /** @param server that listens already; @param target the port where the real server is */
  constructor (server: Server, port: number, target: number) {
    this.port = port
    this.#server = server
    this.#target = target
    server.on('connection', near => { this.#accept(near) })
  }

  /** Connections that are open, oldest first. */
  links (which: Which = () => true): Link[] { return [...this.#links].filter(which) }

  /** How long everything takes from now on, each way, ms. */
  delay (ms: number): void { this.#terms.delayMs = ms }

  /** How much passes from now on in each direction of each connection, bytes a second; 0: no limit. */
  throttle (bytesPerSecond: number): void { this.#terms.bytesPerSecond = bytesPerSecond }

  /** Ends connections; new ones pass. */
  drop (which?: Which): void {
    for (const link of this.links(which)) link.destroy()
  }

  /** Ends all connections and refuses new ones until `heal`. */
  async cut (): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.drop()
    await closed
  }

  /** Nothing passes until `heal`, and nobody is told. Without a choice, new connections are swallowed too. */
  blackhole (which?: Which): void {
    this.#isDark ||= which === undefined
    for (const link of this.links(which)) link.hold()
  }

  /** All passes again. @param held what becomes of what was held: it flows on, or its connections are ended */
  async heal ({ held = 'flows' }: { held?: 'flows' | 'discarded' } = {}): Promise<void> {
    this.#isDark = false
    for (const link of this.links(link => link.isHeld)) {
      if (held === 'flows') link.release()
      else link.destroy()
    }
    if (!this.#server.listening) await listen(this.#server, this.port)
  }

  /** Waits until a client sends a text, and does something then, before the text goes on. */
  async sees (text: string, then: (link: Link) => void = () => {}): Promise<Link> {
    return await new Promise(resolve => {
      const trap: Trap = { text, tails: new WeakMap(), spring: link => { this.#traps.delete(trap); then(link); resolve(link) } }
      this.#traps.add(trap)
    })
  }

  /** Ends connections on which a client sends a text, so many times, before it goes on. Resolves after the last. */
  async cutOn (text: string, times = 1): Promise<void> {
    for (let i = 0; i < times; i++) await this.sees(text, link => { link.destroy() })
  }

  async close (): Promise<void> {
    if (this.#server.listening) await this.cut()
    else this.drop()
  }

  /** A client has sent bytes. @returns what is to reach the server */
  protected sent (_link: Link, bytes: Buffer): Parcel[] { return [{ bytes }] }

  /** The server has answered. @returns what is to reach the client */
  protected received (_link: Link, bytes: Buffer): Parcel[] { return [{ bytes }] }

  #accept (near: Socket): void {
    const link = new Link(this.#count++, near, this.#target, this.#terms, {
      sent: (link, bytes) => {
        this.#spring(link, bytes)
        return link.isDestroyed ? [] : this.sent(link, bytes)
      },
      received: (link, bytes) => this.received(link, bytes)
    })
    this.#links.add(link)
    void link.closed.then(() => { this.#links.delete(link) })
    if (this.#isDark) link.hold()
    this.onLink(link)
    link.open()
  }

  #spring (link: Link, bytes: Buffer): void {
    for (const trap of [...this.#traps]) {
      const seen = (trap.tails.get(link) ?? '') + bytes.toString('latin1').toLowerCase()
      trap.tails.set(link, seen.slice(1 - trap.text.length))
      if (seen.includes(trap.text.toLowerCase())) trap.spring(link)
    }
  }
}

/** Opens a proxy to a port of this machine. */
export async function startTcpProxy (target: number): Promise<TcpProxy> {
  return await openProxy((server, port) => new TcpProxy(server, port, target))
}

/** @param make what is made around a server that listens on a port of its own */
export async function openProxy<T extends TcpProxy> (make: (server: Server, port: number) => T): Promise<T> {
  const server = createServer()
  for (let attempt = 1; ; attempt++) {
    const port = randomInt(FIRST_PORT, LAST_PORT)
    try {
      await listen(server, port)
      return make(server, port)
    } catch (error) {
      if (attempt === ATTEMPTS) throw error
    }
  }
}

async function listen (server: Server, port: number): Promise<void> {
  server.listen(port, HOST)
  await once(server, 'listening') // rejects on 'error'
}
