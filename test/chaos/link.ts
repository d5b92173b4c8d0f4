import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

/** What becomes of bytes: they pass, their connections are torn and refused, or they wait (as a network that drops packets has them wait). */
export type LinkState = 'passes' | 'cut' | 'blackholed'

/** A connection of the instance, and the one to Redis that goes with it. */
interface Pair { readonly near: Socket, readonly far: Socket, subscribes: boolean }

/** The way of one instance to Redis. What it subscribes with can be hit alone: it is the connection on which SUBSCRIBE was said. */
export class Link {
  readonly #server: Server
  readonly #redisPort: number
  readonly #pairs = new Set<Pair>()
  #commands: LinkState = 'passes'
  #subscriber: LinkState = 'passes'

  private constructor (redisPort: number) {
    this.#redisPort = redisPort
    this.#server = createServer(near => { this.#accept(near) })
  }

  static async open (redisPort: number): Promise<Link> {
    const link = new Link(redisPort)
    link.#server.listen(0, '127.0.0.1')
    await once(link.#server, 'listening')
    return link
  }

  get url (): string { return `redis://127.0.0.1:${(this.#server.address() as AddressInfo).port}` }

  /** @param commands the state of all connections but the subscriber's */
  set (commands: LinkState, subscriber: LinkState): void {
    this.#commands = commands
    this.#subscriber = subscriber
    for (const pair of this.#pairs) this.#apply(pair)
  }

  close (): void {
    this.#server.close()
    for (const { near, far } of this.#pairs) {
      near.destroy()
      far.destroy()
    }
  }

  #accept (near: Socket): void {
    const pair: Pair = { near, far: connect(this.#redisPort, '127.0.0.1'), subscribes: false }
    this.#pairs.add(pair)
    near.on('data', bytes => {
      if (!pair.subscribes && /\r\nsubscribe\r\n/i.test(bytes.toString('latin1'))) {
        pair.subscribes = true
        this.#apply(pair)
      }
      pair.far.write(bytes)
    })
    pair.far.on('data', bytes => { near.write(bytes) })
    for (const [one, other] of [[near, pair.far], [pair.far, near]] as const) {
      one.setNoDelay(true)
      one.on('error', () => {}) // 'close' follows
      one.on('close', () => {
        other.destroy()
        this.#pairs.delete(pair)
      })
    }
    this.#apply(pair)
  }

  #apply ({ near, far, subscribes }: Pair): void {
    const state = subscribes ? this.#subscriber : this.#commands
    if (state === 'cut') {
      near.destroy()
      far.destroy()
    } else if (state === 'blackholed') {
      near.pause()
      far.pause()
    } else {
      near.resume()
      far.resume()
    }
  }
}
