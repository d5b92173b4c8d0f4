import { setTimeout as delay } from 'node:timers/promises'
import type { Direction, Line, Passing } from './line.ts'
import type { Account } from './callers.ts'
import type { Pages, Side } from './pages.ts'
import { nameOf, textOf, type Job, type Kind, type Point, type SideName } from './plan.ts'

/** A call that is not there after this time never comes, ms. */
const GIVE_UP_MS = 30_000
/** A point that has not come this long after the call has connected does not come: an answer carried the ack. */
const NO_POINT_MS = 2500
/** What is no point. */
const TCP = 'candidate for TCP'
/** A fault that strikes at any time does so up to this long after the call has begun, ms. */
const STRAY_MS = 1200

export interface Outcome {
  readonly what: string
  readonly kind: Kind
  /** Where the fault struck; undefined: somewhere. */
  readonly point: string | undefined
  /** From the beginning until both sides have heard each other, without the time that the test held it; undefined: they have not. */
  readonly ms: number | undefined
  /** What the library has refused to do. */
  readonly error: unknown
  /** From the fault on, where it came before that. */
  readonly afterMs: number | undefined
  /** Of both sides, then. */
  readonly accounts: Account[]
  /** What the test did, and what it saw on its wires. */
  readonly trace: readonly string[]
}

/** The instances that a side goes to before and after the fault. */
export interface Places { readonly first: number, readonly then: number }

export interface CallOptions {
  readonly name: string
  readonly job: Job
  readonly kind: Kind
  readonly places: Record<'self' | 'other', Places>
  readonly pages: Pages
  readonly random: () => number
}

/** One call between two pages, held at a point of its set-up until its fault has struck. */
export class Call {
  readonly what: string
  /** The side of the point, and the other one. */
  readonly self: Side
  readonly other: Side
  readonly #options: CallOptions
  readonly #candidates: Record<string, string[]> = {}
  /** All points that have passed, of a call that nothing has happened to. */
  readonly passed: Point[] = []
  readonly #lines = new Set<Line>()
  readonly #trace: string[] = []
  #isArmed: boolean
  #start = 0
  #reachedAt: number | undefined
  #struckAt: number | undefined
  #onReached: () => void = () => {}
  /** The point has come, or never will. */
  readonly reached: Promise<void>

