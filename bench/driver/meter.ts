import { setTimeout as sleep } from 'node:timers/promises'
import type { Job, Measure } from './job.ts'
import { cpuUs } from './processes.ts'

/** What a server puts off (timers, records to Redis) is charged to the work that caused it, ms. */
const TAIL_MS = 200

/** Measures a piece of work: what it takes of the servers' time, and how long its messages are on their way. */
export class Meter {
  readonly #pids: Job['pids']
  #latencies: number[] = []

  constructor (pids: Job['pids']) {
    this.#pids = pids
  }

  /** Notes a message that was sent at `sentAt` (performance.now()) and has arrived. */
  arrived (sentAt: number): void {
    this.#latencies.push(performance.now() - sentAt)
  }

  async measure (work: () => Promise<void>, operations: number): Promise<Measure> {
    this.#latencies = []
    await sleep(TAIL_MS)
    const before = { server: cpuUs(this.#pids.server), redis: cpuUs(this.#pids.redis) }
    const start = performance.now()
    await work()
    const seconds = (performance.now() - start) / 1000
    await sleep(TAIL_MS)
    const cpu = { server: (cpuUs(this.#pids.server) - before.server) / operations, redis: (cpuUs(this.#pids.redis) - before.redis) / operations }
    return { operations, seconds, cpuUs: cpu, ...this.#percentiles() }
  }

  #percentiles (): Pick<Measure, 'p50Ms' | 'p99Ms'> {
    const sorted = Float64Array.from(this.#latencies).sort()
    const at = (part: number): number | undefined => sorted[Math.floor((sorted.length - 1) * part)]
    const [p50Ms, p99Ms] = [at(0.5), at(0.99)]
    return p50Ms === undefined || p99Ms === undefined ? {} : { p50Ms, p99Ms }
  }
}
