import { INBOX_QUEUE_BYTES, type Broker, type BrokerHandlers, type BrokerTraffic } from './broker.ts'
import type { LobbyEvent } from './lobby-event.ts'

/** Where memory brokers meet: the inboxes and the lobby of one process. With `memory:` an app is alone in its own. */
export class MemoryExchange {
  readonly inboxes = new Map<string, (record: Buffer, origin: string) => void>()
  readonly lobby = new Set<(event: LobbyEvent) => void>()

  announce (event: LobbyEvent): void {
    for (const hear of this.lobby) hear(event)
  }
}

/** A broker for instances that share a process: records are handed over at the end of the turn, and none is lost. */
export class MemoryBroker implements Broker {
  readonly nonce: string
  readonly traffic: BrokerTraffic = { publishes: 0, bytes: 0 }
  readonly #exchange: MemoryExchange
  #handlers: BrokerHandlers | undefined
  readonly #log: { error (context: object, message: string): void }
  #queues = new Map<string, { records: Buffer[], bytes: number }>()

  constructor (nonce: string, exchange: MemoryExchange, log: { error (context: object, message: string): void }) {
    this.nonce = nonce
    this.#exchange = exchange
    this.#log = log
  }

  async open (handlers: BrokerHandlers): Promise<void> {
    this.#handlers = handlers
    this.#exchange.inboxes.set(this.nonce, handlers.onRecord)
  }

  send (instance: string, record: Buffer, vital = false): boolean {
    if (!this.#exchange.inboxes.has(instance)) return false
    let queue = this.#queues.get(instance)
    if (queue === undefined) {
      if (this.#queues.size === 0) setImmediate(() => { this.#flush() })
      queue = { records: [], bytes: 0 }
      this.#queues.set(instance, queue)
    }
    if (queue.bytes + record.length > (vital ? 2 * INBOX_QUEUE_BYTES : INBOX_QUEUE_BYTES)) return false
    queue.records.push(record)
    queue.bytes += record.length
    return true
  }

  async ask (instance: string, record: Buffer): Promise<boolean> {
    return this.send(instance, record)
  }

  async settled (): Promise<void> {
    this.#flush()
  }

  async hearLobby (on: boolean): Promise<void> {
    const hear = this.#handlers?.onLobby
    if (hear === undefined) return
    if (on) this.#exchange.lobby.add(hear)
    else this.#exchange.lobby.delete(hear)
  }

  async close (): Promise<void> {
    this.#flush()
    this.#exchange.inboxes.delete(this.nonce)
    await this.hearLobby(false)
  }

  #flush (): void {
    const queues = this.#queues
    this.#queues = new Map()
    for (const [instance, { records, bytes }] of queues) {
      this.traffic.publishes++
      this.traffic.bytes += bytes
      for (const record of records) {
        try {
          this.#exchange.inboxes.get(instance)?.(record, this.nonce)
        } catch (error) {
          this.#log.error({ err: error }, 'a record from another instance could not be handled')
        }
      }
    }
  }
}
