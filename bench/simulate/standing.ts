/** What runs by the clock, whether anybody says anything or not: how often, in bytes, and with what it grows. */
import { Random } from '../../test/chaos/random.ts'
import { SLOTS_REFRESH_MS } from '../../src/redis/connections.ts'
import { PROBE_EVERY_MS } from '../../src/redis/probe.ts'
import { EARLIER, JITTER_MS, JITTER_PER_INSTANCE_MS, REAP_BATCH, REBUILD_PAUSE_MS, REBUILD_PAUSE_PER_INSTANCE_MS, RENEWALS } from '../../src/rooms/tenure.ts'
import { CHECK_MS } from '../../src/rooms/upkeep.ts'
import { createInstance, defaults } from './cluster.ts'
import { RedisStandIn } from './redis-stand-in.ts'
import { commandBytes, replyBytes } from './resp.ts'

/** A cluster as it stands. */
export interface Standing {
  readonly clients: number
  readonly instances: number
  /** Nodes of a Redis Cluster that hold slots; 1: one server. */
  readonly shards: number
  /** Rooms begun in a second. */
  readonly births: number
  /** Rooms that stand, counted once for each instance with members of theirs: all, and those on several instances. */
  readonly places: number
  readonly spreadPlaces: number
}

/** One thing that happens again and again. */
export interface Beat {
  readonly what: string
  /** Which code does it. */
  readonly code: string
  readonly perSecond: number
  /** There and back. */
  readonly bytesPerSecond: number
  readonly growsWith: string
  /** The unit cost of it in Redis, if it is Redis that does it. */
  readonly operation?: 'lease' | 'ping' | 'position' | 'renew'
}

/** A PING and a pong of a WebSocket, without payload: the client's is masked. */
const WEBSOCKET_PING_BYTES = 2 + 6
/** An answer names a master and a replica of each shard. */
const NODE = ['10.0.0.100', 6379, 'f'.repeat(40), []]

export async function beatsOf ({ clients, instances, shards, births, places, spreadPlaces }: Standing): Promise<Beat[]> {
  const bytes = await bytesOfBeats()
  const checkMs = Math.min(CHECK_MS, defaults.leaseMs)
  const beats: Beat[] = [
    beat('lease renewed', 'rooms/tenure.ts', instances * RENEWALS / defaults.leaseMs / (1 - EARLIER / 2), bytes.lease, 'instances', 'lease'),
    beat('connection probed', 'redis/probe.ts', instances * (shards > 1 ? shards + 1 : 2) / PROBE_EVERY_MS, bytes.ping, shards > 1 ? 'instances × shards' : 'instances', 'ping'),
    beat('position of a spread room asked for', 'rooms/upkeep.ts', spreadPlaces / checkMs, bytes.position, 'rooms on several instances', 'position'),
    beat('room kept from expiring', 'rooms/upkeep.ts', places / bytes.renewEveryMs, bytes.renew, 'rooms', 'renew'),
    beat('WebSocket ping', 'routes/connections.ts', clients / defaults.pingIntervalMs, WEBSOCKET_PING_BYTES, 'clients')
  ]
  if (shards === 1) return beats
  const slots = Array.from({ length: shards }, (_, i) => [i * 100, i * 100 + 99, NODE, NODE])
  return [
    ...beats,
    beat('slots of the Cluster asked for', 'redis/connections.ts, redis/probe.ts', instances * (1 / SLOTS_REFRESH_MS + 1 / PROBE_EVERY_MS), commandBytes(['cluster', 'SLOTS']) + replyBytes(slots), 'instances; bytes: instances × shards'),
    { what: 'birth or end of a room, from node to node', code: 'presence/lua/*.lua', perSecond: 2 * births * (shards - 1), bytesPerSecond: NaN, growsWith: 'rooms × shards' }
  ]
}

function beat (what: string, code: string, perMs: number, bytes: number, growsWith: string, operation?: Beat['operation']): Beat {
  return { what, code, perSecond: perMs * 1000, bytesPerSecond: perMs * 1000 * bytes, growsWith, ...(operation !== undefined && { operation }) }
}

/** Has the real code do each thing once. */
async function bytesOfBeats (): Promise<{ lease: number, ping: number, position: number, renew: number, renewEveryMs: number }> {
  const redis = new RedisStandIn()
  const client = redis.connect()
  const { leases, presence, nonce } = await createInstance(redis, new Random(0), 'host-00000')
  await presence.join('call-0000000', { connection_id: '0'.repeat(36), user_id: 'user', username: 'user', instance: nonce }, 0)
  redis.reset()
  await leases.renew(false, true)
  await presence.positions(['call-0000000'])
  await presence.renew(['call-0000000'])
  await client.ping()
  const bytesOf = (operation: string): number => {
    const { bytesIn = 0, bytesOut = 0 } = redis.flows.get(operation) ?? {}
    return bytesIn + bytesOut
  }
  return { lease: bytesOf('lease'), ping: bytesOf('ping'), position: bytesOf('position'), renew: bytesOf('renew'), renewEveryMs: presence.renewEveryMs }
}

/** What happens at once when something fails. */
export interface Burst { readonly event: string, readonly what: string, readonly code: string, readonly count: number, readonly withinMs: number | undefined, readonly growsWith: string, readonly operation: 'lease' | 'leave' | 'join' }

export function burstsOf ({ instances, places, spreadPlaces, shards }: Standing): Burst[] {
  const [own, ownSpread] = [places / instances, spreadPlaces / instances]
  return [
    { event: 'an instance dies', what: 'every other instance renews its lease as soon as the dead one\'s has ended', code: 'rooms/tenure.ts', count: instances - 1, withinMs: Math.round(JITTER_MS + JITTER_PER_INSTANCE_MS * instances), growsWith: 'instances', operation: 'lease' },
    { event: 'an instance dies', what: `its rooms are visited by one reaper, ${REAP_BATCH} at a time`, code: 'rooms/tenure.ts', count: own, withinMs: undefined, growsWith: 'rooms of an instance', operation: 'leave' },
    { event: 'an instance dies', what: 'the others in those rooms are told, one PUBLISH each', code: 'rooms/relay.ts', count: ownSpread, withinMs: undefined, growsWith: 'rooms of an instance', operation: 'leave' },
    { event: 'Redis loses its memory', what: 'until all have put their members back, every instance renews again and again, for at most one lease; a second', code: 'rooms/tenure.ts', count: Math.round(instances * 1000 / (REBUILD_PAUSE_MS + REBUILD_PAUSE_PER_INSTANCE_MS * instances)), withinMs: 1000, growsWith: 'instances', operation: 'lease' },
    { event: 'Redis loses its memory', what: 'every room is reconciled twice by each of its instances', code: 'rooms/tenure.ts', count: 2 * places, withinMs: undefined, growsWith: 'rooms', operation: 'join' },
    { event: shards > 1 ? 'a node of the Cluster is lost' : 'the connections to Redis break', what: 'every room is reconciled by each of its instances, whichever node holds it', code: 'plugins/rooms.ts', count: places, withinMs: undefined, growsWith: 'rooms', operation: 'join' }
  ]
}
