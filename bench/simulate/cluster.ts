/** Instances of the real RoomService, broker and presence in one process, over a Redis that counts. */
import { RedisBroker } from '../../src/broker/redis-broker.ts'
import { createNames } from '../../src/plugins/broker.ts'
import { RedisLeases } from '../../src/presence/redis-leases.ts'
import { RedisPresence } from '../../src/presence/redis-presence.ts'
import { readConfig } from '../../src/config.ts'
import { typeOf, type Frame } from '../../src/protocol/frame.ts'
import type { PeerInfo } from '../../src/protocol/messages.ts'
import type { Identity } from '../../src/rooms/identity.ts'
import type { Peer } from '../../src/rooms/peer.ts'
import { RoomService } from '../../src/rooms/room-service.ts'
import type { Seat } from '../../src/rooms/seat.ts'
import type { Random } from '../../test/chaos/random.ts'
import type { RedisStandIn } from './redis-stand-in.ts'
import { hex } from './workload.ts'

/** The settings' defaults. */
export const defaults = readConfig({ ACCESS_SECRET: 'none is needed here' })

/** Frames and their bytes in one direction. */
export interface Frames { frames: number, bytes: number }

export interface Instance {
  readonly nonce: string
  readonly rooms: RoomService
  readonly broker: RedisBroker
  readonly presence: RedisPresence
  readonly leases: RedisLeases
  readonly fromClients: Frames
  readonly toClients: Frames & { relayed: number }
}

const log = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: (context: object, message: string) => { throw new Error(message, { cause: context }) }
}

/** @param name INSTANCE_ID */
export async function createInstance (redis: RedisStandIn, random: Random, name: string, realm = 'development'): Promise<Instance> {
  const nonce = `${name}:${hex(random, 16)}`
  const names = createNames(realm, 0)
  const client = redis.connect()
  const measure = async <T>(_operation: string, run: () => Promise<T>): Promise<T> => await run()
  const leases = new RedisLeases({ redis: client, names, nonce, measure, leaseMs: defaults.leaseMs, timeoutMs: defaults.redisTimeoutMs })
  const broker = new RedisBroker({ nonce, commands: client, subscriber: redis.connect(), names, measure, timeoutMs: defaults.redisTimeoutMs, log })
  const presence = new RedisPresence({ redis: client, names, leases, measure })
  // Without leases: their timers would run by the clock. What a lease costs is counted by itself.
  const rooms = new RoomService({ presence, broker, log, maxMembers: defaults.maxRoomMembers })
  await leases.renew(false, false)
  await rooms.open()
  return { nonce, rooms, broker, presence, leases, fromClients: { frames: 0, bytes: 0 }, toClients: { frames: 0, bytes: 0, relayed: 0 } }
}

/** A client's connection, as rooms see it. */
export class SimulatedPeer implements Peer {
  readonly id: string
  readonly identity: Identity
  seat: Seat | undefined = undefined
  readonly #instance: Instance

  constructor ({ connection_id: id, user_id: userId, username }: PeerInfo, instance: Instance) {
    this.id = id
    this.identity = { userId, username, role: 'user', rooms: undefined, expiresAt: undefined }
    this.#instance = instance
  }

  /** What the client sends: masked, so four bytes more (RFC 6455 §5.2). */
  said (text: string | Buffer): void {
    const length = Buffer.byteLength(text)
    this.#instance.fromClients.frames++
    this.#instance.fromClients.bytes += (length < 126 ? 2 : length < 65_536 ? 4 : 10) + 4 + length
  }

  send (frame: Frame): void {
    const { toClients } = this.#instance
    toClients.frames++
    toClients.bytes += frame.length
    if (typeOf(frame) === 'data') toClients.relayed++
  }

  close (code: number): void {
    throw new Error(`a client was closed with ${code}: nothing of the kind happens here`)
  }
}
