/** From unit costs and the simulation: what so many clients need. */
import { existsSync, readFileSync } from 'node:fs'
import { defaults } from './cluster.ts'
import { publishUs, type RedisCosts } from './redis-costs.ts'
import { simulate, type Run } from './run.ts'
import { beatsOf, type Beat, type Standing } from './standing.ts'
import { callRate, meanSize, type Workload } from './workload.ts'

/** What an instance's work costs, as the benchmark has measured it; CPU without that of Redis. */
export interface InstanceCosts {
  /** CPU of a whole call of two with Redis, µs: two connections opened and checked, joins, exchange, leaves, closes. */
  readonly call_us: number
  /** CPU of a message between members on one instance, and on two instances (both of them), µs. */
  readonly message_us: number
  readonly remote_message_us: number
  /** Memory of a connection in a room of two, KB. */
  readonly connection_kb: number
}

export const RESULTS_FILE = new URL('../results.json', import.meta.url)

/** The part of the benchmark's results that is needed here. */
interface Results { readonly runs: ReadonlyArray<{ readonly work: string, readonly server: string, readonly cpuUs: { readonly server: number }, readonly kb?: number }> }

/** @returns undefined when nobody has measured all of it yet */
export function readInstanceCosts (file: URL = RESULTS_FILE): InstanceCosts | undefined {
  if (!existsSync(file)) return undefined
  const { runs } = JSON.parse(readFileSync(file, 'utf8')) as Results
  const median = (work: string): number => {
    const values = runs.filter(run => run.work === work && run.server === 'turnip').map(({ kb, cpuUs }) => kb ?? cpuUs.server).sort((a, b) => a - b)
    return values[Math.floor(values.length / 2)] ?? NaN
  }
  const costs = { call_us: median('full-redis'), message_us: median('exchange'), remote_message_us: median('across-2'), connection_kb: median('memory') }
  return Object.values(costs).every(Number.isFinite) ? costs : undefined
}

/** A thread that is busy for longer than this share of the time has no reserve for the death of another. */
export const BUSY_AT_MOST = 0.5
/** Clients of one instance: as many come back at once when it dies. A choice, not a limit. */
export const CLIENTS_PER_INSTANCE = 20_000
/** Connections that one Redis takes by default (`maxclients`). */
export const MAX_CLIENTS = 10_000
const MOST_INSTANCES = 10_000
/** How long a room's end is remembered, s. */
const TOMBSTONE_S = 4 * defaults.leaseMs / 1000

export interface Needs {
  readonly workload: Workload
  readonly run: Run
  readonly standing: Standing
  readonly beats: readonly Beat[]
  readonly messagesPerSecond: number
  readonly clientBytesPerSecond: number
  /** Redis: commands and bytes a second, there and back, and seconds of CPU in a second by what for; undefined where nobody has measured. */
  readonly redisCommands: number
  readonly redisBytes: number
  readonly redisCpu: Readonly<Record<string, number>> | undefined
  readonly redisMemory: number | undefined
  readonly shards: number | undefined
  /** Connections of one node of Redis. */
  readonly redisConnections: number
  /** Cores' worth of work, and memory in bytes, of all instances. */
  readonly instanceCpu: number | undefined
  readonly instanceMemory: number | undefined
}

export interface NeedsOptions { readonly workload: Workload, readonly calls: number, readonly seed: number | string, readonly turnMs: number, readonly redis: RedisCosts | undefined, readonly instance: InstanceCosts | undefined }

/** @param workload without a number of instances: it follows from that of clients */
export async function needsOf ({ workload: given, calls, seed, turnMs, redis, instance }: NeedsOptions): Promise<Needs> {
  const instances = Math.max(2, Math.ceil(given.clients / CLIENTS_PER_INSTANCE))
  const workload = { ...given, instances }
  const run = await simulate({ workload: { ...workload, instances: Math.min(instances, MOST_INSTANCES) }, calls, seed, turnMs })
  let shards = 1
  let needs = await needsWith(workload, run, shards, redis, instance)
  // Each shard more costs every instance a connection, and its probes.
  for (let next = needs.shards; next !== undefined && next > shards; next = needs.shards) {
    shards = next
    needs = await needsWith(workload, run, shards, redis, instance)
  }
  return needs
}

