import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'
import { Bystanders } from './bystanders.ts'
import type { Lap } from './calls.ts'

const PAIRS = 4
/** How long the pairs are watched alone, and an attack goes on at least, ms. */
const WATCH_MS = 1500
/** What is promised for the event loop is a p99 of less than 100 ms. Tests run beside others, which take their share. */
const LOOP_LIMIT_MS = 500
const PAIRS_LIMIT_MS = 1500
const MIB = 1024 * 1024

/** What the memory of a server is: all of it, and what is in use after a collection, bytes. */
interface Memory { rss: number, live: number }

/** What was met while an attack went on. Times in ms. */
export interface Toll extends Lap { loopP99: number, memory: Memory }

/** A server under attack, and well-behaved pairs on it whose messages nothing may hold up. */
export class Siege {
  readonly server: TurnipProcess
  readonly #bystanders: Bystanders
  #calm: Toll | undefined

  private constructor (server: TurnipProcess, bystanders: Bystanders) {
    this.server = server
    this.#bystanders = bystanders
  }

  /** Starts both, and measures how they are alone. */
  static async open (env: Record<string, string> = {}): Promise<Siege> {
    const preload = new URL('report-memory.js', import.meta.url).href
    const server = await startTurnip({ env: { NODE_OPTIONS: `--import ${preload}`, ...env } })
    try {
      await serving(server)
      const siege = new Siege(server, await Bystanders.open(server.wsUrl, PAIRS))
      siege.#calm = await siege.#measure(async () => { await sleep(WATCH_MS) })
      return siege
    } catch (error) {
      await server.stop('SIGKILL')
      throw error
    }
  }

  get calm (): Toll { return this.#calm ?? assert.fail('not measured') }

  /**
   * Lets an attack happen, and says what it cost. Checks that the event loop turned and that the pairs were served.
   * @param attack resolves when it is over
   * @param repeated whether a short one goes on and on, for as long as the pairs are watched
   */
  async during (t: TestContext, attack: () => Promise<void>, repeated = false): Promise<Toll> {
    const end = performance.now() + WATCH_MS
    const toll = await this.#measure(async () => {
      await attack()
      if (repeated) while (performance.now() < end) await attack()
      await sleep(end - performance.now())
    })
    const { calm } = this
    t.diagnostic(`pairs ${inWords(toll)} (alone ${inWords(calm)}); event loop p99 ${toll.loopP99} ms (${calm.loopP99}); live memory +${this.growth(toll)} MiB; RSS ${Math.round(toll.memory.rss / MIB)} MiB (${Math.round(calm.memory.rss / MIB)})`)
    assert.ok(toll.exchanges > 0, 'the pairs were served')
    assert.ok(toll.loopP99 < Math.max(LOOP_LIMIT_MS, 10 * calm.loopP99), `the event loop was held up for ${toll.loopP99} ms`)
    assert.ok(toll.p99 < Math.max(PAIRS_LIMIT_MS, 10 * calm.p99), `the pairs waited for ${toll.p99} ms`)
    return toll
  }

  /** What more is in use than before all attacks, MiB. */
  growth ({ memory }: { memory: Memory }): number { return Math.round((memory.live - this.calm.memory.live) / MIB * 10) / 10 }

  /** Collects the server's garbage. @returns what is in use then */
  async memory (): Promise<Memory> {
    const { logs } = this.server
    const from = logs.length
    this.server.signal('SIGUSR2')
    let memory: Memory | undefined
    await until('the server says what it holds', async () => {
      const line = logs.slice(from).find(line => line.startsWith('{"memory":'))
      if (line !== undefined) memory = (JSON.parse(line) as { memory: Memory }).memory
      return memory !== undefined
    })
    return memory ?? assert.fail()
  }

  /** The value of one of the server's metrics, by its name and its labels as they are written. */
  async metric (name: string): Promise<number> {
    const text = await (await fetch(`${this.server.metricsUrl ?? ''}/metrics`)).text()
    const line = text.split('\n').find(line => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    return Number(line?.split(' ').at(-1))
  }

  /** Ends all. Checks that no message of a pair was lost or came out of order, and that the server lives and ends well. */
  async close (): Promise<void> {
    try {
      const { sent, ...wrong } = await this.#bystanders.stop()
      assert.ok(sent > 0)
      assert.deepEqual(wrong, { lost: 0, outOfOrder: 0, closed: 0 })
    } finally {
      await this.#bystanders.kill()
      assert.deepEqual(await this.server.stop(), { code: 0, signal: null }, this.server.logs.join('\n'))
    }
  }

  async #measure (action: () => Promise<void>): Promise<Toll> {
    await this.metric('up') // delays of the event loop are kept from one scrape to the next
    await this.#bystanders.lap()
    await action()
    const loopP99 = Math.round(await this.metric('nodejs_eventloop_lag_p99_seconds') * 1000)
    const lap = await this.#bystanders.lap()
    return { ...lap, loopP99, memory: await this.memory() }
  }
}

function inWords ({ p50, p99, max }: Lap): string { return `p50 ${p50}, p99 ${p99}, max ${max} ms` }
