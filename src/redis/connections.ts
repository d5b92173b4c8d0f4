import type { EventEmitter } from 'node:events'
import type { ConnectionOptions } from 'node:tls'
import { Cluster, Redis, type RedisOptions as AllRedisOptions } from 'ioredis'
import type { Config } from '../config.ts'
import { parseAddress, type Access, type Address } from './address.ts'
import { cut } from './cut.ts'
import { connectorTo, MasterLocator, SlotLocator, type Locator, type MasterLocatorOptions } from './locator.ts'
import { within } from './deadline.ts'

/** One server, the master that sentinels name, or a Cluster. */
export type RedisClient = Redis | Cluster

/** `on` of the two has no common type. */
export function eventsOf (client: RedisClient): EventEmitter { return client }

/** The two connections to Redis: one cannot do the other's work, as they differ in what they do while Redis is away. */
export interface RedisConnections {
  /** Fails fast while Redis is away: a command is answered, or rejected, within REDIS_TIMEOUT_MS. Nothing is ever sent twice. */
  readonly commands: RedisClient
  /** Waits for Redis as long as it takes. In a Cluster it goes to the node that this process' inbox is on. */
  readonly subscriber: Redis
  /** For each connection, what finds out whether it should go elsewhere by now. Empty without sentinels. */
  readonly masters: ReadonlyMap<Redis, MasterLocator>
  /** The database that the connections use. */
  readonly db: number
}

/** Replies keep their usual form: the option that would change it is none of ours. */
type RedisOptions = Omit<AllRedisOptions, 'replyMapping'>

/** How long a goodbye to Redis may take, ms: `quit` on a dead connection would hang for up to a minute. */
const QUIT_MS = 1000
/** How often the nodes of a Cluster are asked which slots they hold, ms; a wrong guess is corrected by the node that is asked. */
export const SLOTS_REFRESH_MS = 2000
/** A server that refuses to write may be a replica by now. One that stays read-only is not asked again and again, ms. */
const READONLY_PAUSE_MS = 5000

/** Reconnecting: at first after 50 ms, at most after 2 s, with jitter so that instances do not come back in step. */
export function retryStrategy (attempt: number): number {
  return Math.min(2000, 50 * 2 ** Math.min(attempt, 6)) * (0.5 + Math.random() / 2)
}

interface Credentials { username: string | undefined, password: string | undefined, tls: ConnectionOptions | undefined }

function accessOptions ({ username, password, tls }: Credentials): RedisOptions {
  return { ...(username !== undefined && { username }), ...(password !== undefined && { password }), ...(tls !== undefined && { tls }), disableClientInfo: true }
}

function serverAccess ({ tls, username, password }: Access, { redisPassword }: Config): RedisOptions {
  return accessOptions({ username, password: password ?? (redisPassword === '' ? undefined : redisPassword), tls: tls ? {} : undefined })
}

/** What a host may want for its own commands, and would change the meaning of ours. */
const plainOptions = { keyPrefix: '', stringNumbers: false, enableAutoPipelining: false }

function commonOptions ({ redisTimeoutMs }: Config): RedisOptions {
  return { ...plainOptions, connectTimeout: redisTimeoutMs, retryStrategy, lazyConnect: true, disableClientInfo: true }
}

/** A script whose reply was lost may have run: no command is ever sent a second time behind our back. */
function commandOptions ({ redisTimeoutMs }: Config): RedisOptions {
  let last = -Infinity
  return {
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    commandTimeout: redisTimeoutMs,
    autoResendUnfulfilledCommands: false,
    reconnectOnError: ({ message }) => {
      if (!message.startsWith('READONLY') || performance.now() - last < READONLY_PAUSE_MS) return false
      last = performance.now()
      return 1
    }
  }
}

const subscriberOptions: RedisOptions = { maxRetriesPerRequest: null, enableOfflineQueue: true, autoResubscribe: false }

/**
 * Opens nothing yet: `connect` does.
 * @param host the host's own client: its settings are used, not its connection, which may wait for Redis for ever where
 * ours must fail fast. It is never closed here.
 * @param inbox the channel of this process; in a Cluster, the subscriber goes where that is
 */
export function createConnections (config: Config, host: RedisClient | undefined, inbox: string): RedisConnections {
  if (host !== undefined) return host.isCluster ? ofCluster(config, host as Cluster, inbox) : ofHost(config, host as Redis)
  const address = parseAddress(config.redisUrl)
  switch (address?.form) {
    case 'server': return ofServer(config, address)
    case 'sentinel': return ofSentinels(config, address)
    case 'cluster': return ofCluster(config, address, inbox)
    default: throw new Error('REDIS_URL names no Redis') // it was checked with the settings
  }
}

