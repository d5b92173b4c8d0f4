import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import { findRedisServer } from '../../scripts/services.js'
import { dieWithParent, endChild, type Exit } from './die-with-parent.ts'
import { lookInto, startRedisServer, type RedisServer, type TlsFiles } from './redis-server.ts'
import { until } from './until.ts'

const HOST = '127.0.0.1'
/** What the sentinels call the master. */
export const NAME = 'main'
export const PASSWORD = 'of the servers/@:'
export const SENTINEL_PASSWORD = 'of the sentinels'

export interface Sentinel { port: number, redis: Redis, stop (): Promise<Exit> }

export interface RedisSentinels {
  /** For REDIS_URL. */
  url: string
  /** The first one is the master. */
  servers: RedisServer[]
  sentinels: Sentinel[]
  /** Port of the master, as a sentinel sees it. */
  masterPort (): Promise<number>
  stop (): Promise<void>
}

/** A master, its replica and three sentinels, all with passwords. */
export async function startSentinels ({ tls }: { tls?: TlsFiles } = {}): Promise<RedisSentinels> {
  const args = ['--repl-diskless-sync-delay', '0', '--masterauth', PASSWORD]
  const master = await startRedisServer({ password: PASSWORD, args, tls })
  const replica = await startRedisServer({ password: PASSWORD, args: [...args, '--replicaof', `${HOST} ${master.port}`], tls })
  const looker = await lookInto(replica, tls)
  await until('a replica is in step', async () => (await looker.info('replication')).includes('master_link_status:up'))
  looker.disconnect()
  const sentinels = await Promise.all([0, 1, 2].map(() => startSentinel(master.port, tls)))
  await until('the sentinels know each other', async () => (await Promise.all(sentinels.map(async ({ redis }) => {
    const fields = await redis.call('SENTINEL', 'MASTER', NAME) as string[]
    const field = (name: string): string | undefined => fields[fields.indexOf(name) + 1]
    return field('num-slaves') === '1' && field('num-other-sentinels') === '2'
  }))).every(Boolean))
  const servers = [master, replica]
  return {
    url: `${tls === undefined ? 'redis' : 'rediss'}+sentinel://:${encodeURIComponent(PASSWORD)}@${sentinels.map(({ port }) => `${HOST}:${port}`).join()}/${NAME}?sentinel_password=${encodeURIComponent(SENTINEL_PASSWORD)}`,
    servers,
    sentinels,
    masterPort: async () => Number((await sentinels[0]?.redis.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME) as string[])[1]),
    stop: async () => {
      for (const server of servers) server.thaw()
      await Promise.all([...sentinels.map(sentinel => sentinel.stop()), ...servers.map(server => server.kill())])
    }
  }
}

async function startSentinel (masterPort: number, tls: TlsFiles | undefined): Promise<Sentinel> {
  const executable = findRedisServer() ?? 'redis-server'
  for (let attempt = 1; ; attempt++) {
    const port = randomInt(10000, 12000)
    const directory = await mkdtemp(join(tmpdir(), 'turnip-sentinel-'))
    const file = join(directory, 'sentinel.conf')
    await writeFile(file, [
      ...tls === undefined
        ? [`port ${port}`]
        : ['port 0', `tls-port ${port}`, `tls-cert-file ${tls.cert}`, `tls-key-file ${tls.key}`, `tls-ca-cert-file ${tls.ca}`, 'tls-auth-clients no', 'tls-replication yes'],
      `bind ${HOST}`, `dir ${directory}`, `requirepass "${SENTINEL_PASSWORD}"`, `sentinel sentinel-pass "${SENTINEL_PASSWORD}"`,
      `sentinel monitor ${NAME} ${HOST} ${masterPort} 2`, `sentinel auth-pass ${NAME} "${PASSWORD}"`,
      `sentinel down-after-milliseconds ${NAME} 1000`, `sentinel failover-timeout ${NAME} 4000`, ''
    ].join('\n'))
    const child = spawn(executable, [file, '--sentinel'], { stdio: ['ignore', 'pipe', 'pipe'] })
    const exited = dieWithParent(child, directory)
    let output = ''
    const ready = new Promise<boolean>(resolve => {
      for (const stream of [child.stdout, child.stderr]) {
        stream.on('data', bytes => {
          output += String(bytes)
          if (output.includes('Sentinel ID is')) resolve(true)
        })
      }
    })
    if (await Promise.race([ready, exited.then(() => false)])) {
      const redis = await lookInto({ host: HOST, port, password: SENTINEL_PASSWORD }, tls)
      return {
        port,
        redis,
        stop: async () => {
          redis.disconnect()
          return await endChild(child, exited, 'SIGKILL', 5000)
        }
      }
    }
    if (attempt === 10) throw new Error(`a sentinel did not start:\n${output}`)
  }
}
