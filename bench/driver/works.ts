import { setTimeout as sleep } from 'node:timers/promises'
import { protocols } from '../protocols/index.ts'
import { Connection, openAll } from './connection.ts'
import { createExchange, MESSAGES, type Pair } from './exchange.ts'
import { createFanOut } from './fan-out.ts'
import type { Idle, Job, Measure, Work } from './job.ts'
import { Meter } from './meter.ts'
import { filler } from './payloads.ts'
import { residentKb } from './processes.ts'

/** Instances tell each other who has come, and subscribe: until this has passed, messages may get lost on the way, ms. */
const SETTLE_MS = 1000

type WorkOf<Kind extends Work['kind']> = Extract<Work, { kind: Kind }>

/** One job under way: its connections, and the works they do. */
export class Session {
  readonly #job: Job
  readonly #meter: Meter
  readonly #connections: Connection[] = []
  /** @param error the first connection that was lost */
  onLost: (error: Error) => void = () => {}

  constructor (job: Job) {
    this.#job = job
    this.#meter = new Meter(job.pids)
  }

  async run (): Promise<Measure> {
    const { work } = this.#job
    switch (work.kind) {
      case 'exchange': return await this.#exchange(work)
      case 'fan-out': return await this.#fanOut(work)
      case 'full': return await this.#full(work)
      case 'memory': return await this.#memory(work)
    }
  }

  async end (): Promise<void> {
    await Promise.all(this.#connections.map(connection => connection.close()))
  }

  /** Leaves nothing open, whatever happened. */
  abort (): void {
    for (const connection of this.#connections) connection.destroy()
  }

  async #exchange ({ pairs, rounds, warmUp, idle }: WorkOf<'exchange'>): Promise<Measure> {
    await this.#standBy(idle)
    const all = Array.from({ length: pairs }, (_, i) => this.#pair(`x${i}`, i))
    await openAll(all.flatMap(({ caller, callee }) => [caller, callee]))
    await this.#settle()
    const exchanges = all.map(pair => createExchange(pair, this.#meter))
    const run = async (times: number): Promise<void> => {
      for (let i = 0; i < times; i++) await Promise.all(exchanges.map(exchange => exchange()))
    }
    await run(warmUp)
    return await this.#meter.measure(() => run(rounds), pairs * rounds * MESSAGES)
  }

  async #fanOut ({ rooms, size, messages, warmUp, bytes, idle }: WorkOf<'fan-out'>): Promise<Measure> {
    await this.#standBy(idle)
    const all = Array.from({ length: rooms }, (_, room) => Array.from({ length: size }, (_, i) => this.#connection(`f${room}-${i}`, `f${room}`, i)))
    await openAll(all.flat())
    await this.#settle()
    const fanOuts = all.map(members => createFanOut(members, filler(bytes), this.#meter))
    const run = async (times: number): Promise<void> => { await Promise.all(fanOuts.map(fanOut => fanOut(times))) }
    await run(warmUp)
    return await this.#meter.measure(() => run(messages), rooms * messages * (size - 1))
  }

  async #full ({ calls, warmUp, atOnce }: WorkOf<'full'>): Promise<Measure> {
    let made = 0
    const call = async (): Promise<void> => {
      const pair = this.#pair(`c${made++}`, 0)
      const both = [pair.caller, pair.callee]
      await openAll(both)
      await createExchange(pair, this.#meter)()
      await Promise.all(both.map(connection => connection.close()))
    }
    const run = async (until: number): Promise<void> => {
      const callOn = async (): Promise<void> => {
        if (made === until) return
        await call()
        await callOn()
      }
      await Promise.all(Array.from({ length: atOnce }, callOn))
      this.#connections.length = 0
    }
    await run(warmUp)
    return await this.#meter.measure(() => run(warmUp + calls), calls)
  }

  async #memory ({ before, connections, restMs }: WorkOf<'memory'>): Promise<Measure> {
    const { server } = this.#job.pids
    await this.#standBy({ connections: before, roomSize: 2 })
    await sleep(restMs)
    const kb = residentKb(server)
    const measure = await this.#meter.measure(async () => {
      await this.#standBy({ connections, roomSize: 2 })
      await sleep(restMs)
    }, connections)
    return { ...measure, kb: (residentKb(server) - kb) / connections }
  }

  async #settle (): Promise<void> {
    if (this.#job.ports.length > 1) await sleep(SETTLE_MS)
  }

  async #standBy ({ connections, roomSize }: Idle): Promise<void> {
    const start = this.#connections.length
    await openAll(Array.from({ length: connections }, (_, i) => this.#connection(`i${start + i}`, `i${start + Math.floor(i / roomSize)}`, i)))
  }

  /** A pair in a room of its own, on two instances where there are several. */
  #pair (name: string, number: number): Pair {
    return { caller: this.#connection(`${name}a`, name, number), callee: this.#connection(`${name}b`, name, number + 1) }
  }

  #connection (id: string, room: string, number: number): Connection {
    const { protocol, ports } = this.#job
    const port = ports[number % ports.length]
    if (port === undefined) throw new Error('a job names the port of one instance or more')
    const connection = new Connection(protocols[protocol], port, id, room)
    connection.onLost = error => { this.onLost(error) }
    this.#connections.push(connection)
    return connection
  }
}
