import { setTimeout as delay } from 'node:timers/promises'
import { Absences } from './absences.ts'
import { Client } from './client.ts'
import { Cluster, REDIS_TIMEOUT_MS } from './cluster.ts'
import { converge, Disagreement, probe } from './convergence.ts'
import { Deliveries } from './deliveries.ts'
import { strike } from './faults.ts'
import { CLIENTS, firstRoomOf, roundOf, type FaultKind, type Round } from './plan.ts'
import { Random } from './random.ts'
import { describeFailure, faultText, Progress, type Failure } from './report.ts'
import type { Fail, Sessions } from './session.ts'
import { now, Troubles } from './troubles.ts'
import { Watcher } from './watcher.ts'

/** Beyond the lease: how long after the last fault all must agree again, ms. */
const CONVERGE_MS = 5000
/** How often somebody says something, ms. */
const SPEAK_EVERY_MS = 15
const SWEEP_EVERY_MS = 250

export interface ChaosOptions {
  readonly seed: number
  readonly minutes: number
  readonly leaseMs: number
  /** The faults to choose from. */
  readonly kinds: readonly FaultKind[]
  /** The built server instead of the sources. */
  readonly built: boolean
  /** How to have the same run again, for the report. */
  readonly again: string
  readonly out: NodeJS.WriteStream
}

/** What a run came to. */
export interface Outcome { readonly failure: string | undefined, readonly summary: string }

/** Plays a whole run. Never rejects for what the cluster does wrong: that is the outcome. */
export async function runChaos (options: ChaosOptions): Promise<Outcome> {
  const cluster = await Cluster.start(options)
  const run = new Run(cluster, options)
  try {
    await run.play()
    return { failure: undefined, summary: run.summary }
  } catch (error) {
    return { failure: await describeFailure(run.failureOf(error), cluster, options.again), summary: run.summary }
  } finally {
    run.end()
    await cluster.end()
  }
}

class Run {
  readonly #cluster: Cluster
  readonly #options: ChaosOptions
  readonly #sessions: Sessions = new Map()
  readonly #troubles = new Troubles()
  readonly #deliveries: Deliveries
  readonly #clients: Client[]
  readonly #watchers: Watcher[]
  readonly #progress: Progress
  readonly #timers: NodeJS.Timeout[]
  readonly #struck = new Map<FaultKind, number>()
  readonly #comebacks = { here: 0, elsewhere: 0, anew: 0 }
  #failure: Failure | undefined
  #failed: (error: Error) => void = () => {}
  #round: Round | undefined
  #roundBegan = now()
  #rooms = 0
  #said = 0
  #rounds = 0
  #slowest = 0

