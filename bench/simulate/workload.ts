/** What clients do: calls in rooms, drawn from a seed. */
import type { Random } from '../../test/chaos/random.ts'
import type { PeerInfo } from '../../src/protocol/messages.ts'

/** Who does what, how often. */
export interface Workload {
  /** Connected at a time. */
  readonly clients: number
  readonly instances: number
  /** How often a room has so many members: size to weight. */
  readonly sizes: ReadonlyMap<number, number>
  /** How many calls a client takes part in, an hour. */
  readonly callsPerHour: number
  /** How long a call lasts: its room stands as long. */
  readonly callMinutes: number
  /** ICE candidates of each side of each pair. */
  readonly candidates: number
  /** Size of an offer or answer, and of a candidate, in bytes of the text inside. */
  readonly sdpBytes: number
  readonly candidateBytes: number
  /** The share of rooms whose members all come to one instance; the others' come to any. */
  readonly sticky: number
}

/** A room's members, the instances that they come to, and what each says, by the time. */
export interface Call { readonly room: string, readonly members: readonly Caller[], readonly steps: readonly Step[] }

export interface Caller { readonly info: PeerInfo, readonly instance: number }

/** At so many ms a member does something. */
export type Step =
  | { readonly at: number, readonly member: number, readonly kind: 'join' | 'leave' }
  | { readonly at: number, readonly member: number, readonly kind: 'say', readonly to: number, readonly text: string }

/** Members come one after the other within this time, ms. */
const ARRIVAL_MS = 2000
/** Offer, answer and candidates of a pair take this long, ms. */
const SETUP_MS = 1000
/** In the simulation a call ends soon after it is set up: what happens while it lasts is none of the server's. */
const END_MS = 1500

export function meanSize ({ sizes }: Pick<Workload, 'sizes'>): number {
  let [members, weights] = [0, 0]
  for (const [size, weight] of sizes) {
    members += size * weight
    weights += weight
  }
  return members / weights
}

/** Calls that begin in a second. */
export function callRate (workload: Workload): number {
  return workload.clients * workload.callsPerHour / 3600 / meanSize(workload)
}

/** Draws one call that begins at a time. Its room is a mesh: each pair exchanges offer, answer and candidates. */
export function drawCall (workload: Workload, random: Random, number: number, begin: number): Call {
  const size = drawSize(workload.sizes, random)
  const home = random.chance(workload.sticky) ? random.below(workload.instances) : undefined
  const members = Array.from({ length: size }, (_, i) => ({
    info: { connection_id: uuid(random), user_id: `user-${digits(number)}-${digits(i, 3)}`, username: `User ${digits(number)}` },
    instance: home ?? random.below(workload.instances)
  }))
  const steps: Step[] = []
  let at = begin
  for (const member of members.keys()) {
    if (member > 0) at += random.between(1, ARRIVAL_MS)
    steps.push({ at, member, kind: 'join' })
    for (let other = 0; other < member; other++) addExchange(steps, workload, random, at + 1 + other, other, member)
  }
  const end = at + SETUP_MS + END_MS
  for (const member of members.keys()) steps.push({ at: end + member * 20 + random.between(0, 10), member, kind: 'leave' })
  return { room: `call-${digits(number)}`, members, steps }
}

/** Who was there first offers. */
function addExchange (steps: Step[], { candidates, sdpBytes, candidateBytes }: Workload, random: Random, from: number, a: number, b: number): void {
  const say = (at: number, member: number, to: number, type: string, bytes: number): void => {
    steps.push({ at, member, kind: 'say', to, text: signal(type, bytes) })
  }
  const answerAt = from + random.between(0.1, 0.3) * SETUP_MS
  say(from, a, b, 'offer', sdpBytes)
  say(answerAt, b, a, 'answer', sdpBytes)
  for (let i = 0; i < candidates; i++) {
    say(from + random.between(0, 1) * SETUP_MS, a, b, 'candidate', candidateBytes)
    say(answerAt + random.between(0, 0.6) * SETUP_MS, b, a, 'candidate', candidateBytes)
  }
}

/** What stands in the `data` of a message, as a client writes it. */
function signal (type: string, bytes: number): string {
  return JSON.stringify(type === 'candidate' ? { type, candidate: { candidate: 'c'.repeat(bytes), sdpMid: '0', sdpMLineIndex: 0 } } : { type, sdp: 's'.repeat(bytes) })
}

function drawSize (sizes: ReadonlyMap<number, number>, random: Random): number {
  let left = random.next() * [...sizes.values()].reduce((sum, weight) => sum + weight, 0)
  for (const [size, weight] of sizes) if ((left -= weight) < 0) return size
  return [...sizes.keys()].at(-1) ?? 2
}

export function uuid (random: Random): string {
  return `${hex(random, 8)}-${hex(random, 4)}-4${hex(random, 3)}-8${hex(random, 3)}-${hex(random, 12)}`
}

export function hex (random: Random, length: number): string {
  return Array.from({ length }, () => random.below(16).toString(16)).join('')
}

function digits (number: number, length = 7): string { return String(number).padStart(length, '0') }
