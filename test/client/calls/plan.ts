/** Which calls a run sets up, and what goes wrong at which point of their exchange. All of it follows from the seed. */
import { Random } from '../../chaos/random.ts'
import type { Direction } from './line.ts'

/** The one that is in the room first, or the one that comes. */
export type SideName = 'first' | 'second'

/** A frame of the set-up, on the socket of one side. */
export interface Point {
  readonly side: SideName
  readonly direction: Direction
  readonly label: string
  /** Which side has the larger connection_id, on which their roles depend. */
  readonly larger: SideName
  /** When it comes in a call that nothing happens to, ms. */
  readonly atMs: number
}

export const kinds = ['drop', 'kill', 'drain', 'cut'] as const
/**
 * - `drop`: sockets end without a word
 * - `kill`: kill -9 of an instance
 * - `drain`: SIGTERM
 * - `cut`: an instance loses its ways to Redis for a while
 */
export type Kind = typeof kinds[number]

export interface Job {
  /** Where it strikes; absent: at any time. */
  readonly point: Point | undefined
  readonly larger: SideName
  /** Whether the frame is lost, or the last that arrives. */
  readonly moment: 'before' | 'after'
  /** Whose socket or instance it hits, seen from the side of the point. */
  readonly whom: 'self' | 'other' | 'both'
  /** Whether a client whose socket was dropped comes back to the instance that it was at. */
  readonly returns: 'same' | 'elsewhere'
}

/** Calls that are set up at the same time, and one fault for them. */
export interface Wave { readonly kind: Kind, readonly victim: number, readonly jobs: readonly Job[] }

/** Calls of one wave: as many as two cores set up at once within a few seconds. */
const JOBS_A_WAVE = 12
/** ... and one after the other. */
const DROPS_A_WAVE = 36
/** ... and those that the fault hits wherever they are. */
const STRAY_JOBS = 2

/** Kinds of faults, as often as they are to come. No number of them that divides the turns of the rest. */
const turns: readonly Kind[] = ['drop', 'kill', 'drop', 'drain', 'kill', 'drop', 'cut']
const moments = ['before', 'after'] as const
const whoms = ['self', 'other', 'both'] as const
const returns = ['same', 'elsewhere'] as const

/** Every point, with one fault: its kind, who is hit, and whether the frame arrives take turns. */
export function covering (seed: number, points: readonly Point[]): Wave[] {
  const random = new Random(seed, 'covering')
  const first = random.below(turns.length)
  return random.shuffled(kinds.flatMap(kind => wavesOf(kind, random, points.flatMap((point, i) => at(turns, first + i) === kind ? [job(point, first + i)] : []))))
}

/** Every point with every kind of fault, whoever is hit, and whether the frame arrives or not. */
export function everything (seed: number, points: readonly Point[]): Wave[] {
  const random = new Random(seed, 'everything')
  const jobs = points.flatMap(point => moments.flatMap(moment => whoms.map((whom, i): Job => ({ point, larger: point.larger, moment, whom, returns: at(returns, i) }))))
  return random.shuffled(kinds.flatMap(kind => wavesOf(kind, random, jobs)))
}

/** The nth wave of a run that goes on for as long as it may. */
export function anyWave (seed: number, points: readonly Point[], nth: number): Wave {
  const random = new Random(seed, 'wave', nth)
  const jobs = Array.from({ length: JOBS_A_WAVE }, () => random.chance(0.3) ? stray(random) : job(random.pick(points), random.below(12)))
  return { kind: random.pick(kinds), victim: random.below(3), jobs }
}

/** For points that no fault has struck: drops, which do not wait for other calls. */
export function drops (points: readonly Point[]): Wave {
  return { kind: 'drop', victim: 0, jobs: points.map((point, i) => job(point, i)) }
}

function wavesOf (kind: Kind, random: Random, jobs: Job[]): Wave[] {
  const left = random.shuffled(jobs)
  const waves: Wave[] = []
  while (left.length > 0) {
    const strays = Array.from({ length: STRAY_JOBS }, () => stray(random))
    waves.push({ kind, victim: waves.length % 3, jobs: [...left.splice(0, kind === 'drop' ? DROPS_A_WAVE : JOBS_A_WAVE), ...strays] })
  }
  return waves
}

function job (point: Point, turn: number): Job {
  return { point, larger: point.larger, moment: at(moments, turn), whom: at(whoms, turn), returns: at(returns, Math.floor(turn / 2)) }
}

function stray (random: Random): Job {
  return { point: undefined, larger: random.pick(['first', 'second']), moment: 'before', whom: random.pick(whoms), returns: random.pick(returns) }
}

function at<T> (list: readonly T[], i: number): T {
  const item = list[i % list.length]
  if (item === undefined) throw new RangeError('nothing to choose from')
  return item
}

export function textOf (job: Job, kind: Kind): string {
  const { point, moment, whom, returns } = job
  return `${kind} of ${whom}${kind === 'drop' ? `, back at ${returns === 'same' ? 'the same' : 'another'} instance` : ''}, ${point === undefined ? 'at any time' : `${moment} ${nameOf(point)}`}`
}

/** What tells points from each other. */
export function nameOf ({ side, direction, label, larger }: Point): string {
  return `${label} ${direction} at the ${side} (the ${larger} has the larger id)`
}