  constructor (cluster: Cluster, options: ChaosOptions) {
    const { seed, out } = options
    this.#cluster = cluster
    this.#options = options
    const fail: Fail = (what, ...sessions) => { this.#fail(what, sessions) }
    const troubles = this.#troubles
    const absences = new Absences(this.#sessions, troubles, fail)
    const deliveries = this.#deliveries = new Deliveries(troubles, fail)
    const urls = cluster.instances.map(({ url }) => url)
    this.#watchers = urls.map((url, index) => new Watcher(index, url, troubles, absences, fail))
    this.#clients = Array.from({ length: CLIENTS }, (_, index) =>
      new Client(index, firstRoomOf(seed, index), new Random(seed, 'client', index), { urls, sessions: this.#sessions, troubles, deliveries, absences, comebacks: this.#comebacks, fail }))
    this.#progress = new Progress(out, () => ({
      round: this.#rounds, faults: this.#round?.faults.map(faultText).join(', ') ?? 'none', clients: this.#sessions.size, rooms: this.#rooms, said: this.#said, delivered: deliveries.demanded, announcements: this.#watchers.reduce((sum, watcher) => sum + watcher.announcements, 0)
    }))
    const talk = new Random(seed, 'talk')
    this.#timers = [
      setInterval(() => {
        talk.pick(this.#clients).speak(talk)
        this.#said++
      }, SPEAK_EVERY_MS),
      setInterval(() => {
        deliveries.sweep()
        absences.sweep()
        for (const client of this.#clients) client.checkAnswers(REDIS_TIMEOUT_MS)
        for (const { index, findings } of this.#findings()) fail(`instance ${index} logged ${findings.join('\n')}`)
      }, SWEEP_EVERY_MS)
    ]
  }

  get summary (): string {
    const faults = Array.from(this.#struck, ([kind, times]) => `${times} ${kind}`).join(', ')
    const { here, elsewhere, anew } = this.#comebacks
    return `${this.#rounds} rounds (${faults || 'no faults'}); ${this.#said} messages, ${this.#deliveries.demanded} deliveries checked; sessions gone on with: ${here} here, ${elsewhere} elsewhere, ${anew} in vain; the slowest convergence took ${this.#slowest.toFixed(0)} ms`
  }

  async play (): Promise<void> {
    const { seed, minutes, leaseMs, kinds } = this.#options
    const end = now() + minutes * 60_000
    await this.#orFail(this.#settle('start'))
    for (let index = 0; now() < end; index++) await this.#orFail(this.#playRound(roundOf(seed, index, leaseMs, kinds)))
    this.#round = undefined
    await this.#orFail(this.#finish())
  }

  end (): void {
    for (const timer of this.#timers) clearInterval(timer)
    this.#progress.end()
    for (const client of this.#clients) client.finish(true)
    for (const watcher of this.#watchers) watcher.end()
  }

  /** @param error what ended the run: a check that failed, or anything else */
  failureOf (error: unknown): Failure {
    if (this.#failure === undefined) this.#fail(error instanceof Error ? error.message : String(error), error instanceof Disagreement ? error.sessions.slice(0, 3) : [])
    return this.#failure ?? { what: String(error), sessions: [], at: now(), round: undefined, roundBegan: 0 }
  }

  async #playRound (round: Round): Promise<void> {
    this.#round = round
    this.#rounds++
    this.#roundBegan = now()
    const faults = round.faults.map(async fault => {
      await delay(fault.at)
      this.#struck.set(fault.kind, (this.#struck.get(fault.kind) ?? 0) + 1)
      this.#troubles.begin(fault)
      await strike(this.#cluster, fault)
    })
    const actions = round.actions.map(async ({ at, who, ...doing }) => {
      await delay(at)
      if (this.#failure === undefined) this.#clients[who]?.act(doing)
    })
    await Promise.all(faults)
    const healedAt = now()
    await Promise.all(actions)
    await this.#settle(String(round.index), healedAt)
  }

  /** Nobody moves now: waits until all agree and serve. The trouble is over then. */
  async #settle (name: string, healedAt = now()): Promise<void> {
    const parties = { cluster: this.#cluster, clients: this.#clients, watchers: this.#watchers, sessions: this.#sessions }
    const rooms = await converge(parties, healedAt + this.#options.leaseMs + CONVERGE_MS)
    this.#slowest = Math.max(this.#slowest, now() - healedAt)
    await probe(parties, name)
    this.#rooms = rooms.size
    for (const watcher of this.#watchers) watcher.settle(rooms)
    this.#troubles.end()
  }

  /** All leave; nothing may stay but what is there to end by itself. */
  async #finish (): Promise<void> {
    for (const [index, client] of this.#clients.entries()) client.finish(index % 2 === 0)
    await this.#untilKeys('all have left', /:tombstone:|:\{cluster\}:/)
    await this.#untilLeases()
    await this.#untilEnds()
    this.end()
    await Promise.all(this.#cluster.instances.map(instance => instance.stop()))
    const [found] = this.#findings()
    if (found !== undefined) throw new Error(`instance ${found.index} logged ${found.findings.join('\n')}`)
    await this.#untilKeys('all instances have ended', /:tombstone:|:\{cluster\}:generation$/)
    const { lasting } = await this.#cluster.keys()
    if (lasting.length > 0) throw new Error(`all instances have ended, and these keys have no time to live: ${lasting.join()}`)
  }

  #findings (): Array<{ index: number, findings: string[] }> {
    return this.#cluster.instances.map(instance => ({ index: instance.index, findings: instance.findings() })).filter(({ findings }) => findings.length > 0)
  }

  async #untilKeys (when: string, allowed: RegExp): Promise<void> {
    const deadline = now() + this.#options.leaseMs + CONVERGE_MS
    for (;;) {
      const surplus = (await this.#cluster.rooms.keys()).filter(key => !allowed.test(key))
      if (surplus.length === 0) return
      if (now() > deadline) throw new Error(`${when}, and Redis still holds ${surplus.join()}`)
      await delay(50)
    }
  }

  /** Waits until watchers know that no room is left: keys are gone before the word of it is there. */
  async #untilEnds (): Promise<void> {
    const deadline = now() + CONVERGE_MS
    for (const watcher of this.#watchers) {
      for (let alive = watcher.differences(new Set()); alive.length > 0; alive = watcher.differences(new Set())) {
        if (now() > deadline) throw new Error(`all have left, and the watcher of instance ${watcher.instance} was not told that these have ended: ${alive.join()}`)
        await delay(50)
      }
    }
  }

  /** Waits until leases that have ended are reaped. Whoever does it may have lost its own a moment ago, and waits for as long as one runs. */
  async #untilLeases (): Promise<void> {
    const { instances, redis } = this.#cluster
    const deadline = now() + 2 * this.#options.leaseMs + CONVERGE_MS
    for (;;) {
      const key = (await this.#cluster.keys()).all.find(key => key.endsWith(':{cluster}:instances')) ?? ''
      const leases = await redis.zrange(key, '0', '-1')
      if (leases.length === instances.length) return
      if (now() > deadline) throw new Error(`all have left, and Redis holds ${leases.length} leases for ${instances.length} instances: ${leases.join()}`)
      await delay(50)
    }
  }

  /** Waits, but no longer than until a check fails. */
  async #orFail (work: Promise<void>): Promise<void> {
    await Promise.race([work, new Promise<never>((_resolve, reject) => {
      this.#failed = reject
      if (this.#failure !== undefined) reject(new Error(this.#failure.what))
    })])
  }

  #fail (what: string, sessions: Failure['sessions']): void {
    if (this.#failure !== undefined) return
    this.#failure = { what, sessions, at: now(), round: this.#round, roundBegan: this.#roundBegan }
    this.#failed(new Error(what))
  }
}
