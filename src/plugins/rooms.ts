import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { eventsOf, type RedisConnections } from '../redis/connections.ts'
import { RoomService } from '../rooms/room-service.ts'

declare module 'fastify' {
  interface FastifyInstance {
    turnipRooms: RoomService
    /** Who wants to know that the store has gone away (false), or is back and all rooms are right again (true). */
    turnipReachListeners: Set<(isUp: boolean) => void>
  }
}

/** How often an instance that starts looks whether Redis is there, ms. */
const RETRY_MS = 100
/** How long until a Redis that refuses us is asked again, ms. */
const REFUSED_MS = 2000

/** Decorates `turnipRooms`, and has the instance serve once other instances can reach it. */
export default fp(async (fastify: FastifyInstance) => {
  const { turnipConfig: config, turnipBroker: broker, turnipPresence: presence, turnipLeases: leases, turnipMetrics: metrics, turnipLifecycle: lifecycle, turnipRedis: redis, log } = fastify
  const closing = new AbortController()
  const listeners = new Set<(isUp: boolean) => void>()
  const rooms = new RoomService({
    presence,
    broker,
    leases,
    log,
    maxMembers: config.maxRoomMembers,
    onReach: isUp => { for (const listener of listeners) listener(isUp) }
  })
  metrics.watchRooms(rooms)
  metrics.watchBroker(broker)
  fastify.decorate('turnipReachListeners', listeners)
  fastify.decorate('turnipRooms', rooms)

  if (redis === undefined) {
    await rooms.open()
    lifecycle.phase = 'serving'
  } else {
    const connection = eventsOf(redis.commands)
    connection.on('close', () => { rooms.disconnected() })
    connection.on('ready', () => { rooms.reconnected() })
    // A node of a Cluster: it may come back without what it held, and the rest of the Cluster would not show that.
    connection.on('-node', () => { rooms.partLost() })
    void open(redis).catch(error => { log.error({ err: error }, 'rooms could not be opened') })
  }

  /** Boot does not wait for Redis. A server that refuses us (no right to subscribe, say) is asked again when it is back. */
  async function open ({ commands, subscriber }: RedisConnections): Promise<void> {
    while (lifecycle.phase === 'starting' && !closing.signal.aborted) {
      try {
        const isOpen = commands.status === 'ready' && subscriber.status === 'ready' && await rooms.open()
        if (isOpen && lifecycle.phase === 'starting') lifecycle.phase = 'serving' // it may drain by now
      } catch (error) {
        log.warn({ err: error }, 'Redis does not let this instance subscribe; it is tried again')
        await delay(REFUSED_MS, undefined, { ref: false })
      }
      await delay(RETRY_MS, undefined, { ref: false })
    }
  }

  // Closed before the connections to Redis are: hooks run in reverse order of registration.
  fastify.addHook('onClose', async () => {
    closing.abort()
    await rooms.close()
  })
}, { name: 'turnip-rooms', dependencies: ['turnip-config', 'turnip-metrics', 'turnip-lifecycle', 'turnip-broker', 'turnip-presence'] })
