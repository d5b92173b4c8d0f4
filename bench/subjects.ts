/** The servers that are measured, and how each is started. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { startRedisServer, type RedisServer } from '../test/harness/redis-server.ts'
import { createListeningParser, launch, type TurnipProcess } from '../test/harness/turnip-process.ts'
import { serving } from '../test/harness/until.ts'
import type { Job } from './driver/job.ts'
import type { ProtocolName } from './protocols/index.ts'

interface Server {
  readonly title: string
  readonly protocol: ProtocolName
  readonly file: string
  /** The file that runs where instances share a Redis; undefined for a server that cannot. */
  readonly sharedFile?: string
  readonly env?: Readonly<Record<string, string>>
}

/** Everything that a deployment has switched on, with the limits where the load does not reach them: their code still runs. */
const TURNIP_ENV = {
  ENVIRONMENT: 'production',
  LOG_LEVEL: 'info',
  ENABLE_METRICS: 'true',
  TOKEN_EXP_REQUIRED: 'true',
  MESSAGES_PER_SECOND: '1000000',
  BYTES_PER_SECOND: '10000000000',
  MAX_ROOM_MEMBERS: '1000',
  MAX_CONNECTIONS_PER_USER: '100',
  MAX_CONNECTIONS_PER_IP: '1000000',
  AUTH_FAILURES_PER_IP: '10'
}

const TURNIP_FILE = '../dist/server.js'

export const servers = {
  turnip: { title: 'Turnip', protocol: 'turnip', file: TURNIP_FILE, sharedFile: TURNIP_FILE, env: TURNIP_ENV },
  sessions: { title: 'Turnip, sessions', protocol: 'sessions', file: TURNIP_FILE, sharedFile: TURNIP_FILE, env: TURNIP_ENV },
  ws: { title: 'bare ws', protocol: 'ws', file: 'servers/bare-ws.js', sharedFile: 'servers/bare-ws-redis.js' },
  peerjs: { title: 'PeerJS', protocol: 'peerjs', file: 'servers/peerjs.js' },
  socketio: { title: 'Socket.IO', protocol: 'socketio', file: 'servers/socketio.js', sharedFile: 'servers/socketio.js' }
} as const satisfies Record<string, Server>

export type ServerName = keyof typeof servers
export const serverNames = Object.keys(servers) as ServerName[]

/** A server under test: its instances, and their Redis. */
export interface Subject extends Pick<Job, 'protocol' | 'ports' | 'pids'> {
  /** What it has written last, for when something went wrong. */
  lastWords (): string
  stop (): Promise<void>
}

export interface Deployment {
  readonly instances: number
  readonly redis: boolean
  /** Flags of node, the same for all servers. */
  readonly nodeFlags?: readonly string[]
}

/** A server is given no more than this to end, ms: it has no clients any more. */
const STOP_LIMIT_MS = 10_000

/** Starts a server's instances as processes of their own, on free loopback ports. @throws Error that says what to do */
export async function startSubject (name: ServerName, { instances, redis: isShared, nodeFlags = [] }: Deployment): Promise<Subject> {
  const { title, protocol, file, sharedFile, env }: Server = servers[name]
  const chosen = isShared ? sharedFile : file
  if (chosen === undefined) throw new Error(`${title} does not run with Redis`)
  const path = fileURLToPath(new URL(chosen, import.meta.url))
  if (!existsSync(path)) throw new Error(`There is no ${path}: run "npm run build"`)

  const isTurnip = file === TURNIP_FILE
  let redis: RedisServer | undefined
  const processes: TurnipProcess[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(processes.map(instance => instance.stop('SIGTERM', STOP_LIMIT_MS)))
    await redis?.stop()
  }
  try {
    if (isShared) redis = await startRedisServer()
    const given = { ...env, NODE_ENV: 'production', REDIS_URL: redis?.url ?? 'memory:' }
    for (let i = 0; i < instances; i++) processes.push(await launch([...nodeFlags, path], isTurnip ? createListeningParser() : parseUrl, { env: given }))
    if (isTurnip) await Promise.all(processes.map(serving))
  } catch (error) {
    await stop()
    throw new Error(`${title} did not start: ${(error as Error).message}`, { cause: error })
  }
  return {
    protocol,
    ports: processes.map(({ url }) => Number(new URL(url).port)),
    pids: { server: processes.map(({ pid }) => pid), redis: redis === undefined ? [] : [redis.pid] },
    lastWords: () => processes.flatMap(({ logs }) => logs.slice(-5)).join('\n'),
    stop
  }
}

/** What bench/servers/ print once they listen. */
function parseUrl (line: string): { url: string } | undefined {
  return line.startsWith('{"url":') ? JSON.parse(line) as { url: string } : undefined
}