  constructor (options: CallOptions) {
    this.#options = options
    const { name, job, kind, pages, random } = options
    this.what = `${name}: ${textOf(job, kind)}`
    const page = Math.floor(random() * 2)
    this.self = pages.side(page, `${name}-self`)
    this.other = pages.side(2 + page, `${name}-other`)
    this.#isArmed = job.point !== undefined && ['upgrade', 'welcome'].includes(job.point.label)
    this.reached = new Promise(resolve => { this.#onReached = resolve })
  }

  /** Whether its point was missed: it had not come when the fault struck, or did not come at all. */
  get hasMissed (): boolean { return this.#options.job.point !== undefined && this.#reachedAt === undefined }

  get job (): Job { return this.#options.job }

  get #isStruck (): boolean { return this.#struckAt !== undefined }

  get sides (): Side[] { return [this.self, this.other] }

  /** The instance that a side is to go to. */
  place (user: string): number {
    const { places } = this.#options
    const { first, then } = user === this.self.name ? places.self : places.other
    return this.#isStruck ? then : first
  }

  /** Something passes on the socket of one side. */
  passes (line: Line, direction: Direction, passing: Passing): void {
    if (!this.#lines.has(line)) this.#take(line)
    const { point, moment, larger } = this.#options.job
    if (point === undefined) this.#record(line, direction, this.#labelOf(line, direction, passing), larger)
    if (!this.#isArmed || this.#isStruck || this.#reachedAt !== undefined || point === undefined) return
    const label = this.#labelOf(line, direction, passing)
    if (line.user !== this.self.name || direction !== point.direction || label !== point.label) return
    this.#reachedAt = Date.now()
    this.#note(`at its point, ${label} ${direction} of ${line.user}`)
    for (const one of this.#lines) if (one !== line) one.hold()
    if (moment === 'before') line.hold()
    else line.holdNext()
    this.#onReached()
  }

  /** Sets the call up. Resolves when both sides have heard each other, or never will. */
  async run (url: string): Promise<Outcome> {
    this.#start = Date.now()
    const stray = this.#options.job.point === undefined ? setTimeout(this.#onReached, this.#options.random() * STRAY_MS) : undefined
    let error: unknown
    const connected = this.#connect(url).then(async () => await Promise.all(this.sides.map(async side => await side.talks()))).catch((thrown: unknown) => {
      error = thrown
      this.#onReached()
    })
    const late = new AbortController()
    const times = await Promise.race([connected, delay(GIVE_UP_MS, undefined, { signal: late.signal }).catch(() => {})])
    late.abort()
    clearTimeout(stray)
    const end = times === undefined ? undefined : Math.max(...times)
    if (!this.#isStruck) {
      await Promise.race([this.reached, delay(NO_POINT_MS)])
      this.#onReached()
    }
    const { kind, job: { point } } = this.#options
    const heldMs = this.#reachedAt === undefined || this.#struckAt === undefined ? 0 : this.#struckAt - this.#reachedAt
    return {
      what: this.what,
      kind,
      point: this.#reachedAt !== undefined && point !== undefined ? nameOf(point) : undefined,
      ms: end && end - this.#start - heldMs,
      error,
      afterMs: end !== undefined && this.#struckAt !== undefined && end > this.#struckAt ? end - this.#struckAt : undefined,
      accounts: await Promise.all(this.sides.map(async side => await side.account())),
      trace: this.#trace
    }
  }

  /** The fault strikes: sockets may go with it, and what else was held flows on. */
  strike (): void {
    const { kind, job: { whom } } = this.#options
    this.#struckAt = Date.now()
    this.#note('struck')
    for (const line of [...this.#lines]) {
      const isHit = whom === 'both' || (line.user === this.self.name) === (whom === 'self')
      if (isHit && (kind === 'drop' || kind === 'kill')) line.drop()
      else line.release()
    }
  }

  async close (): Promise<void> {
    await Promise.all(this.sides.map(async side => { await side.close() }))
  }

  /** Connects both; then one enters the room, and the other one. */
  async #connect (url: string): Promise<void> {
    const { job: { point, larger } } = this.#options
    const isSelfFirst = point?.side !== 'second'
    const isSelfLarger = (larger === 'first') === isSelfFirst
    const connect = async (): Promise<string[]> => await Promise.all(this.sides.map(async side => await side.connect(url)))
    let [selfId = '', otherId = ''] = await connect()
    // Ids that do not fit are given back, and the call begins with others.
    while (this.#reachedAt === undefined && !this.#isStruck && (selfId > otherId) !== isSelfLarger) {
      this.#note('other ids are needed')
      await this.close()
      this.#start = Date.now();
      [selfId = '', otherId = ''] = await connect()
    }
    this.#isArmed = true
    const room = this.self.name
    for (const side of isSelfFirst ? this.sides : this.sides.reverse()) await side.join(room)
  }

  #note (what: string): void { this.#trace.push(`${Date.now()} ${what}`) }

  #take (line: Line): void {
    this.#lines.add(line)
    this.#note(`${line.user} has a line to instance ${line.instance}`)
    void line.closed.then(() => {
      this.#lines.delete(line)
      this.#note(`${line.user} has none to instance ${line.instance} any more`)
    })
  }

  /** Once: what is sent again is no other point, and whose id did not fit connects again. */
  #record ({ user }: Line, direction: Direction, label: string, larger: SideName): void {
    const side = user === this.self.name ? 'first' : 'second'
    if (label === TCP || this.passed.some(one => one.side === side && one.direction === direction && one.label === label)) return
    this.passed.push({ side, direction, label, larger, atMs: Date.now() - this.#start })
  }

  /** Candidates by their number, sent again or not. Those for TCP come only where a call is slow. */
  #labelOf ({ user }: Line, direction: Direction, { type, data }: Passing): string {
    const label = type === 'data' ? (data as { type: string }).type : type
    if (label !== 'candidate') return label
    const { candidate: { candidate } } = data as { candidate: { candidate: string } }
    if (/ tcp /i.test(candidate)) return TCP
    const known = (this.#candidates[`${user} ${direction}`] ??= [])
    if (!known.includes(candidate)) known.push(candidate)
    return `${label} ${known.indexOf(candidate) + 1}`
  }
}
