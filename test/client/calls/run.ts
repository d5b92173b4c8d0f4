import { setTimeout as delay } from 'node:timers/promises'
import { startBrowser } from '../../browser/demo-page.ts'
import { Cluster } from '../../chaos/cluster.ts'
import { Random } from '../../chaos/random.ts'
import { Balancer } from './balancer.ts'
import { Call, type Outcome, type Places } from './call.ts'
import { Pages } from './pages.ts'
import { drops, nameOf, type Job, type Kind, type Point, type Wave } from './plan.ts'
import { Tally } from './tally.ts'

const INSTANCES = 3
/** How long the first call of a wave that has come to its point may wait for the others, ms. Those that come too late have another try. */
const HOLD_MS = 1000
/** Between two calls that are not held together, ms: what is measured is the way back, not a queue for the processor. */
const STAGGER_MS = 150
/** How often a point that no fault has struck is tried again. */
const TRIES = 2
/** What was let through arrives meanwhile, ms. */
const ARRIVAL_MS = 50
/** After this time nothing more is said over a new call's sockets, ms. */
const CALM_MS = 2500
/** How long an instance has no way to Redis, ms. */
const CUT_MS = 2500
/** A killed instance is started again after this time, ms. */
const AWAY_MS = 1000
/** Calls that run on through the faults of the next wave, and are looked at then. */
const RUNNING = 8

export interface RunOptions {
  readonly seed: number
  readonly leaseMs: number
  /** What a call may take from its beginning, faults and all. */
  readonly limitMs: number
  readonly built: boolean
  /** What is to happen, once the points are known. */
  readonly plan: (points: readonly Point[]) => Iterable<Wave>
  readonly tell: (line: string) => void
}

/** Sets up calls between pages while faults strike. @returns what came of them */
export async function runCalls ({ seed, leaseMs, limitMs, built, plan, tell }: RunOptions): Promise<Tally> {
  const tally = new Tally(limitMs)
  const browser = await startBrowser()
  try {
    const cluster = await Cluster.start({ leaseMs, built })
    try {
      const pages = await Pages.open(browser, 4)
      const run = await Run.open(cluster, pages, tally, seed)
      try {
        const points = await run.points()
        const go = async (wave: Wave): Promise<void> => { tell(`${wave.kind} ${wave.victim}: ${await run.wave(wave)}`) }
        for (const wave of plan(points)) await go(wave)
        const missed = (): Point[] => points.filter(point => !tally.points.has(nameOf(point)))
        for (let i = 0; i < TRIES && missed().length > 0; i++) await go(drops(missed()))
        await delay(CALM_MS) // the last ones are to have run for a while, too
        await run.endRunning()
        tally.missed = missed().map(nameOf)
      } finally {
        run.close()
        await pages.close()
      }
      tally.problems.push(...pages.problems, ...cluster.instances.flatMap(instance => instance.findings()))
    } finally {
      await cluster.end()
    }
  } finally {
    await browser.close()
  }
  return tally
}

/** A call that runs, and what had happened to it when it began to. */
interface Running { readonly call: Call, readonly outcome: Outcome }

class Run {
  readonly #cluster: Cluster
  readonly #pages: Pages
  readonly #tally: Tally
  readonly #random: Random
  readonly #balancer: Balancer
  /** Those that are not closed, by the names of their sides. */
  readonly #calls: Map<string, Call>
  #running: Running[] = []
  #count = 0

  private constructor (cluster: Cluster, pages: Pages, tally: Tally, seed: number, balancer: Balancer, calls: Map<string, Call>) {
    this.#cluster = cluster
    this.#pages = pages
    this.#tally = tally
    this.#random = new Random(seed, 'run')
    this.#balancer = balancer
    this.#calls = calls
  }

  static async open (cluster: Cluster, pages: Pages, tally: Tally, seed: number): Promise<Run> {
    const calls = new Map<string, Call>()
    const balancer = new Balancer({
      instances: () => cluster.instances.map(({ url }) => Number(new URL(url).port)),
      place: user => calls.get(user)?.place(user) ?? 0,
      passes: (line, direction, passing) => { calls.get(line.user)?.passes(line, direction, passing) }
    })
    await balancer.open()
    return new Run(cluster, pages, tally, seed, balancer, calls)
  }

