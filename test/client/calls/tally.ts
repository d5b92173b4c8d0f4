import type { Account } from './callers.ts'
import type { Outcome } from './call.ts'
import { kinds, type Kind } from './plan.ts'

/** A side that is away for longer may be called by the one that waited for its call, ms. */
const PATIENCE_MS = 2000

/** What came of all calls of a run. */
export class Tally {
  readonly #limitMs: number
  /** What must not be, each with all that helps to find out why. */
  readonly problems: string[] = []
  attempted = 0
  readonly #ms: number[] = []
  readonly #afterMs: Record<Kind, number[]> = { drop: [], kill: [], drain: [], cut: [] }
  /** Where faults have struck, and where none has. */
  readonly points = new Set<string>()
  missed: readonly string[] = []
  /** Calls that ran on through the fault of another wave. */
  #ran = 0
  #silenceMs = 0
  /** Calls one of whose sides was told that the other had left, during the set-up and while they ran. */
  #left = 0
  #ranLeft = 0
  /** Calls that took a second connection, and those that had another offer. */
  #renewed = 0
  #restarted = 0
  /** Calls that both sides have made, and those of them whose offers have met. */
  #crossed = 0
  #glared = 0

  /** @param limitMs what a call may take from its beginning, faults and all */
  constructor (limitMs: number) {
    this.#limitMs = limitMs
  }

  get connected (): number { return this.#ms.length }
  get slowestMs (): number { return Math.max(0, ...this.#ms) }

  add ({ what, kind, point, ms, error, afterMs, accounts, trace }: Outcome): void {
    this.attempted++
    if (point !== undefined) this.points.add(point)
    if (ms !== undefined) this.#ms.push(ms)
    if (afterMs !== undefined) this.#afterMs[kind].push(afterMs)
    const sum = (of: (account: Account) => number): number => accounts.reduce((total, account) => total + of(account), 0)
    const hasNewId = accounts.some(({ connectionIds }) => connectionIds.length > 1)
    const isRenewed = accounts.some(({ connections }) => connections > 1)
    const left = sum(({ userLeft }) => userLeft)
    if (left > 0) this.#left++
    if (isRenewed) this.#renewed++
    if (!isRenewed && sum(({ offersMade }) => offersMade) > 1) this.#restarted++

    const fail = (problem: string): void => { this.#fail(what, problem, accounts, trace) }
    if (ms === undefined) fail(`has not connected${error === undefined ? '' : `: ${String(error)}`}`)
    else if (ms > this.#limitMs) fail(`took ${ms} ms`)
    if (sum(({ glares }) => glares) > 0) {
      this.#glared++
      fail('had two offers at once')
    }
    const isPrompt = !hasNewId && left === 0 && (afterMs ?? 0) < PATIENCE_MS
    const isCrossed = accounts.every(({ offersMade }) => offersMade > 0)
    if (isCrossed) this.#crossed++
    if (isPrompt && isCrossed) fail('was made by both sides')
    if (isPrompt && isRenewed) fail('took more than one connection')
    if (!isRenewed && sum(({ reconnecting }) => reconnecting) === 0 && sum(({ offersMade }) => offersMade) > 1) fail('negotiated more than once')
  }

  /** A call has run through a fault. @param now of both sides, since it began to run */
  ran ({ what, accounts: before, trace }: Outcome, now: Account[]): void {
    this.#ran++
    if (now.some((account, i) => account.userLeft > (before[i]?.userLeft ?? 0))) this.#ranLeft++
    for (const [i, account] of now.entries()) {
      const former = before[i]
      const [talk] = account.talks
      if (former === undefined || talk === undefined || account.left > former.left || account.connections > former.connections || account.reconnecting > former.reconnecting) {
        this.#fail(what, 'ran, and was interrupted', now, trace)
        continue
      }
      this.#silenceMs = Math.max(this.#silenceMs, talk.longestMs)
      if (talk.wrong > 0) this.#fail(what, 'ran, and lost what was said', now, trace)
      if (talk.video.frames === 0) this.#fail(what, 'ran, and showed no picture', now, trace)
    }
  }

  summary (): string {
    return [
      `${this.attempted} calls attempted, ${this.connected} connected, ${this.problems.length} problems`,
      `${this.points.size} points of the exchange${this.missed.length === 0 ? '' : `, and not ${this.missed.join('; ')}`}`,
      `from the beginning ${figures(this.#ms)}`,
      ...kinds.filter(kind => this.#afterMs[kind].length > 0).map(kind => `from a ${kind} ${figures(this.#afterMs[kind])}`),
      `${this.#glared} had two offers at once, ${this.#crossed} were made by both sides, ${this.#renewed} took a second connection, ${this.#restarted} a second offer`,
      `${this.#left} were told of a leave`,
      `${this.#ran} ran through another fault, ${this.#ranLeft} of them told of a leave, none silent for more than ${Math.round(this.#silenceMs)} ms`
    ].join('\n')
  }

  #fail (what: string, problem: string, accounts: Account[], trace: readonly string[]): void {
    const [self, other] = accounts.map(({ told, ...rest }) => [JSON.stringify({ ...rest, talks: rest.talks }), ...told].join('\n    '))
    this.problems.push(`${what}: ${problem}\n  this side: ${self}\n  the other: ${other}\n  the test: ${trace.join('\n    ')}`)
  }
}

/** A few words on times, ms. */
export function figures (times: readonly number[]): string {
  return `p50 ${quantile(times, 0.5)}, p99 ${quantile(times, 0.99)}, slowest ${quantile(times, 1)} ms, of ${times.length}`
}

/** The value below which that part of them is; 1: the largest. */
export function quantile (values: readonly number[], part: number): number {
  return Math.round(values.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(values.length * part) - 1)] ?? NaN)
}
