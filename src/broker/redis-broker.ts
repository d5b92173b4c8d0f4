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

/** So many inboxes may be full at a time: a Redis that answers slowly must not grow this process, however many there are. */
const MOST_INBOXES = 4

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

/** Whether the instance has heard a batch; undefined when it could not be said. */
type Heard = boolean | undefined

/** What waits for one inbox: lengths and records in turn, and who waits to know whether they were heard. */
interface Outgoing { readonly parts: Buffer[], bytes: number, readonly asked: Array<(isHeard: Heard) => void> }

/**
 * A broker over Redis pub/sub: one channel an instance. What one turn of the event loop has for an instance leaves in one
 * PUBLISH, and the next one when that was answered: the busier Redis is, the more travels together.
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
  /** What leaves at the end of the turn, or when what is under way was answered. */
  readonly #waiting = new Map<string, Outgoing>()
  #waitingBytes = 0
  /** The PUBLISH to each inbox that is not answered yet. */
  readonly #underWay = new Map<string, Promise<Heard>>()
  #isDue = false
  /** Bytes on their way to Redis, at the beginning of this turn. */
  #backlog = 0
  /** What every batch begins with. */
  readonly #head: Buffer
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

  async ask (instance: string, record: Buffer): Promise<Heard> {
    const queue = this.#queue(instance, record, false)
    return queue && await outcomeOf(queue)
  }

  async settled (): Promise<void> {
    this.#flush()
    await Promise.all(Array.from(this.#underWay, async ([instance, answer]) => {
      const queue = this.#waiting.get(instance)
      return await (queue === undefined ? answer : outcomeOf(queue))
    }))
  }

  #queue (instance: string, record: Buffer, vital: boolean): Outgoing | undefined {
    const factor = vital ? 2 : 1
    if (!this.#isDue) this.#backlog = this.#channels.backlog // once a turn: in a Cluster, it is that of every node
    const bytes = this.#backlog + record.length
    let queue = this.#waiting.get(instance)
    if (
      this.#options.commands.status !== 'ready' || bytes + (queue?.bytes ?? 0) > factor * INBOX_QUEUE_BYTES ||
      bytes + this.#waitingBytes > factor * MOST_INBOXES * INBOX_QUEUE_BYTES
    ) {
      if (vital) this.#misses.add(instance)
      return undefined
    }
    if (queue === undefined) {
      queue = { parts: [this.#head], bytes: this.#head.length, asked: [] }
      this.#waiting.set(instance, queue)
    }
    if (!this.#isDue) setImmediate(() => { this.#flush() })
    this.#isDue = true
    const length = Buffer.allocUnsafe(4)
    length.writeUInt32BE(record.length)
    queue.parts.push(length, record)
    queue.bytes += 4 + record.length
    this.#waitingBytes += 4 + record.length
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
    await this.settled()
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

  #flush (): void {
    this.#isDue = false
    for (const instance of this.#waiting.keys()) if (!this.#underWay.has(instance)) void this.#empty(instance)
  }

  /** Sends what waits for an instance, and what has come for it by the time that was answered. */
  async #empty (instance: string): Promise<void> {
    for (let queue; (queue = this.#waiting.get(instance)) !== undefined;) {
      const { parts, bytes, asked } = queue
      this.#waiting.delete(instance)
      this.#waitingBytes -= bytes - this.#head.length
      const answer = this.#publish(instance, Buffer.concat(parts, bytes))
      this.#underWay.set(instance, answer)
      const isHeard = await answer
      for (const tell of asked) tell(isHeard)
      if (isHeard !== true) this.#misses.add(instance)
    }
    this.#underWay.delete(instance)
  }

  /** Never rejects. */
  async #publish (instance: string, batch: Buffer): Promise<Heard> {
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

async function outcomeOf ({ asked }: Outgoing): Promise<Heard> {
  return await new Promise(resolve => { asked.push(resolve) })
}
