import type { Cluster, Redis } from 'ioredis'
import type { RedisConnections } from './connections.ts'

/**
 * Pub/sub between instances: an inbox an instance, which other instances publish to, and a lobby, which scripts publish
 * to. Nothing is subscribed to again by itself: whoever listens to `onReady` does that.
 */
export interface Channels {
  /** What waits to leave this process, in bytes. */
  readonly backlog: number
  /**
   * Sends bytes to an inbox. What one process publishes to one inbox arrives in that order.
   * @returns how many subscribers got it
   */
  publish (inbox: string, bytes: Buffer): Promise<number>
  /** @param channel the inbox of this process, or the lobby. Subscribing twice does nothing. */
  subscribe (channel: string): Promise<void>
  unsubscribe (channel: string): Promise<void>
  /** @param handler called with whatever arrives on a channel that is subscribed to */
  onMessage (handler: (channel: string, bytes: Buffer) => void): void
  /**
   * @param handler called whenever there is a connection without subscriptions: the first one, each one after that, and, in a
   * Cluster, the one to the node that an inbox has moved to. What was published before it has subscribed is lost.
   */
  onReady (handler: () => void): void
}

/** @param lobby the channel that scripts publish to: they cannot publish to a sharded one */
export function createChannels ({ commands, subscriber }: Pick<RedisConnections, 'commands' | 'subscriber'>, lobby: string): Channels {
  return commands.isCluster ? new ShardedChannels(commands as Cluster, subscriber, lobby) : new PlainChannels(commands as Redis, subscriber)
}

/** SUBSCRIBE and PUBLISH: one server, or one master with its replicas. */
class PlainChannels implements Channels {
  readonly #commands: Redis
  readonly #subscriber: Redis

  constructor (commands: Redis, subscriber: Redis) {
    this.#commands = commands
    this.#subscriber = subscriber
  }

  get backlog (): number { return backlogOf(this.#commands) }

  async publish (inbox: string, bytes: Buffer): Promise<number> {
    return await this.#commands.publish(inbox, bytes)
  }

  async subscribe (channel: string): Promise<void> {
    await this.#subscriber.subscribe(channel)
  }

  async unsubscribe (channel: string): Promise<void> {
    await this.#subscriber.unsubscribe(channel)
  }

  onMessage (handler: (channel: string, bytes: Buffer) => void): void {
    this.#subscriber.on('messageBuffer', (channel: Buffer, bytes: Buffer) => { handler(channel.toString(), bytes) })
  }

  onReady (handler: () => void): void { whenReady(this.#subscriber, handler) }
}

/**
 * Inboxes over SSUBSCRIBE and SPUBLISH: a message goes to the node that holds the inbox's slot, and not to every node of
 * the Cluster. The subscriber is a connection to that node, and is made anew where the slot goes (see locator.ts).
 */
class ShardedChannels implements Channels {
  readonly #commands: Cluster
  readonly #subscriber: Redis
  readonly #lobby: string
  /** The last publish of each inbox that is under way. */
  readonly #last = new Map<string, Promise<number>>()
  #waiting = 0

  constructor (commands: Cluster, subscriber: Redis, lobby: string) {
    this.#commands = commands
    this.#subscriber = subscriber
    this.#lobby = lobby
  }

  get backlog (): number {
    return this.#waiting + this.#commands.nodes('master').reduce((sum, node) => sum + backlogOf(node), 0)
  }

  /**
   * One after the other: while a slot moves, one that is redirected would arrive after the next one, which goes to the new
   * node at once. When one fails, so do those that wait for it: the receiver has to ask for what it missed anyway.
   */
  async publish (inbox: string, bytes: Buffer): Promise<number> {
    const send = async (): Promise<number> => await this.#commands.spublish(inbox, bytes) as number
    const before = this.#last.get(inbox)
    const sent = before === undefined ? send() : before.then(send)
    this.#last.set(inbox, sent)
    this.#waiting += bytes.length
    try {
      return await sent
    } finally {
      this.#waiting -= bytes.length
      if (this.#last.get(inbox) === sent) this.#last.delete(inbox)
    }
  }

  async subscribe (channel: string): Promise<void> {
    await (channel === this.#lobby ? this.#subscriber.subscribe(channel) : this.#subscriber.ssubscribe(channel))
  }

  /**
   * Redis counts the two kinds of subscriptions apart, and ioredis stops listening when it reads that none of one kind is
   * left: a channel on which nothing is ever said keeps that from happening.
   */
  async unsubscribe (channel: string): Promise<void> {
    if (channel === this.#lobby) await Promise.all([this.#subscriber.subscribe(`${this.#lobby}:quiet`), this.#subscriber.unsubscribe(channel)])
    else await this.#subscriber.sunsubscribe(channel)
  }

  onMessage (handler: (channel: string, bytes: Buffer) => void): void {
    for (const event of ['messageBuffer', 'smessageBuffer']) {
      this.#subscriber.on(event, (channel: Buffer, bytes: Buffer) => { handler(channel.toString(), bytes) })
    }
  }

  onReady (handler: () => void): void { whenReady(this.#subscriber, handler) }
}

/** A node of a Cluster has no socket before it is first used. */
function backlogOf (client: { stream?: Redis['stream'] }): number {
  return client.stream?.writableLength ?? 0
}

function whenReady (subscriber: Redis, handler: () => void): void {
  subscriber.on('ready', handler)
  if (subscriber.status === 'ready') process.nextTick(handler)
}
