import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { RoomService } from '../rooms/room-service.ts'
import type { RedisConnections } from './redis.ts'

declare module 'fastify' {
  interface FastifyInstance { turnipRooms: RoomService }
}

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
    try {
      await rooms.open()
      if (commands.status !== 'ready') await once(commands, 'ready')
      if (lifecycle.phase === 'starting') lifecycle.phase = 'serving'
    } catch (error) {
      if (subscriber.status === 'end') return // closed before Redis was ever there
      log.warn({ err: error }, 'Redis does not let this instance subscribe; it is tried again')
      await once(subscriber, 'ready')
      await open({ commands, subscriber })
    }
  }

  // Closed before the connections to Redis are: hooks run in reverse order of registration.
  fastify.addHook('onClose', async () => { await rooms.close() })
}, { name: 'turnip-rooms', dependencies: ['turnip-config', 'turnip-metrics', 'turnip-lifecycle', 'turnip-broker', 'turnip-presence'] })
