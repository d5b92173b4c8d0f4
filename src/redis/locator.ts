/**
 * Connections whose server may change: the master that sentinels name, the node of a Cluster that an inbox is on. ioredis
 * has its own ways for both. They resubscribe behind one's back, and can end up with no connection and no further attempt.
 */
import { connect as connectTcp, Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { AbstractConnector, Redis, type Cluster, type CommonRedisOptions, type NatMap, type RedisOptions } from 'ioredis'
import type { Endpoint } from './address.ts'
import { within } from './deadline.ts'

/** Finds out where a connection has to go. */
export interface Locator {
  /** @throws when nobody tells within the deadline */
  locate (): Promise<Endpoint>
  /** Whether what answers there is what was looked for. @param info what its INFO says */
  isRight (info: { role?: string }): boolean
}

type Stream = Awaited<ReturnType<AbstractConnector['connect']>>

/** After this, a connection that was told to end is cut off, ms. */
const GOODBYE_MS = 500

/**
 * @param tls how to trust the server; undefined for no TLS
 * @returns what ioredis takes as `Connector`: each attempt asks anew where to go
 */
export function connectorTo (locator: Locator, tls: ConnectionOptions | undefined): NonNullable<CommonRedisOptions['Connector']> {
  return class extends AbstractConnector {
    constructor () { super(GOODBYE_MS) }

    override check (info: { role?: string }): boolean { return locator.isRight(info) }

    override async connect (): Promise<Stream> {
      this.connecting = true
      let endpoint: Endpoint | undefined
      try {
        endpoint = await locator.locate()
      } catch (error) {
        this.firstError = error as Error
      }
      // Closed meanwhile. ioredis wants these words.
      if (!this.connecting) throw new Error('Connection is closed.')
      if (endpoint === undefined) this.stream = new Socket().destroy()
      else this.stream = tls === undefined ? connectTcp({ ...endpoint }) : connectTls({ ...tls, ...endpoint })
      this.stream.once('error', error => { this.firstError = error })
      return this.stream
    }
  }
}

/** Where a server is reached from here that its fellows know by another address. */
function translated ({ host, port }: Endpoint, natMap: NatMap | undefined): Endpoint {
  const key = `${host}:${port}`
  return (typeof natMap === 'function' ? natMap(key) : natMap?.[key]) ?? { host, port }
}

/** What a sentinel knows of the master. The epoch grows with each failover. */
interface Opinion extends Endpoint { readonly epoch: number }

export interface MasterLocatorOptions {
  readonly sentinels: readonly Endpoint[]
  readonly name: string
  readonly timeoutMs: number
  /** For connections to sentinels. */
  readonly access: Omit<RedisOptions, 'replyMapping'>
  readonly natMap?: NatMap | undefined
}

/** The master, as the sentinels see it; one for each connection. All are asked at once, and a majority has to answer: one that was cut off knows only the past. */
export class MasterLocator implements Locator {
  readonly #options: MasterLocatorOptions
  /** Where the connection went last. */
  #chosen: Opinion | undefined

  constructor (options: MasterLocatorOptions) {
    this.#options = options
  }

  async locate (): Promise<Endpoint> {
    this.#chosen = await this.#find()
    return translated(this.#chosen, this.#options.natMap)
  }

  /** Whether there was a failover since the connection was made. */
  async hasMoved (): Promise<boolean> {
    const chosen = this.#chosen
    const latest = await this.#find().catch(() => undefined)
    if (chosen === undefined || latest === undefined || chosen !== this.#chosen) return false
    return latest.epoch > chosen.epoch && (latest.host !== chosen.host || latest.port !== chosen.port)
  }

  isRight ({ role }: { role?: string }): boolean { return role === undefined || role === 'master' }

  async #find (): Promise<Opinion> {
    const { sentinels, timeoutMs } = this.#options
    const opinions: Opinion[] = []
    let lastError: unknown
    const asked = sentinels.map(async sentinel => {
      try {
        opinions.push(await this.#ask(sentinel))
      } catch (error) {
        lastError = error
      }
    })
    const majority = Math.floor(sentinels.length / 2) + 1
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(resolve, timeoutMs)
      const done = (): void => { clearTimeout(timer); resolve() }
      for (const answer of asked) answer.then(() => { if (opinions.length >= majority) done() }, reject)
      Promise.all(asked).then(done, reject)
    })
    const [latest] = opinions.sort((a, b) => b.epoch - a.epoch)
    if (latest === undefined) throw new Error('no sentinel tells where the master is', { cause: lastError })
    return latest
  }

  async #ask ({ host, port }: Endpoint): Promise<Opinion> {
    const { name, timeoutMs, access } = this.#options
    const sentinel = new Redis({
      ...access, host, port, lazyConnect: true, retryStrategy: () => null, enableReadyCheck: false, connectTimeout: timeoutMs, commandTimeout: timeoutMs, maxRetriesPerRequest: 0
    })
    sentinel.on('error', () => {}) // the command tells
    try {
      const fields = await within(timeoutMs, sentinel.call('SENTINEL', 'MASTER', name)) as string[]
      const field = (key: string): string => fields[fields.indexOf(key) + 1] ?? ''
      return { host: field('ip'), port: Number(field('port')), epoch: Number(field('config-epoch')) }
    } finally {
      sentinel.disconnect()
    }
  }
}

/** How many nodes are asked at once: the first answer counts. */
const NODES_ASKED = 3

/** The node of a Cluster that holds a channel's slot. Where an answer is out of date, that node says so: see connections.ts. */
export class SlotLocator implements Locator {
  readonly #commands: Cluster
  readonly #channel: string
  readonly #timeoutMs: number
  #slot: number | undefined

  /** @param commands knows the nodes */
  constructor (commands: Cluster, channel: string, timeoutMs: number) {
    this.#commands = commands
    this.#channel = channel
    this.#timeoutMs = timeoutMs
  }

  isRight (): boolean { return true }

  async locate (): Promise<Endpoint> {
    const nodes = this.#commands.nodes('all').sort(() => Math.random() - 0.5).slice(0, NODES_ASKED)
    if (nodes.length === 0) throw new Error('no node of the Cluster is known')
    return await within(this.#timeoutMs, Promise.any(nodes.map(node => this.#ask(node))))
  }

  async #ask (node: Redis): Promise<Endpoint> {
    const slot = this.#slot ??= await node.cluster('KEYSLOT', this.#channel)
    const [,, master] = (await node.cluster('SLOTS')).find(([first, last]) => first <= slot && slot <= last) ?? []
    if (master === undefined) throw new Error('no node of the Cluster holds the slot')
    // A node may leave out its own name.
    return master[0] === '' ? { host: node.options.host ?? '', port: master[1] } : translated({ host: master[0], port: master[1] }, this.#commands.options.natMap)
  }
}
