import { startTcpProxy, type TcpProxy } from '../harness/tcp-proxy.ts'

/** What becomes of bytes: they pass, their connections are torn and refused, or they wait (as a network that drops packets has them wait). */
type LinkState = 'passes' | 'cut' | 'blackholed'

/** The way of one instance to Redis. What it subscribes with can be hit alone: it is the connection on which SUBSCRIBE is said. */
export class Link {
  readonly #proxy: TcpProxy
  #subscriber: LinkState = 'passes'

  private constructor (proxy: TcpProxy) {
    this.#proxy = proxy
    this.#hitSubscribers()
  }

  static async open (redisPort: number): Promise<Link> {
    return new Link(await startTcpProxy(redisPort))
  }

  get url (): string { return `redis://127.0.0.1:${this.#proxy.port}` }

  /** Tears all connections and refuses new ones. */
  async cut (): Promise<void> { await this.#proxy.cut() }

  /** Nothing passes, and nobody is told. */
  blackhole (): void { this.#proxy.blackhole() }

  /** Does one of both to what subscribes, now or later. */
  hitSubscriber (state: 'cut' | 'blackholed'): void {
    this.#subscriber = state
    const subscribes = (link: { hasSent (text: string): boolean }): boolean => link.hasSent('subscribe')
    if (state === 'cut') this.#proxy.drop(subscribes)
    else this.#proxy.blackhole(subscribes)
  }

  /** All passes again. */
  async heal (): Promise<void> {
    this.#subscriber = 'passes'
    await this.#proxy.heal()
  }

  async close (): Promise<void> { await this.#proxy.close() }

  /** What subscribes while subscribers are hit is hit as well. */
  #hitSubscribers (): void {
    void this.#proxy.sees('subscribe', link => {
      if (this.#subscriber === 'cut') link.destroy()
      else if (this.#subscriber === 'blackholed') link.hold()
      this.#hitSubscribers()
    })
  }
}
