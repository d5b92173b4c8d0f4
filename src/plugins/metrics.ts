import type { FastifyInstance } from 'fastify'
import fastifyMetrics from 'fastify-metrics'
import fp from 'fastify-plugin'
import promClient, { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Broker } from '../broker/broker.ts'
import type { Measure } from '../redis/measure.ts'
import type { Config } from '../config.ts'
import { Refusal } from '../protocol/refusal.ts'
import type { RoomService } from '../rooms/room-service.ts'
import { Traffic } from '../routes/traffic.ts'

declare module 'fastify' {
  interface FastifyInstance { turnipMetrics: Metrics }
}

/** Of a call's set-up: ICE gives up after 15 to 30 s, and people before that. */
const SETUP_BUCKETS_S = [0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60]
const LATENCY_BUCKETS_S = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

/**
 * What is counted here, and the registry it is scraped from. Labels come from fixed sets: nothing that a client can
 * invent (a user, a room, a path, a type of message) makes a series.
 */
export class Metrics {
  /** Undefined with ENABLE_METRICS=false: nothing is kept then. */
  readonly registry: Registry | undefined
  /** Messages by type, counted on the hot path as plain numbers. */
  readonly traffic = new Traffic()
  readonly #realm: string
  readonly #auth: AuthMetrics | undefined
  readonly #redis: RedisMetrics | undefined
  readonly #callSetUp: Histogram | undefined

  constructor ({ enableMetrics, realm, threads }: Pick<Config, 'enableMetrics' | 'realm' | 'threads'>) {
    this.#realm = realm
    if (!enableMetrics) return
    const registry = this.registry = new Registry()
    this.#auth = createAuthMetrics(registry)
    this.#redis = createRedisMetrics(registry)
    const started = Date.now()
    gauge(registry, 'turnip_server_uptime_seconds', 'Time since the start', () => [[{}, (Date.now() - started) / 1000]])
    gauge(registry, 'turnip_configured_threads', 'Threads of the libuv pool, as set', () => [[{}, threads]])
    gauge(registry, 'turnip_configured_realms', 'The realm that tokens must belong to', () => [[{ realm }, 1]])
    gauge(registry, 'turnip_memory_usage_bytes', 'Resident memory of the process', () => [[{}, process.memoryUsage.rss()]])
    const { traffic } = this
    counter(registry, 'turnip_connections_total', 'Connections opened', () => [[{ realm }, traffic.connections]])
    counter(registry, 'turnip_session_resumes_total', 'Clients that came back with a session, and what they found', () => labelled(realm, 'result', traffic.resumes))
    counter(registry, 'turnip_connections_refused_total', 'Clients that a limit kept out, by the limit', () => labelled(realm, 'limit', traffic.refused))
    counter(registry, 'turnip_slowdowns_total', 'Times a client was slowed down as it sent too much', () => [[{ realm }, traffic.slowdowns]])
    counter(registry, 'turnip_floods_total', 'Clients closed with 1008, as they went on sending too much', () => [[{ realm }, traffic.floods]])
    counter(registry, 'turnip_messages_received_total', 'Messages from clients', () => labelled(realm, 'message_type', traffic.received))
    counter(registry, 'turnip_messages_sent_total', 'Messages to clients', () => labelled(realm, 'message_type', traffic.sent))
    counter(registry, 'turnip_signaling_messages_total', 'Relayed messages by the type of their payload', () => labelled(realm, 'signal_type', traffic.signals))
    counter(registry, 'turnip_calls_total', 'Set-ups of calls that clients reported, by how they ended', () => labelled(realm, 'result', traffic.calls))
    counter(registry, 'turnip_call_path_total', 'Calls that connected, by the kind of their path', () => labelled(realm, 'path', traffic.paths))
    this.#callSetUp = new Histogram({ registers: [registry], name: 'turnip_call_setup_seconds', help: 'Time until a call was connected', labelNames: ['realm'], buckets: SETUP_BUCKETS_S })
    this.#callSetUp.zero({ realm })
  }

  /** Keeps how long a call took to connect. */
  callSetUp (seconds: number): void {
    this.#callSetUp?.observe({ realm: this.#realm }, seconds)
  }

