import { randomInt } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import { lookInto, startRedisServer, type RedisServer, type TlsFiles } from './redis-server.ts'
import { until } from './until.ts'

export interface ClusterNode {
  server: RedisServer
  /** For looking and for orders. */
  redis: Redis
  id: string
}

export interface RedisCluster {
  /** For REDIS_URL. */
  url: string
  masters: ClusterNode[]
  /** Of the first master; only with `replica`. */
  replica: ClusterNode | undefined
  slotOf (key: string): Promise<number>
  /** The master that holds a slot, as the nodes see it. */
  ownerOf (slot: number): Promise<ClusterNode>
  /** Carries a slot with its keys over to another master, as `redis-cli --cluster reshard` does. */
  move (slot: number, to: ClusterNode): Promise<void>
  /** Starts a node again that was killed: it knows who it is and which slots it holds, and has no keys. */
  restart (node: ClusterNode): Promise<void>
  stop (): Promise<void>
}

const SLOTS = 16384
// Below the ports of outgoing connections, and beside those of servers.
const FIRST_BUS_PORT = 12000
const LAST_BUS_PORT = 20000

/** Three masters with a third of the slots each. */
export async function startRedisCluster ({ replica = false, tls }: { replica?: boolean, tls?: TlsFiles } = {}): Promise<RedisCluster> {
  const books = await mkdtemp(join(tmpdir(), 'turnip-cluster-'))
  const nodes = await Promise.all(Array.from({ length: replica ? 4 : 3 }, (_, index) => startNode(join(books, String(index)), tls)))
  const masters = nodes.slice(0, 3)
  const [first, spare] = [nodes[0], nodes[3]]
  if (first === undefined) throw new Error('no node')

  await Promise.all(masters.map(async ({ redis }, index) => {
    await redis.cluster('SET-CONFIG-EPOCH', index + 1)
    await redis.call('CLUSTER', 'ADDSLOTSRANGE', Math.ceil(index * SLOTS / 3), Math.ceil((index + 1) * SLOTS / 3) - 1)
  }))
  for (const { server } of nodes.slice(1)) await first.redis.call('CLUSTER', 'MEET', server.host, server.port, busPortOf(server))
  await until('the nodes know each other', async () => (await Promise.all(nodes.map(async ({ redis }) =>
    /cluster_state:ok[^]*cluster_known_nodes:(\d)/.exec(await redis.cluster('INFO'))?.[1] === String(nodes.length)))).every(Boolean))
  if (spare !== undefined) {
    await until('a replica has its master', async () => await spare.redis.cluster('REPLICATE', first.id).then(() => true, () => false))
    await until('a replica is in step', async () => (await spare.redis.info('replication')).includes('master_link_status:up'))
    await until('all know of the replica', async () => (await Promise.all(masters.map(async ({ redis }) =>
      String(await redis.cluster('NODES')).includes(`slave ${first.id}`)))).every(Boolean))
  }

  const ownerOf = async (slot: number): Promise<ClusterNode> => {
    for (const { redis } of nodes.filter(({ redis }) => redis.status === 'ready')) {
      const port = (await redis.cluster('SLOTS')).find(([from, to]) => from <= slot && slot <= to)?.[2]?.[1]
      const owner = nodes.find(({ server }) => server.port === port)
      if (owner !== undefined) return owner
    }
    throw new Error(`nobody holds slot ${slot}`)
  }
  return {
    url: `${tls === undefined ? 'redis' : 'rediss'}+cluster://${masters.map(({ server: { host, port } }) => `${host}:${port}`).join()}`,
    masters,
    replica: spare,
    slotOf: async key => await first.redis.cluster('KEYSLOT', key),
    ownerOf,
    move: async (slot, to) => {
      const from = await ownerOf(slot)
      await to.redis.cluster('SETSLOT', slot, 'IMPORTING', from.id)
      await from.redis.cluster('SETSLOT', slot, 'MIGRATING', to.id)
      const keys = await from.redis.cluster('GETKEYSINSLOT', slot, 1000)
      for (const key of keys) await from.redis.migrate(to.server.host, to.server.port, key, 0, 5000)
      for (const { redis } of [to, from, ...nodes.filter(node => node !== to && node !== from && node !== spare)]) await redis.cluster('SETSLOT', slot, 'NODE', to.id)
    },
    restart: async node => {
      node.server = await node.server.replace()
      await until('a node is there again', async () => await node.redis.ping().then(() => true, () => false))
    },
    stop: async () => {
      for (const { redis } of nodes) redis.disconnect()
      await Promise.all(nodes.map(({ server }) => server.kill()))
      await rm(books, { recursive: true })
    }
  }
}

function busPortOf ({ process: { spawnargs } }: RedisServer): string {
  return spawnargs[spawnargs.indexOf('--cluster-port') + 1] ?? ''
}

/** @param book a file in which the node keeps who it is and what it holds, for when it is started again */
async function startNode (book: string, tls: TlsFiles | undefined): Promise<ClusterNode> {
  const server = await startRedisServer({
    tls,
    args: ['--cluster-enabled', 'yes', '--cluster-config-file', book, '--cluster-node-timeout', '1500', '--cluster-require-full-coverage', 'no', '--repl-diskless-sync-delay', '0',
      '--cluster-port', String(randomInt(FIRST_BUS_PORT, LAST_BUS_PORT))]
  })
  const redis = await lookInto(server, tls)
  return { server, redis, id: String(await redis.cluster('MYID')) }
}
