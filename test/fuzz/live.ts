/** Hostile clients against two real instances on a real Redis, while others go on as if nothing were the matter. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Redis } from 'ioredis'
import { Random } from '../chaos/random.ts'
import { RedisRooms } from '../harness/redis-rooms.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'
import { Listener, Pair } from './bystanders.ts'
import { HostileCases, LOUD_ROOM, QUIET_ROOM, type HostileCase } from './hostile-case.ts'
import { playCase } from './hostile-client.ts'
import { figuresOf, findingsOf, loopDelayOf, type Figures } from './instance-figures.ts'
import { batchBytes } from './properties.ts'

/** Cases that are played at a time. */
const AT_ONCE = 100
/** One of so many cases comes with bytes that somebody publishes in Redis. */
const PUBLISH_EVERY = 5
const BATCHES = 500
/** So much of a case is shown when it fails, characters. */
const SHOWN = 20_000
/** What an instance says of records that are none: there is an error, and it is not ours. */
const REFUSED_RECORD = /^(a record from another instance|an announcement in the lobby) could not be handled$/
/** A client that answers no ping is gone after seven seconds; those that do so come from this process, which is busy. */
const env = { PING_INTERVAL_MS: '1000', PONG_TIMEOUT_MS: '5000' }

export interface LiveOptions {
  readonly seed: number
  /** Number of the first case, and how many there are. */
  readonly first: number
  readonly cases: number
  readonly built?: boolean
  /** Told how many cases are done. */
  readonly onProgress?: (done: number) => void
}

/** What a run came to. Never rejects for what the instances do wrong: that is the failure. */
export interface Outcome { readonly failure: string | undefined, readonly summary: string }

export async function runLive (options: LiveOptions): Promise<Outcome> {
  const redis = await startRedisServer()
  const instances: TurnipProcess[] = []
  try {
    for (let i = 0; i < 2; i++) instances.push(await startTurnip({ built: options.built ?? false, env: { ...env, REDIS_URL: redis.url, INSTANCE_ID: `fuzz-${i}` } }))
    for (const instance of instances) await serving(instance)
    return await new Run(redis, instances, options).play()
  } finally {
    await Promise.all(instances.map(instance => instance.stop('SIGKILL')))
    await redis.kill()
  }
}

class Run {
  readonly #options: LiveOptions
  readonly #instances: readonly TurnipProcess[]
  readonly #rooms: RedisRooms
  readonly #store: Redis
  readonly #cases: HostileCases
  readonly #underWay = new Map<number, HostileCase>()
  readonly #tally = new Map<string, number>()
  #failure: string | undefined
  #done = 0

