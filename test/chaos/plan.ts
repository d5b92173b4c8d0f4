/**
 * What happens in a run, from its seed alone. A run is a row of rounds. In a round members come and go while one fault
 * strikes, or two at a time; then nobody moves any more until all agree, and the next round begins. Times are relative
 * to the beginning of the round, as healing takes its own time; what is said is drawn as the run goes.
 */
import { Random } from './random.ts'

export const INSTANCES = 3
export const CLIENTS = 18
const ROOMS = 8
/** How long a round is at least, ms. */
const CALM_MS = 1500

/** What a fault hits: a process, its connections to Redis, its subscriber alone, Redis itself; or nothing that a client may notice. */
export type Scope = 'process' | 'link' | 'subscriber' | 'redis' | 'none'

interface FaultTraits {
  readonly scope: Scope
  /** How long it lasts, in leases. */
  readonly leases: readonly [least: number, most: number]
  /** Whether the lease of the instance may end meanwhile, so that its members are rightly taken for gone. */
  readonly reaps: boolean
}

export const faultTraits = {
  calm: { scope: 'none', leases: [1, 2], reaps: false },
  kill: { scope: 'process', leases: [0, 2], reaps: true },
  drain: { scope: 'process', leases: [0, 1], reaps: true },
  // A third of the lease may have passed already, and a busy machine needs time to renew it.
  'freeze-shortly': { scope: 'process', leases: [0.05, 0.25], reaps: false },
  freeze: { scope: 'process', leases: [1.2, 2.5], reaps: true },
  cut: { scope: 'link', leases: [0.2, 2.5], reaps: true },
  blackhole: { scope: 'link', leases: [0.2, 2.5], reaps: true },
  'cut-subscriber': { scope: 'subscriber', leases: [0.1, 2], reaps: false },
  'blackhole-subscriber': { scope: 'subscriber', leases: [0.5, 2.5], reaps: false },
  'kill-subscribers': { scope: 'redis', leases: [0.3, 1.5], reaps: false },
  'flush-scripts': { scope: 'none', leases: [0.3, 1], reaps: false },
  'freeze-redis-shortly': { scope: 'redis', leases: [0.1, 0.5], reaps: false },
  'freeze-redis': { scope: 'redis', leases: [1.2, 2.5], reaps: false },
  'restart-redis': { scope: 'redis', leases: [0, 1], reaps: false }
} as const satisfies Record<string, FaultTraits>

export type FaultKind = keyof typeof faultTraits
export const faultKinds = Object.keys(faultTraits) as FaultKind[]

export interface PlannedFault {
  readonly kind: FaultKind
  /** The instance it hits; no matter for those that hit Redis. */
  readonly instance: number
  readonly at: number
  /** Until it is healed, ms. */
  readonly lasts: number
}

export type Doing =
  | { readonly what: 'join', readonly room: string, readonly andSpeak: boolean }
  | { readonly what: 'leave' | 'disband' | 'drop' | 'go' }

/** Something a client does. `drop` tears its connection, `go` closes it in order; it comes back after both. */
export type Action = { readonly at: number, readonly who: number } & Doing

export interface Round {
  readonly index: number
  readonly faults: readonly PlannedFault[]
  readonly actions: readonly Action[]
}

/** The round of a run. @param kinds the faults to choose from */
export function roundOf (seed: number, index: number, leaseMs: number, kinds: readonly FaultKind[]): Round {
  const random = new Random(seed, 'round', index)
  const faults = faultsOf(seed, index, leaseMs, kinds, random)
  const lastEnd = Math.max(CALM_MS, ...faults.map(({ at, lasts }) => at + lasts))
  const actions: Action[] = []
  // Some rounds are calm after the fault, in some people go on coming and going.
  const end = lastEnd + (random.chance(0.5) ? 0 : random.between(200, 1200))
  for (let at = 100; at < end; at += random.between(20, 400)) actions.push({ at: Math.round(at), who: random.below(CLIENTS), ...doing(random) })
  return { index, faults, actions }
}

/** Everybody's first room. */
export function firstRoomOf (seed: number, who: number): string {
  return room(new Random(seed, 'first room', who))
}

/** The kinds come in turn, in another order each time, so that a short run sees many of them. */
function faultsOf (seed: number, index: number, leaseMs: number, kinds: readonly FaultKind[], random: Random): PlannedFault[] {
  if (kinds.length === 0) return []
  const kind = new Random(seed, 'kinds', Math.floor(index / kinds.length)).shuffled(kinds)[index % kinds.length]
  if (kind === undefined) return []
  const first = fault(kind, random, random.between(400, 1000), leaseMs)
  if (!random.chance(0.3)) return [first]
  const second = fault(random.pick(kinds), random, first.at + random.next() * first.lasts, leaseMs)
  return canOverlap(first, second) ? [first, second] : [first]
}

function fault (kind: FaultKind, random: Random, at: number, leaseMs: number): PlannedFault {
  const [least, most] = faultTraits[kind].leases
  return { kind, instance: random.below(INSTANCES), at: Math.round(at), lasts: Math.round(random.between(least, most) * leaseMs) }
}

/** One Redis, or one process, cannot be hit by two at a time; one link neither. */
function canOverlap (one: PlannedFault, other: PlannedFault): boolean {
  const [a, b] = [faultTraits[one.kind].scope, faultTraits[other.kind].scope]
  if (a === 'redis' || b === 'redis') return a !== b
  return one.instance !== other.instance
}

function doing (random: Random): Doing {
  const chance = random.next()
  if (chance < 0.56) return { what: 'join', room: room(random), andSpeak: random.chance(0.3) }
  if (chance < 0.66) return { what: 'leave' }
  if (chance < 0.7) return { what: 'disband' }
  return { what: random.chance(0.7) ? 'drop' : 'go' }
}

/** Some rooms are full of people, others are born and end all the time. */
function room (random: Random): string {
  return `room-${Math.floor(ROOMS * random.next() ** 2)}`
}
