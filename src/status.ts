import { readFileSync } from 'node:fs'
import type { FastifyInstance } from 'fastify'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

/** What /health answers. */
export interface Health {
  status: 'healthy' | 'degraded' | 'starting' | 'draining'
  service: 'turnip'
  version: string
  /** `off` with `memory:`. */
  redis: 'up' | 'down' | 'off'
  /** Its lease has ended: it lets nobody in until it could renew it. Absent with `memory:`, as are the next two. */
  fenced?: boolean
  /** Since the lease was renewed, ms; null before it was held. */
  lease_age_ms?: number | null
  /** Instances alive at that time, this one too. */
  instances?: number
}

/** What /info answers. */
export interface Info {
  service: 'turnip'
  version: string
  realm: string
  instance_id: string
  threads: number
  node: string
  uptime_s: number
  connections: number
  rooms: number
  redis: Health['redis']
  fenced?: boolean
  lease_age_ms?: number | null
  instances?: number
  metrics: { enabled: boolean, port: number, bind_ip: string, auth: 'none' | 'basic' }
}

/** What an instance tells of itself. */
export interface Status { health (): Health, info (): Info }

/** @param fastify the scope in which the plugins are */
export function createStatus (fastify: FastifyInstance): Status {
  const { turnipConfig: config, turnipLifecycle: lifecycle, turnipRedis: redisConnections, turnipRooms: rooms, turnipConnections: connections } = fastify
  const redis = (): Health['redis'] => {
    if (redisConnections === undefined) return 'off'
    return redisConnections.commands.status === 'ready' && redisConnections.subscriber.status === 'ready' ? 'up' : 'down'
  }
  const cluster = (): Pick<Health, 'redis' | 'fenced' | 'lease_age_ms' | 'instances'> => {
    const { standing } = rooms
    if (standing === undefined) return { redis: redis() }
    const { isFenced, isReached, leaseAgeMs = null, instances } = standing
    // A connection that hangs looks alive for seconds.
    return { redis: isReached ? redis() : 'down', fenced: isFenced, lease_age_ms: leaseAgeMs, instances }
  }
  return {
    health () {
      const state = cluster()
      const serving = state.redis === 'down' || state.fenced === true ? 'degraded' : 'healthy'
      return { status: lifecycle.phase === 'serving' ? serving : lifecycle.phase, service: 'turnip', version, ...state }
    },
    info () {
      return {
        service: 'turnip',
        version,
        realm: config.realm,
        instance_id: config.instanceId,
        threads: config.threads,
        node: process.version,
        uptime_s: Math.floor(process.uptime()),
        connections: connections.size,
        rooms: rooms.roomCount,
        ...cluster(),
        metrics: { enabled: config.enableMetrics, port: config.metricsPort, bind_ip: config.metricsBindIp, auth: config.metricsAuth }
      }
    }
  }
}
