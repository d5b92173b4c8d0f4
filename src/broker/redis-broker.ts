import type { Redis } from 'ioredis'
import { INBOX_QUEUE_BYTES, type Broker, type BrokerHandlers, type BrokerTraffic } from './broker.ts'
import { createChannels, type Channels } from '../redis/channels.ts'
import type { RedisClient } from '../redis/connections.ts'
import { within } from '../redis/deadline.ts'
import { lobbyEventOf } from './lobby-event.ts'
import type { Measure } from '../redis/measure.ts'
import { Misses } from './misses.ts'

/**
 * First byte of every batch. Instances of two versions of Turnip may share a Redis during a rolling update: a batch
 * of a format that is not known is left alone.
 */
const BATCH_FORMAT = 2

/** How long until a server that does not let us subscribe is asked again, ms. */
const RETRY_MS = 2000

/** Channels of pub/sub, which knows no database number: their names carry it. */
interface ChannelNames {
  inbox (nonce: string): string
  readonly lobby: string
}

export interface RedisBrokerOptions {
  readonly nonce: string
  /** Publishes. Its commands fail fast while Redis is away. */
  readonly commands: RedisClient
  /** Subscribes, and nothing else: it waits for Redis. */
  readonly subscriber: Redis
  readonly names: ChannelNames
  readonly measure: Measure
  /** How long subscribing may take, ms: the subscriber itself waits for ever. */
  readonly timeoutMs: number
  readonly log: { debug (context: object, message: string): void, error (context: object, message: string): void }
}

/** What waits for one inbox: lengths and records in turn, and who waits to know whether they were heard. */
interface Outgoing { readonly parts: Buffer[], bytes: number, readonly asked: Array<(isHeard: boolean | undefined) => void> }

/**
 * A broker over Redis pub/sub: one channel an instance, one PUBLISH a turn and a destination.
 *
 *     batch: format u8 | sender's nonce: length u8, ASCII | (length u32 BE | record)…
 *
 * A batch without records says that one before it was lost.
 */
export class RedisBroker implements Broker {
  readonly nonce: string
  readonly traffic: BrokerTraffic = { publishes: 0, bytes: 0 }
  readonly #options: RedisBrokerOptions
  readonly #channels: Channels
  /** What is to be heard, through every reconnection. */
  readonly #heard = new Set<string>()
  readonly #queues = new Map<string, Outgoing>()
  /** What every batch begins with. */
  readonly #head: Buffer
  readonly #leaving = new Set<Promise<unknown>>()
  readonly #misses: Misses
  #handlers: BrokerHandlers | undefined
  #closed = false
  /** Channels that did not let us subscribe, and will be asked again. */
  readonly #refused = new Set<string>()

