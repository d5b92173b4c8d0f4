import { spawn, type ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdtemp, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import { findRedisServer } from '../../scripts/services.js'
import { dieWithParent, endChild, type Exit } from './die-with-parent.ts'

/** Names of files in PEM. */
export interface TlsFiles { readonly cert: string, readonly key: string, readonly ca: string }

export interface RedisServerOptions {
  /** Asked of every client, and part of the url. */
  password?: string
  /** Any other setting, as on redis-server's command line. A `--loglevel` above notice hides that it is ready. */
  args?: string[]
  /** Speaks TLS alone, to other servers too. */
  tls?: TlsFiles | undefined
  /** To come back where a server stood before. Without it, any port that is free. */
  port?: number
}

export interface RedisServer {
  url: string
  host: string
  port: number
  password: string | undefined
  pid: number
  process: ChildProcess
  /** What it wrote, line by line. */
  logs: string[]
  exited: Promise<Exit>
  /** Ends it in order: its clients see their connections closed. */
  stop (): Promise<Exit>
  /** As a crash does. */
  kill (): Promise<Exit>
  /** Connections stay open and nothing is answered, as on a machine that hangs. */
  freeze (): void
  thaw (): void
  /** Kills it and starts an empty one on the same port, with the same options. */
  replace (): Promise<RedisServer>
}

const HOST = '127.0.0.1'

// Below the ports that Linux (32768) and macOS (49152) give to outgoing connections, which come and go by the thousand
// in these tests.
const FIRST_PORT = 20000
const LAST_PORT = 32000

const ATTEMPTS = 20
const STOP_LIMIT_MS = 5000

/**
 * A real redis-server, empty, on a loopback port and in a directory of its own. The server's own attempt to bind
 * decides whether a port is free: to look first and start then would be a race with the other test files.
 */
export async function startRedisServer (options: RedisServerOptions = {}): Promise<RedisServer> {
  const executable = findRedisServer()
  if (executable === undefined) throw new Error('No redis-server to test with: run "node scripts/install-services.js"')

  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? randomInt(FIRST_PORT, LAST_PORT)
    const server = await startOn(port, executable, options)
    if (server !== undefined) return server
    if (options.port !== undefined || attempt === ATTEMPTS) throw new Error(`redis-server: port ${port} is taken`)
  }
}

/** A connection of a test's own, for looking and for orders. A test may take its server away. */
export async function lookInto (address: { host: string, port: number, password?: string | undefined }, tls?: TlsFiles): Promise<Redis> {
  const { host, port, password } = address
  const redis = new Redis({ host, port, ...(password !== undefined && { password }), ...(tls && { tls: { ca: await readFile(tls.ca) } }) })
  redis.on('error', () => {})
  return redis
}

/** Answers undefined when the port is taken. */
async function startOn (port: number, executable: string, options: RedisServerOptions): Promise<RedisServer | undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'turnip-redis-'))
  const child = spawn(executable, [
    ...options.tls === undefined
      ? ['--port', String(port)]
      : ['--port', '0', '--tls-port', String(port), '--tls-cert-file', options.tls.cert, '--tls-key-file', options.tls.key, '--tls-ca-cert-file', options.tls.ca, '--tls-auth-clients', 'no',
          '--tls-replication', 'yes', '--tls-cluster', 'yes'],
    '--bind', HOST,
    '--dir', directory,
    '--save', '',
    '--appendonly', 'no',
    ...options.password === undefined ? [] : ['--requirepass', options.password],
    ...options.args ?? []
  ], { stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = dieWithParent(child, directory)

  const logs: string[] = []
  const ready = new Promise<true>(resolve => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', line => {
        logs.push(line)
        if (line.includes('Ready to accept connections')) resolve(true)
      })
    }
  })

  const isReady = await Promise.race([ready, exited.then(() => false)])
  if (!isReady) {
    const output = logs.join('\n')
    if (output.includes('Address already in use')) return undefined
    throw new Error(`redis-server did not start:\n${output}`)
  }

  const { pid } = child
  if (pid === undefined) throw new Error('redis-server is ready, but has no process id')

  const kill = (): Promise<Exit> => endChild(child, exited, 'SIGKILL', STOP_LIMIT_MS)
  return {
    url: `${options.tls === undefined ? 'redis' : 'rediss'}://${options.password === undefined ? '' : `:${encodeURIComponent(options.password)}@`}${HOST}:${port}`,
    host: HOST,
    port,
    password: options.password,
    pid,
    process: child,
    logs,
    exited,
    stop: () => endChild(child, exited, 'SIGTERM', STOP_LIMIT_MS),
    kill,
    freeze: () => { child.kill('SIGSTOP') },
    thaw: () => { child.kill('SIGCONT') },
    replace: async () => {
      await kill()
      return await startRedisServer({ ...options, port })
    }
  }
}