  close (): void { this.#balancer.close() }

  /** Sets up calls that nothing happens to. @returns what passes, in its order */
  async points (): Promise<Point[]> {
    const points = await Promise.all((['first', 'second'] as const).map(async larger => {
      const call = this.#open({ point: undefined, larger, moment: 'before', whom: 'self', returns: 'same' }, 'drop', 0)
      this.#tally.add(await call.run(await this.#balancer.address()))
      await delay(CALM_MS)
      const passed = [...call.passed]
      await this.#close(call) // whose last words are no point
      return passed
    }))
    return points.flat()
  }

  /** @returns how it went, in a line */
  async wave ({ kind, victim, jobs }: Wave): Promise<string> {
    const start = Date.now()
    const calls = jobs.map(job => this.#open(job, kind, victim))
    const lastMs = Math.max(...jobs.map(({ point }) => point?.atMs ?? 0))
    const outcomes = calls.map(async (call, i) => {
      // All of those that one fault hits come to their points at about the same time.
      await delay(kind === 'drop' ? STAGGER_MS * i : lastMs - (call.job.point?.atMs ?? 0))
      return await call.run(await this.#balancer.address())
    })
    let struck: { healed: Promise<void> } | undefined
    if (kind === 'drop') {
      for (const call of calls) void call.reached.then(async () => { await delay(ARRIVAL_MS); call.strike() })
    } else {
      await Promise.race(calls.map(async call => { await call.reached }))
      await Promise.race([Promise.all(calls.map(async call => { await call.reached })), delay(HOLD_MS)])
      struck = await this.#strike(kind, victim, calls)
      struck.healed.catch(() => {}) // looked at when the calls are there
    }
    const found = await Promise.all(outcomes)
    for (const outcome of found) this.#tally.add(outcome)
    const missed = calls.filter(call => call.hasMissed)
    await struck?.healed.catch((error: unknown) => { this.#tally.problems.push(String(error)) })
    await this.endRunning()
    const running = calls.flatMap((call, i) => found[i] === undefined ? [] : [{ call, outcome: found[i] }])
    // Those first that were connected when the fault struck them: what it did to them is not known yet.
    running.sort((a, b) => (a.outcome.afterMs ?? 0) - (b.outcome.afterMs ?? 0))
    this.#running = running.splice(0, RUNNING)
    await Promise.all(running.map(async ({ call }) => { await this.#close(call) }))
    return `${calls.length} calls, ${missed.length} missed their point, slowest ${Math.max(...found.map(({ ms }) => ms ?? Infinity))} ms, over after ${Date.now() - start} ms`
  }

  /** @returns when it has struck; what it returns is done when it is healed */
  async #strike (kind: Kind, victim: number, calls: Call[]): Promise<{ healed: Promise<void> }> {
    const instance = this.#cluster.instance(victim)
    await delay(ARRIVAL_MS)
    const strikeAll = (): void => { for (const call of calls) call.strike() }
    if (kind === 'kill') {
      await instance.kill()
      strikeAll()
      return { healed: delay(AWAY_MS).then(async () => { await instance.start() }) }
    }
    if (kind === 'drain') {
      const stopped = instance.stop()
      strikeAll()
      return { healed: stopped.then(async () => { await instance.start() }) }
    }
    await instance.link.cut()
    strikeAll()
    return { healed: delay(CUT_MS).then(async () => { await instance.link.heal() }) }
  }

  #open (job: Job, kind: Kind, victim: number): Call {
    const name = `${++this.#count}`
    const call = new Call({ name, job, kind, places: placesOf(job, kind, victim), pages: this.#pages, random: () => this.#random.next() })
    for (const side of call.sides) this.#calls.set(side.name, call)
    return call
  }

  async #close (call: Call): Promise<void> {
    await call.close()
    for (const side of call.sides) this.#calls.delete(side.name)
  }

  /** Looks at the calls that have run through the last wave, and ends them. */
  async endRunning (): Promise<void> {
    await Promise.all(this.#running.splice(0).map(async ({ call, outcome }) => {
      this.#tally.ran(outcome, await Promise.all(call.sides.map(async side => await side.account())))
      await this.#close(call)
    }))
  }
}

/** Whoever is to be hit is at the victim, and goes to where the other side is, or to neither. */
function placesOf ({ whom, returns }: Job, kind: Kind, victim: number): Record<'self' | 'other', Places> {
  const [hit, next, third] = [0, 1, 2].map(step => (victim + step) % INSTANCES) as [number, number, number]
  const then = kind === 'drop' || kind === 'cut'
    ? returns === 'same' ? hit : third
    : returns === 'same' ? next : third
  const place = (isHit: boolean): Places => isHit ? { first: hit, then } : { first: next, then: next }
  return { self: place(whom !== 'other'), other: place(whom !== 'self') }
}
