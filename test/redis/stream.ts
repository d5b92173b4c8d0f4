import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { Client } from '../harness/client.ts'
import { heardUntil } from '../protocol/scene.ts'

const EVERY_MS = 5

/** Numbered messages from one member to another, until it is ended. */
export class Stream {
  readonly #from: Client
  readonly #to: Client
  readonly #name = randomUUID()
  readonly #timer: NodeJS.Timeout
  #sent = 0

  constructor (from: Client, to: Client) {
    this.#from = from
    this.#to = to
    this.#timer = setInterval(() => { this.#send() }, EVERY_MS)
  }

  /** Checks that what arrived came in order and once, the last of it too. @returns how many were sent, and which were lost */
  async end (): Promise<{ sent: number, lost: number[] }> {
    clearInterval(this.#timer)
    await heardUntil(this.#to, this.#from)
    this.#send()
    await heardUntil(this.#to, this.#from)
    const arrived = this.#to.all('data').map(({ data }) => data as { stream?: string, n: number }).filter(({ stream }) => stream === this.#name).map(({ n }) => n)
    assert.deepEqual(arrived, [...new Set(arrived)].sort((a, b) => a - b), 'in order, and once')
    assert.equal(arrived.at(-1), this.#sent)
    const there = new Set(arrived)
    return { sent: this.#sent, lost: Array.from({ length: this.#sent }, (_, i) => i + 1).filter(n => !there.has(n)) }
  }

  #send (): void {
    this.#from.send({ type: 'data', to: this.#to.id, data: { stream: this.#name, n: ++this.#sent } })
  }
}