  /** Adds what the rooms know of themselves. */
  watchRooms (rooms: RoomService): void {
    const { registry } = this
    if (registry === undefined) return
    const realm = this.#realm
    gauge(registry, 'turnip_active_rooms', 'Rooms with a member on this instance', () => [[{ realm }, rooms.roomCount]])
    counter(registry, 'turnip_room_joins_total', 'Joins of a room', () => [[{ realm }, rooms.counts.joins]])
    counter(registry, 'turnip_room_leaves_total', 'Leaves of a room', () => [[{ realm }, rooms.counts.leaves]])
    gauge(registry, 'turnip_instances', 'Instances alive, as seen when this one last renewed its lease', () => [[{ realm }, rooms.standing?.instances ?? 1]])
    counter(registry, 'turnip_members_reaped_total', 'Members of dead instances that this one has taken out', () => [[{ realm }, rooms.repairs.reaped]])
    counter(registry, 'turnip_roster_gaps_total', 'Rooms here that missed a change', () => [[{ realm }, rooms.repairs.gaps]])
    counter(registry, 'turnip_resyncs_total', 'Rooms whose members here were told the whole of it, and why', () => labelled(realm, 'cause', rooms.repairs.resyncs))
  }

  /** Adds what goes to other instances. */
  watchBroker ({ traffic }: Pick<Broker, 'traffic'>): void {
    const { registry } = this
    if (registry === undefined) return
    const realm = this.#realm
    counter(registry, 'turnip_inbox_publishes_total', 'Batches sent to other instances', () => [[{ realm }, traffic.publishes]])
    counter(registry, 'turnip_inbox_bytes_total', 'Bytes sent to other instances', () => [[{ realm }, traffic.bytes]])
  }

