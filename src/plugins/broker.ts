import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Broker } from '../broker/broker.ts'
import { MemoryBroker, MemoryExchange } from '../broker/memory-broker.ts'
import { RedisBroker } from '../broker/redis-broker.ts'
import type { LobbyEvent } from '../broker/lobby-event.ts'
import { nonceOf, type LeaseNames } from '../presence/redis-leases.ts'

declare module 'fastify' {
  interface FastifyInstance {
    turnipBroker: Broker
    turnipNames: LeaseNames & { inbox (nonce: string): string }
    /** Announces in the lobby of this process; with Redis, the scripts announce. */
    turnipAnnounce: (event: LobbyEvent) => void
  }
}

/**
 * Keys and channels. A realm's name holds no colon and a room's no brace, so no name can reach out of its place.
 * @param db the database that the connection uses: a URL or a host's client may name another than REDIS_DB
 */
export function createNames (realm: string, db: number): FastifyInstance['turnipNames'] {
  const prefix = `turnip:${realm}:`
  return {
    room: name => `${prefix}room:{${name}}`,
    tombstones: name => `${prefix}tombstone:{${name}}`,
    instances: `${prefix}{cluster}:instances`,
    generation: `${prefix}{cluster}:generation`,
    restored: `${prefix}{cluster}:restored`,
    reaping: `${prefix}{cluster}:reaping`,
    // In one slot of a Cluster, so that an instance depends on one node less.
    roomsOf: holder => `${prefix}instance:{${nonceOf(holder)}}:rooms:${holder}`,
    inbox: nonce => `${prefix}${db}:inbox:{${nonce}}`,
    lobby: `${prefix}${db}:lobby`
  }
}

/** Decorates `turnipBroker`: over Redis, or within the process with `memory:`. */
export default fp(async (fastify: FastifyInstance) => {
  const { turnipConfig: config, turnipRedis: redis, turnipMeasure: measure, turnipNonce: nonce, log } = fastify
  const exchange = new MemoryExchange()
  const names = createNames(config.realm, redis?.db ?? 0)
  fastify.decorate('turnipNames', names)
  fastify.decorate('turnipAnnounce', event => { exchange.announce(event) })
  const broker: Broker = redis === undefined
    ? new MemoryBroker(nonce, exchange, log)
    : new RedisBroker({ ...redis, nonce, names, log, measure, timeoutMs: config.redisTimeoutMs })
  fastify.decorate('turnipBroker', broker)
}, { name: 'turnip-broker', dependencies: ['turnip-config', 'turnip-metrics', 'turnip-redis'] })