/** A cluster as it stands, with calls as they were simulated. */
export function standingOf (workload: Workload, run: Run, shards: number): Standing {
  const births = callRate(workload)
  const rooms = births * workload.callMinutes * 60
  const { clients, instances } = workload
  return { clients, instances, shards, births, places: rooms * run.places.all / run.calls, spreadPlaces: rooms * run.places.ofSpread / run.calls }
}

async function needsWith (workload: Workload, run: Run, shards: number, redis: RedisCosts | undefined, instance: InstanceCosts | undefined): Promise<Needs> {
  const standing = standingOf(workload, run, shards)
  const beats = await beatsOf(standing)
  const { births, clients, instances } = standing
  const perSecond = births / run.calls
  const ofRedis = beats.filter(({ operation }) => operation !== undefined)
  const redisCpu = redis && cpuOf(run, perSecond, beats, redis, instances)
  const busy = redisCpu && Object.values(redisCpu).reduce((sum, cpu) => sum + cpu, 0)
  const remoteShare = (run.flows.get('publish')?.commands ?? 0) / run.messages
  const pairsPerCall = run.messages / run.calls / messagesOfAPair(workload)
  return {
    workload,
    run,
    standing,
    beats,
    redisCpu,
    messagesPerSecond: run.messages * perSecond,
    clientBytesPerSecond: (run.fromClients.bytes + run.toClients.bytes) * perSecond + sum(beats.filter(({ what }) => what === 'WebSocket ping')),
    redisCommands: run.redis.commands * perSecond + ofRedis.reduce((total, one) => total + one.perSecond, 0),
    redisBytes: (run.redis.bytesIn + run.redis.bytesOut + run.pushed.inbox.bytes) * perSecond + sum(ofRedis),
    redisMemory: redis && births * (workload.callMinutes * 60 * redis.roomBytes * meanSize(workload) / 2 + TOMBSTONE_S * redis.tombstoneBytes),
    shards: busy === undefined ? undefined : Math.max(1, Math.ceil(busy / BUSY_AT_MOST)),
    redisConnections: shards > 1 ? instances + instances / shards : 2 * instances,
    // A call of more than two costs as many connections more; its pairs exchange as others do.
    instanceCpu: instance && perSecond * run.calls * 1e-6 * (instance.call_us * meanSize(workload) / 2 +
      messagesOfAPair(workload) * ((pairsPerCall - meanSize(workload) / 2) * instance.message_us + pairsPerCall * Math.min(1, remoteShare) * (instance.remote_message_us - instance.message_us))),
    instanceMemory: instance && clients * instance.connection_kb * 1024
  }
}

function messagesOfAPair ({ candidates }: Workload): number { return 2 + 2 * candidates }

function sum (beats: readonly Beat[]): number {
  return beats.reduce((total, { bytesPerSecond }) => total + bytesPerSecond, 0)
}

/** Seconds of Redis' CPU in a second. */
function cpuOf (run: Run, perSecond: number, beats: readonly Beat[], costs: RedisCosts, instances: number): Record<string, number> {
  const flowOf = (operation: string): number => (run.flows.get(operation)?.commands ?? 0) * perSecond
  const beatOf = (operation: string): number => beats.filter(one => one.operation === operation).reduce((total, one) => total + one.perSecond, 0)
  const us = (operation: string): number => costs.us[operation] ?? NaN
  const publishes = run.flows.get('publish')
  const meanBytes = publishes === undefined ? 0 : publishes.bytesIn / publishes.commands
  return {
    'joins and leaves': ['mark', 'join', 'leave', 'unmark'].reduce((total, operation) => total + flowOf(operation) * us(operation), 0) / 1e6,
    'messages and changes': flowOf('publish') * publishUs(costs, meanBytes) / 1e6,
    'positions of spread rooms': beatOf('position') * us('position') / 1e6,
    'renewals of rooms': beatOf('renew') * us('renew') / 1e6,
    'leases and probes': (beatOf('lease') * leaseUs(costs, instances) + beatOf('ping') * us('ping')) / 1e6
  }
}

/** By the next larger number that was measured. */
export function leaseUs ({ leaseUs: by }: RedisCosts, instances: number): number {
  const [, cost = NaN] = Object.entries(by).find(([measured]) => Number(measured) >= instances) ?? Object.entries(by).at(-1) ?? []
  return cost
}