  /** Adds how many connections are open. */
  watchConnections (connections: { readonly size: number }): void {
    if (this.registry !== undefined) gauge(this.registry, 'turnip_active_connections', 'Connections that are open', () => [[{ realm: this.#realm }, connections.size]])
  }

  /** Runs the check of one token and keeps the figures of it. Hands on what it gives or throws. */
  async authentication<T> (run: () => Promise<T>): Promise<T> {
    if (this.#auth === undefined) return await run()
    const start = process.hrtime.bigint()
    try {
      const identity = await run()
      this.#auth.passed(this.#realm, secondsSince(start))
      return identity
    } catch (error) {
      this.#auth.failed(this.#realm, error instanceof Refusal ? error.code : 'internal', secondsSince(start))
      throw error
    }
  }

  readonly redis: Measure = async (operation, run) => {
    if (this.#redis === undefined) return await run()
    const start = process.hrtime.bigint()
    try {
      const answer = await run()
      this.#redis.passed(operation, secondsSince(start))
      return answer
    } catch (error) {
      this.#redis.failed(operation, typeOf(error), secondsSince(start))
      throw error
    }
  }
}

interface AuthMetrics {
  passed (realm: string, seconds: number): void
  failed (realm: string, reason: string, seconds: number): void
}

function createAuthMetrics (registry: Registry): AuthMetrics {
  const registers = [registry]
  const attempts = new Counter({ registers, name: 'turnip_auth_attempts_total', help: 'Checks of a token', labelNames: ['realm', 'result'] })
  const successes = new Counter({ registers, name: 'turnip_auth_success_total', help: 'Tokens that were accepted', labelNames: ['realm'] })
  const failures = new Counter({ registers, name: 'turnip_auth_failures_total', help: 'Tokens that were refused, and why', labelNames: ['realm', 'reason'] })
  const validations = new Counter({ registers, name: 'turnip_token_validations_total', help: 'Tokens by outcome', labelNames: ['result', 'reason'] })
  const duration = new Histogram({ registers, name: 'turnip_auth_duration_seconds', help: 'Time a check took', labelNames: ['realm', 'result'], buckets: LATENCY_BUCKETS_S })
  return {
    passed (realm, seconds) {
      attempts.inc({ realm, result: 'success' })
      successes.inc({ realm })
      validations.inc({ result: 'success', reason: 'none' })
      duration.observe({ realm, result: 'success' }, seconds)
    },
    failed (realm, reason, seconds) {
      attempts.inc({ realm, result: 'failure' })
      failures.inc({ realm, reason })
      validations.inc({ result: 'failure', reason })
      duration.observe({ realm, result: 'failure' }, seconds)
    }
  }
}

interface RedisMetrics {
  passed (operation: string, seconds: number): void
  failed (operation: string, errorType: string, seconds: number): void
}

function createRedisMetrics (registry: Registry): RedisMetrics {
  const registers = [registry]
  const operations = new Counter({ registers, name: 'turnip_redis_operations_total', help: 'Operations on Redis', labelNames: ['operation', 'result'] })
  const errors = new Counter({ registers, name: 'turnip_redis_errors_total', help: 'Operations that failed, by the kind of failure', labelNames: ['operation', 'error_type'] })
  const latency = new Histogram({ registers, name: 'turnip_redis_latency_seconds', help: 'Time an operation took', labelNames: ['operation'], buckets: LATENCY_BUCKETS_S })
  return {
    passed (operation, seconds) {
      operations.inc({ operation, result: 'success' })
      latency.observe({ operation }, seconds)
    },
    failed (operation, errorType, seconds) {
      operations.inc({ operation, result: 'failure' })
      errors.inc({ operation, error_type: errorType })
      latency.observe({ operation }, seconds)
    }
  }
}

/** Redis names the kind of a refusal in its first word; what is not on this list would let a server invent series. */
const REFUSALS = new Set(['OOM', 'READONLY', 'NOPERM', 'NOAUTH', 'WRONGPASS', 'LOADING', 'BUSY', 'MASTERDOWN', 'CLUSTERDOWN', 'MOVED', 'NOSCRIPT'])

function typeOf (error: unknown): string {
  const { message } = error as Error
  const [word = ''] = message.split(' ')
  if (REFUSALS.has(word)) return word.toLowerCase()
  if (message.includes('timed out')) return 'timeout'
  return /stream|connection/i.test(message) ? 'connection' : 'other'
}

type Samples = () => Array<[labels: Record<string, string>, value: number]>

/** A gauge read when scraped. */
function gauge (registry: Registry, name: string, help: string, samples: Samples): void {
  const metric: Gauge = new Gauge({ registers: [registry], name, help, labelNames: Object.keys(samples()[0]?.[0] ?? {}), collect: () => { for (const [labels, value] of samples()) metric.set(labels, value) } })
}

/** A counter whose value is kept as a plain number elsewhere and read when scraped. */
function counter (registry: Registry, name: string, help: string, samples: Samples): void {
  const metric: Counter = new Counter({
    registers: [registry],
    name,
    help,
    labelNames: Object.keys(samples()[0]?.[0] ?? {}),
    collect: () => {
      metric.reset()
      for (const [labels, value] of samples()) metric.inc(labels, value)
    }
  })
}

function labelled (realm: string, label: string, counts: Record<string, number>): Array<[Record<string, string>, number]> {
  return Object.entries(counts).map(([value, count]) => [{ realm, [label]: value }, count])
}

function secondsSince (start: bigint): number {
  return Number(process.hrtime.bigint() - start) / 1e9
}

/**
 * Decorates `turnipMetrics`, and has fastify-metrics keep the HTTP, process and runtime figures in the same registry:
 * one of our own, beside whatever the host keeps.
 */
export default fp(async (fastify: FastifyInstance) => {
  const { turnipConfig: config, turnipNonce: nonce } = fastify
  const metrics = new Metrics(config)
  fastify.decorate('turnipMetrics', metrics)
  const { registry } = metrics
  if (registry === undefined) return
  await fastify.register(fastifyMetrics.default, {
    name: `turnipHttpMetrics:${nonce}`,
    endpoint: null,
    promClient: { ...promClient, register: registry },
    defaultMetrics: { enabled: true, register: registry },
    routeMetrics: { enabled: true, overrides: { histogram: { registers: [registry] }, summary: { registers: [registry] } } }
  })
}, { name: 'turnip-metrics', dependencies: ['turnip-config'] })
