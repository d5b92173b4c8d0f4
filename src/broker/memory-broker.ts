import type { Broker, BrokerHandlers } from './broker.ts'
import type { LobbyEvent } from './lobby-event.ts'

/** Where memory brokers meet: the inboxes and the lobby of one process. With `memory:` an app is alone in its own. */
export class MemoryExchange {
  readonly inboxes = new Map<string, (record: Buffer) => void>()
  readonly lobby = new Set<(event: LobbyEvent) => void>()

  announce (event: LobbyEvent): void {
    for (const hear of this.lobby) hear(event)
  }
}

/** A broker for instances that share a process: records are handed over at the end of the turn, and none is lost. */
export class MemoryBroker implements Broker {
  readonly nonce: string
  readonly #exchange: MemoryExchange
  #handlers: BrokerHandlers | undefined
  #queue: Array<readonly [string, Buffer]> = []

  constructor (nonce: string, exchange: MemoryExchange) {
    this.nonce = nonce
    this.#exchange = exchange
  }

  async open (handlers: BrokerHandlers): Promise<void> {
    this.#handlers = handlers
    this.#exchange.inboxes.set(this.nonce, handlers.onRecord)
  }

  send (instance: string, record: Buffer): boolean {
    if (!this.#exchange.inboxes.has(instance)) return false
    if (this.#queue.push([instance, record]) === 1) setImmediate(() => { this.#flush() })
    return true
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
    const queue = this.#queue
    this.#queue = []
    for (const [instance, record] of queue) this.#exchange.inboxes.get(instance)?.(record)
  }
}
