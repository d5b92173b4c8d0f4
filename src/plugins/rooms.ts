import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { RoomService } from '../rooms/room-service.ts'
import type { RedisConnections } from '../redis/connections.ts'

declare module 'fastify' {
  interface FastifyInstance { turnipRooms: RoomService }
}

/** How often an instance that starts looks whether Redis is there, ms. */
const RETRY_MS = 100
/** How long until a Redis that refuses us is asked again, ms. */
const REFUSED_MS = 2000

/** Decorates `turnipRooms`, and has the instance serve once other instances can reach it. */
export default fp(async (fastify: FastifyInstance) => {
  const { turnipConfig: config, turnipBroker: broker, turnipPresence: presence, turnipMetrics: metrics, turnipLifecycle: lifecycle, turnipRedis: redis, log } = fastify
  const rooms = new RoomService({ presence, broker, log, maxMembers: config.maxRoomMembers })
  metrics.watchRooms(rooms)
  fastify.decorate('turnipRooms', rooms)

  if (redis === undefined) {
    await rooms.open()
    lifecycle.phase = 'serving'
  } else {
    void open(redis).catch(error => { log.error({ err: error }, 'rooms could not be opened') })
  }

  /** Boot does not wait for Redis. A server that refuses us (no right to subscribe, say) is asked again when it is back. */
  async function open ({ commands, subscriber }: RedisConnections): Promise<void> {
    for (let isOpen = false; lifecycle.phase === 'starting' && subscriber.status !== 'end';) {
      try {
        if (!isOpen) await rooms.open()
        isOpen = true
        if (commands.status === 'ready') lifecycle.phase = 'serving'
      } catch (error) {
        log.warn({ err: error }, 'Redis does not let this instance subscribe; it is tried again')
        await delay(REFUSED_MS, undefined, { ref: false })
      }
      await delay(RETRY_MS, undefined, { ref: false })
    }
  }

  // Closed before the connections to Redis are: hooks run in reverse order of registration.
  fastify.addHook('onClose', async () => { await rooms.close() })
}, { name: 'turnip-rooms', dependencies: ['turnip-config', 'turnip-metrics', 'turnip-lifecycle', 'turnip-broker', 'turnip-presence'] })