  constructor (options: RedisBrokerOptions) {
    this.nonce = options.nonce
    this.#options = options
    this.#head = Buffer.concat([Buffer.of(BATCH_FORMAT, this.nonce.length), Buffer.from(this.nonce, 'latin1')])
    const { names } = options
    const inbox = names.inbox(this.nonce)
    this.#channels = createChannels(options, names.lobby)
    this.#misses = new Misses(instance => this.#publish(instance, this.#head))
    this.#channels.onMessage((channel, message) => {
      if (channel === inbox) this.#receive(message)
      else if (channel === names.lobby) this.#hear(message)
    })
    this.#channels.onReady(() => { for (const channel of this.#heard) void this.#hearAgain(channel) })
    options.subscriber.on('close', () => { this.#handlers?.onInterrupted() })
  }

  async open (handlers: BrokerHandlers): Promise<void> {
    const { names, measure } = this.#options
    const inbox = names.inbox(this.nonce)
    await measure('subscribe', () => this.#channels.subscribe(inbox))
    if (this.#closed) return
    this.#heard.add(inbox)
    this.#handlers = handlers
  }

  send (instance: string, record: Buffer, vital = false): boolean {
    return this.#queue(instance, record, vital) !== undefined
  }

  async ask (instance: string, record: Buffer): Promise<boolean | undefined> {
    const queue = this.#queue(instance, record, false)
    return queue && await new Promise(resolve => { queue.asked.push(resolve) })
  }

  async settled (): Promise<void> {
    void this.#flush()
    await Promise.all(this.#leaving)
  }

  #queue (instance: string, record: Buffer, vital: boolean): Outgoing | undefined {
    const { status } = this.#options.commands
    const limit = vital ? 2 * INBOX_QUEUE_BYTES : INBOX_QUEUE_BYTES
    let queue = this.#queues.get(instance)
    if (status !== 'ready' || this.#channels.backlog + (queue?.bytes ?? 0) + record.length > limit) {
      if (vital) this.#misses.add(instance)
      return undefined
    }
    if (queue === undefined) {
      if (this.#queues.size === 0) setImmediate(() => { void this.#flush() })
      queue = { parts: [this.#head], bytes: this.#head.length, asked: [] }
      this.#queues.set(instance, queue)
    }
    const length = Buffer.allocUnsafe(4)
    length.writeUInt32BE(record.length)
    queue.parts.push(length, record)
    queue.bytes += 4 + record.length
    return queue
  }

  async hearLobby (on: boolean): Promise<void> {
    const { subscriber, names, measure, timeoutMs, log } = this.#options
    if (on) {
      if (subscriber.status !== 'ready') throw new Error('Redis is away')
      await measure('subscribe', () => within(timeoutMs, this.#channels.subscribe(names.lobby)))
      this.#heard.add(names.lobby)
      return
    }
    this.#heard.delete(names.lobby)
    // Nobody waits for it: what is still heard is told to nobody.
    void measure('unsubscribe', () => this.#channels.unsubscribe(names.lobby)).catch((error: unknown) => {
      log.debug({ err: error }, 'the lobby is still heard')
    })
  }

  async close (): Promise<void> {
    this.#closed = true
    this.#handlers = undefined
    this.#misses.stop()
    await this.#flush()
  }

  /** There is a connection without subscriptions. One that breaks meanwhile is followed by the next. */
  async #hearAgain (channel: string): Promise<void> {
    if (this.#handlers === undefined || !this.#heard.has(channel)) return
    const { names, log, timeoutMs } = this.#options
    try {
      await within(timeoutMs, this.#channels.subscribe(channel))
      if (channel === names.inbox(this.nonce)) this.#handlers.onRestored() // without the lobby only watchers miss something
    } catch (error) {
      log.debug({ err: error, channel }, 'a channel is not heard again yet')
      if (this.#refused.has(channel)) return
      this.#refused.add(channel)
      setTimeout(() => {
        this.#refused.delete(channel)
        if (this.#options.subscriber.status === 'ready') void this.#hearAgain(channel)
      }, RETRY_MS).unref()
    }
  }

  async #flush (): Promise<void> {
    const queues = [...this.#queues]
    this.#queues.clear()
    const leaving = Promise.all(queues.map(async ([instance, { parts, bytes, asked }]) => {
      const isHeard = await this.#publish(instance, Buffer.concat(parts, bytes))
      for (const tell of asked) tell(isHeard)
      if (isHeard !== true) this.#misses.add(instance)
    }))
    this.#leaving.add(leaving)
    await leaving
    this.#leaving.delete(leaving)
  }

  /** @returns whether the instance has heard it; undefined when it could not be said. Never rejects. */
  async #publish (instance: string, batch: Buffer): Promise<boolean | undefined> {
    const { names, measure, log, commands } = this.#options
    if (commands.status !== 'ready') return undefined
    try {
      this.traffic.publishes++
      this.traffic.bytes += batch.length
      const receivers = await measure('publish', () => this.#channels.publish(names.inbox(instance), batch))
      return receivers > 0
    } catch (error) {
      // The connection's own log says that Redis is away.
      log.debug({ err: error, instance, bytes: batch.length }, 'a batch for another instance was lost')
      return false
    }
  }

  #receive (batch: Buffer): void {
    if (batch[0] !== BATCH_FORMAT) return
    const start = 2 + (batch[1] ?? 0)
    const origin = batch.toString('latin1', 2, start)
    if (batch.length === start) this.#handlers?.onMissed()
    for (let at = start, end; at < batch.length; at = end) {
      end = batch.length
      try {
        const last = at + 4 + batch.readUInt32BE(at)
        if (last > batch.length) throw new RangeError('a record is cut off')
        end = last
        this.#handlers?.onRecord(batch.subarray(at + 4, end), origin)
      } catch (error) {
        this.#options.log.error({ err: error }, 'a record from another instance could not be handled')
      }
    }
  }

  #hear (message: Buffer): void {
    try {
      this.#handlers?.onLobby(lobbyEventOf(message))
    } catch (error) {
      this.#options.log.error({ err: error }, 'an announcement in the lobby could not be handled')
    }
  }
}