function ofHost (config: Config, host: Redis): RedisConnections {
  const common = commonOptions(config)
  const { sentinels, name = '', sentinelUsername, sentinelPassword, sentinelTLS, enableTLSForSentinelMode, tls, natMap, db = 0 } = host.options
  const open = (options: RedisOptions): Redis => host.duplicate({ ...common, ...options })
  if (sentinels == null) return { commands: open(commandOptions(config)), subscriber: open(subscriberOptions), masters: new Map(), db }
  const endpoints = sentinels.map(({ host = '127.0.0.1', port = 26379 }) => ({ host, port }))
  const access = accessOptions({ username: sentinelUsername ?? undefined, password: sentinelPassword ?? undefined, tls: sentinelTLS })
  return ofMaster(config, open, { sentinels: endpoints, name, access, natMap }, enableTLSForSentinelMode === true ? tls : undefined, db)
}

function ofServer (config: Config, address: Address & { form: 'server' }): RedisConnections {
  const { server, db = config.redisDb } = address
  const common: RedisOptions = { ...commonOptions(config), ...serverAccess(address, config), ...server, db }
  return { commands: new Redis({ ...common, ...commandOptions(config) }), subscriber: new Redis({ ...common, ...subscriberOptions }), masters: new Map(), db }
}

function ofSentinels (config: Config, address: Address & { form: 'sentinel' }): RedisConnections {
  const { sentinels, name, db = config.redisDb, sentinelUsername: username, sentinelPassword: password } = address
  const tls = address.tls ? {} : undefined
  const open = (options: RedisOptions): Redis => new Redis({ ...commonOptions(config), ...serverAccess(address, config), db, ...options })
  return ofMaster(config, open, { sentinels, name, access: accessOptions({ username, password, tls }) }, tls, db)
}

function ofMaster (config: Config, open: (options: RedisOptions) => Redis, where: Omit<MasterLocatorOptions, 'timeoutMs'>, tls: ConnectionOptions | undefined, db: number): RedisConnections {
  const masters = new Map<Redis, MasterLocator>()
  const follow = (options: RedisOptions): Redis => {
    const locator = new MasterLocator({ ...where, timeoutMs: config.redisTimeoutMs })
    const client = open({ ...options, ...located(locator, tls) })
    masters.set(client, locator)
    return client
  }
  return { commands: follow(commandOptions(config)), subscriber: follow(subscriberOptions), masters, db }
}

function located (locator: Locator, tls: ConnectionOptions | undefined): RedisOptions {
  return { Connector: connectorTo(locator, tls), enableReadyCheck: true }
}

/** @param origin a host's own, or where nodes are */
function ofCluster (config: Config, origin: Cluster | Address & { form: 'cluster' }, inbox: string): RedisConnections {
  const { redisTimeoutMs } = config
  const nodeOptions = { ...plainOptions, connectTimeout: redisTimeoutMs, commandTimeout: redisTimeoutMs, maxRetriesPerRequest: 0, autoResendUnfulfilledCommands: false, disableClientInfo: true, disconnectTimeout: QUIT_MS }
  const options = {
    ...plainOptions,
    lazyConnect: true,
    enableOfflineQueue: false,
    enableReadyCheck: true,
    shardedSubscribers: false,
    scaleReads: 'master' as const,
    clusterRetryStrategy: retryStrategy,
    clusterNodeRetryStrategy: () => null,
    // A command whose connection broke may have been carried out. One that was redirected was not, and is sent where it belongs.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    slotsRefreshTimeout: Math.min(redisTimeoutMs, 1000),
    slotsRefreshInterval: SLOTS_REFRESH_MS
  }
  let access: RedisOptions
  let commands: Cluster
  if (origin instanceof Cluster) {
    const { replyMapping: _, ...redisOptions } = origin.options.redisOptions ?? {}
    access = redisOptions
    commands = origin.duplicate([], { ...options, redisOptions: { ...redisOptions, ...nodeOptions } })
  } else {
    access = serverAccess(origin, config)
    // Names are looked up at each connection: as a name that TLS can check, and one that is gone does not hold up the others.
    const dnsLookup = (name: string, callback: (error: null, address: string) => void): void => { callback(null, name) }
    commands = new Cluster([...origin.nodes], { ...options, dnsLookup, redisOptions: { ...access, ...nodeOptions } })
  }
  commands.on('refresh', () => {
    if (commands.nodes().length === 0) eventsOf(commands).emit('error', new Error('the nodes of the Cluster do not know their own addresses: set cluster-announce-ip'))
  })
  const locator = new SlotLocator(commands, inbox, redisTimeoutMs)
  const subscriber = new Redis({ ...access, ...commonOptions(config), ...subscriberOptions, ...located(locator, access.tls) })
  // The inbox has moved to another node, or that was where it went in the first place.
  subscriber.on('moved', () => { cut(subscriber) })
  return { commands, subscriber, masters: new Map(), db: 0 }
}

/** Says goodbye within a bound, whatever state the connection is in. */
export async function close (client: RedisClient): Promise<void> {
  if (client.status === 'ready') await within(QUIT_MS, client.quit()).catch(() => {}) // disconnect ends it all the same
  client.disconnect()
}

/** Redis' refusals carry the command that was refused, and loggers print all of an error: passwords, what users say. */
export function withoutCommand (error: unknown): unknown {
  if (error instanceof Error && 'command' in error) delete error.command
  return error
}