  constructor (redis: RedisServer, instances: readonly TurnipProcess[], options: LiveOptions) {
    this.#options = options
    this.#instances = instances
    this.#rooms = new RedisRooms(redis.url)
    this.#store = new Redis(redis.url)
    this.#cases = new HostileCases(options.seed, instances.length)
    for (const [i, { exited }] of instances.entries()) void exited.then(exit => { this.#fail(`instance ${i} ended: ${JSON.stringify(exit)}`) })
  }

  async play (): Promise<Outcome> {
    const start = performance.now()
    const fail = (error: unknown): void => { this.#fail(String(error)) }
    const urls = this.#instances.map(({ wsUrl }) => wsUrl)
    let roundTrips: number[] = []
    let before: Figures[] = []
    let delays: Array<{ p99: number, max: number }> = []
    try {
      const pair = await Pair.open(urls)
      const listener = await Listener.open(urls[0] ?? '', fail)
      before = await this.#settled()
      await Promise.all(this.#instances.map(loopDelayOf)) // from now on
      pair.talk(fail)
      const { first, cases } = this.#options
      let next = first
      await Promise.all(Array.from({ length: AT_ONCE }, async () => {
        while (next < first + cases && this.#failure === undefined) await this.#play(this.#cases.case(next++))
      }))
      delays = await Promise.all(this.#instances.map(loopDelayOf))
      if (this.#failure === undefined) await this.#settled(before)
      await pair.end()
      listener.end()
      roundTrips = pair.roundTrips.toSorted((a, b) => a - b)
    } catch (error) {
      fail(error)
    }
    await this.#rooms.close()
    this.#store.disconnect()
    const at = (share: number): string => (roundTrips[Math.min(roundTrips.length - 1, Math.floor(roundTrips.length * share))] ?? NaN).toFixed(0)
    const tally = Array.from(this.#tally).toSorted(([, a], [, b]) => b - a).map(([result, times]) => `${times} ${result}`).join(', ')
    const summary = `${this.#done} cases in ${((performance.now() - start) / 1000).toFixed(0)} s: ${tally}. Meanwhile ${roundTrips.length} messages went there and back in p50 ${at(0.5)}, p99 ${at(0.99)}, at most ${at(1)} ms; ` +
      `the event loops' delay was ${delays.map(({ p99, max }) => `p99 ${p99}, at most ${max} ms`).join(' and ')}. ` +
      `Before and after: ${before.map(({ connections, rooms, descriptors }) => `${connections} connections, ${rooms} rooms, ${descriptors} file descriptors`).join('; ')}`
    return { failure: this.#failure, summary }
  }

  async #play (hostile: HostileCase): Promise<void> {
    const { index, instance } = hostile
    this.#underWay.set(index, hostile)
    try {
      if (index % PUBLISH_EVERY === 0) await this.#publish(index)
      const result = await playCase(hostile, this.#instances[instance]?.url ?? '')
      this.#tally.set(result, (this.#tally.get(result) ?? 0) + 1)
    } catch (error) {
      this.#fail(`case ${index}: ${(error as Error).message}`, [hostile])
    }
    if (this.#instances.some(({ logs }) => findingsOf(logs.splice(0), REFUSED_RECORD).some(line => this.#fail(`an instance has logged ${line}`)))) return
    this.#underWay.delete(index)
    this.#done++
    this.#options.onProgress?.(this.#done)
  }

  /** Bytes for the inboxes and the lobby from somebody who may publish. */
  async #publish (index: number): Promise<void> {
    const random = new Random(this.#options.seed, 'publish', index)
    const channels = await this.#store.pubsub('CHANNELS', 'turnip:*') as string[]
    await this.#store.publish(random.pick([...channels.toSorted(), 'turnip:development:0:lobby']), random.pick(this.#batches))
  }

  readonly #batches: readonly Buffer[] = fc.sample(batchBytes, { seed: 1, numRuns: BATCHES })

  /** Waits until hostile clients are gone and have left nothing. @param before what there was without them */
  async #settled (before?: readonly Figures[]): Promise<Figures[]> {
    let figures: Figures[] = []
    let keys: string[] = []
    await until('the instances hold what they held before', async () => {
      figures = await Promise.all(this.#instances.map(figuresOf))
      keys = [...(await this.#rooms.all()).keys()].toSorted()
      const own = figures.reduce((sum, { connections }) => sum + connections, 0) === 3 && keys.join() === [LOUD_ROOM, QUIET_ROOM].toSorted().join()
      return own && (before === undefined || figures.every(({ descriptors, rooms }, i) => descriptors <= (before[i]?.descriptors ?? 0) && rooms === before[i]?.rooms))
    }).catch((error: unknown) => { throw new Error(`${String(error)}: ${JSON.stringify({ before, figures, keys })}`) })
    assert.equal(this.#failure, undefined)
    return figures
  }

  /** Keeps the first failure, with the cases that may have brought it about. @returns true */
  #fail (what: string, cases: readonly HostileCase[] = [...this.#underWay.values()]): true {
    const { seed, first } = this.#options
    const numbers = cases.map(({ index }) => index)
    const from = Math.min(...numbers, first + this.#done)
    const [only] = cases.length === 1 ? cases : []
    this.#failure ??= [
      `FAILED (seed ${seed}): ${what}`,
      only === undefined
        ? `Under way were the cases ${numbers.join(', ')}.`
        : `Case ${only.index}, to instance ${only.instance}, then ${only.ending}; each write: ${only.chunks.map(chunk => JSON.stringify(chunk.toString('latin1'))).join(' ').slice(0, SHOWN)}`,
      `The same again: npm run fuzz -- ${Math.max(...numbers, from) - from + 1} ${seed} ${from}`
    ].join('\n')
    return true
  }
}
