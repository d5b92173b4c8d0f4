import { randomInt } from 'node:crypto'
import { Redis } from 'ioredis'
import { RedisRooms } from '../harness/redis-rooms.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving } from '../harness/until.ts'
import { Link } from './link.ts'
import { instances } from './troubles.ts'

export const REDIS_TIMEOUT_MS = 1000
export const DRAIN_TIMEOUT_MS = 3000
export const RESUME_WINDOW_MS = 5000
/** A process that has not ended this long after it could have hangs, ms. */
const STOP_LIMIT_MS = DRAIN_TIMEOUT_MS + 10_000

const ATTEMPTS = 10

export interface ClusterOptions { readonly leaseMs: number, readonly built: boolean }

/** One place in the cluster: a port, an INSTANCE_ID and a way to Redis, and the process that has them at the moment. */
export class Instance {
  readonly index: number
  readonly link: Link
  readonly #options: ClusterOptions
  #port = 0
  #process: TurnipProcess | undefined
  #scanned = 0

  constructor (index: number, link: Link, options: ClusterOptions) {
    this.index = index
    this.link = link
    this.#options = options
  }

  get url (): string { return `http://127.0.0.1:${this.#port}` }
  get logs (): readonly string[] { return this.#process?.logs ?? [] }
  signal (signal: NodeJS.Signals): void { this.#process?.signal(signal) }

  /** Starts a process where the one before stood. Resolves once it lets clients in. */
  async start (): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      // Below the ports that are given to outgoing connections: nobody takes it while the process is away.
      const port = this.#port === 0 ? randomInt(20_000, 32_000) : this.#port
      try {
        this.#process = await startTurnip({
          built: this.#options.built,
          env: {
            PORT: String(port),
            INSTANCE_ID: `chaos-${this.index}`,
            REDIS_URL: this.link.url,
            LEASE_MS: String(this.#options.leaseMs),
            REDIS_TIMEOUT_MS: String(REDIS_TIMEOUT_MS),
            DRAIN_TIMEOUT_MS: String(DRAIN_TIMEOUT_MS),
            RESUME_WINDOW_MS: String(RESUME_WINDOW_MS)
          }
        })
        this.#port = port
        break
      } catch (error) {
        if (this.#port !== 0 || attempt === ATTEMPTS || !String(error).includes('is taken')) throw error
      }
    }
    this.#scanned = 0
    await serving(this.#process)
  }

  async kill (): Promise<void> {
    await this.#process?.stop('SIGKILL')
  }

  /** @throws when it does not end by itself, or not with 0 */
  async stop (): Promise<void> {
    const exit = await this.#process?.stop('SIGTERM', STOP_LIMIT_MS)
    if (exit?.code !== 0) throw new Error(`instance ${this.index} ended with ${JSON.stringify(exit)} after SIGTERM`)
  }

  /** @returns lines of the log that came since the last call and that no fault excuses: errors, and what is no log at all */
  findings (): string[] {
    const lines = this.logs.slice(this.#scanned)
    this.#scanned += lines.length
    return lines.filter(line => levelOf(line) >= 50)
  }
}

/** Three instances, each with a way of its own to one Redis; and our own eye on that Redis. */
export class Cluster {
  readonly instances: readonly Instance[]
  readonly rooms: RedisRooms
  readonly redis: Redis
  #server: RedisServer

  private constructor (server: RedisServer, members: readonly Instance[]) {
    this.#server = server
    this.instances = members
    this.rooms = new RedisRooms(server.url)
    this.redis = new Redis(server.url, { retryStrategy: () => 50, maxRetriesPerRequest: null })
    this.redis.on('error', () => {}) // it is taken away on purpose
  }

  static async start (options: ClusterOptions): Promise<Cluster> {
    const server = await startRedisServer()
    const links = await Promise.all(instances.map(() => Link.open(server.port)))
    const cluster = new Cluster(server, links.map((link, index) => new Instance(index, link, options)))
    try {
      await Promise.all(cluster.instances.map(instance => instance.start()))
    } catch (error) {
      await cluster.end()
      throw error
    }
    return cluster
  }

  instance (index: number): Instance {
    const instance = this.instances[index]
    if (instance === undefined) throw new RangeError(`there is no instance ${index}`)
    return instance
  }

  freezeRedis (): void { this.#server.freeze() }
  thawRedis (): void { this.#server.thaw() }
  async killRedis (): Promise<void> { await this.#server.kill() }
  /** An empty one, where the last one stood. */
  async replaceRedis (): Promise<void> { this.#server = await this.#server.replace() }

  /** Keys of ours, and those of them that stay for ever. */
  async keys (): Promise<{ all: string[], lasting: string[] }> {
    const all = await this.rooms.keys()
    const ttls = await Promise.all(all.map(async key => await this.redis.pttl(key)))
    return { all, lasting: all.filter((_, i) => ttls[i] === -1) }
  }

  /** Ends everything, whatever state it is in. */
  async end (): Promise<void> {
    this.redis.disconnect()
    this.rooms.drop()
    await Promise.all(this.instances.map(instance => instance.kill()))
    await Promise.all(this.instances.map(({ link }) => link.close()))
    await this.#server.kill()
  }
}

/** The level of a line of the log, 50 being `error`. What is no JSON (the runtime's own complaints) counts as one. */
function levelOf (line: string): number {
  try {
    return (JSON.parse(line) as { level: number }).level
  } catch {
    return line.trim() === '' ? 0 : Infinity
  }
}
