import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { dieWithParent, endChild, type Exit } from './die-with-parent.ts'

/** Signs the tokens of every server that is given no other. */
export const ACCESS_SECRET = 'an access secret for tests, and for tests alone'

export interface TurnipProcessOptions {
  /** Over the defaults below; undefined takes one of them away. */
  env?: Record<string, string | undefined>
  /** The built server in dist/ instead of the sources. */
  built?: boolean
  /** How long it may take to listen. */
  startLimitMs?: number
}

export interface TurnipProcess {
  url: string
  wsUrl: string
  /** Undefined when ENABLE_METRICS is false. */
  metricsUrl: string | undefined
  pid: number
  /** What it wrote on stdout and stderr, line by line. */
  logs: string[]
  exited: Promise<Exit>
  /** Sends the signal and waits for the end; one that takes longer than the limit is killed. */
  stop (signal?: NodeJS.Signals, limitMs?: number): Promise<Exit>
  /** For faults: SIGSTOP, SIGCONT, SIGKILL. */
  signal (signal: NodeJS.Signals): void
}

/** What a server says once it can be reached. */
export interface ListeningLine {
  url: string
  metrics_url?: string
}

const ROOT = new URL('../../', import.meta.url)

// The rest of the developer's environment stays out: a PORT or REDIS_URL of theirs must not change what a test tests.
// NODE_V8_COVERAGE lets c8 count what runs in here.
const INHERITED = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'NODE_OPTIONS', 'NODE_V8_COVERAGE']

const START_LIMIT_MS = 30_000

// Beyond the longest drain.
export const STOP_LIMIT_MS = 40_000

/** The standalone server as a process of its own, on free ports, with rooms in memory unless REDIS_URL says otherwise. */
export async function startTurnip ({ built = false, ...options }: TurnipProcessOptions = {}): Promise<TurnipProcess> {
  return await launch(program(built), createListeningParser(), options)
}

/** Runs a program of Node's until it says where it listens, and hands it over. Whatever happens, it does not outlive us. */
export async function launch (
  args: string[], parse: (line: string) => ListeningLine | undefined, { env = {}, startLimitMs = START_LIMIT_MS }: Omit<TurnipProcessOptions, 'built'>
): Promise<TurnipProcess> {
  // A directory of its own, so that a .env of the developer's is not read either.
  const directory = await mkdtemp(join(tmpdir(), 'turnip-server-'))
  const child = spawn(process.execPath, args, {
    cwd: directory,
    env: environment(env),
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const exited = dieWithParent(child, directory)

  const logs: string[] = []
  const listening = new Promise<ListeningLine>(resolve => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', line => {
        logs.push(line)
        const found = parse(line)
        if (found !== undefined) resolve(found)
      })
    }
  })

  const limit = setTimeout(() => {
    logs.push(`(killed: not listening after ${startLimitMs} ms)`)
    child.kill('SIGKILL')
  }, startLimitMs)
  const outcome = await Promise.race([listening, exited])
  clearTimeout(limit)

  const { pid } = child
  if (!('url' in outcome) || pid === undefined) {
    // As few words as possible before its own: tests match them.
    throw new Error(logs.join('\n'), { cause: outcome })
  }

  return {
    url: outcome.url,
    wsUrl: `${outcome.url.replace(/^http/, 'ws')}/ws`,
    metricsUrl: outcome.metrics_url,
    pid,
    logs,
    exited,
    stop: (signal = 'SIGTERM', limitMs = STOP_LIMIT_MS) => endChild(child, exited, signal, limitMs),
    signal: signal => { child.kill(signal) }
  }
}

function program (built: boolean): string[] {
  if (built) return [fileURLToPath(new URL('dist/server.js', ROOT))]
  // By its URL: Node looks for a bare `tsx` from the working directory, where there is none.
  return ['--import', import.meta.resolve('tsx'), fileURLToPath(new URL('src/server.ts', ROOT))]
}

function environment (given: Record<string, string | undefined>): NodeJS.ProcessEnv {
  const inherited = Object.fromEntries(INHERITED.map(name => [name, process.env[name]]))
  const all = {
    ...inherited,
    ENVIRONMENT: 'production',
    PORT: '0',
    PUBLIC_IP: '127.0.0.1',
    METRICS_PORT: '0',
    METRICS_BIND_IP: '127.0.0.1',
    REDIS_URL: 'memory:',
    ACCESS_SECRET,
    // Tests fail to get in on purpose, and all from one address; undefined gives the default back.
    AUTH_FAILURES_PER_IP: '0',
    // The default is the hostname, which two servers of one test would share.
    INSTANCE_ID: `test-${randomBytes(4).toString('hex')}`,
    ...given
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

/** Finds where the server listens in what it logs: one line of JSON, or the lines of pino-pretty with ENVIRONMENT=development. */
export function createListeningParser (): (line: string) => ListeningLine | undefined {
  let fields: Record<string, string> | undefined
  return line => {
    if (line.startsWith('{')) return parseListeningLine(line)
    if (line.endsWith(': Turnip is listening')) fields = {}
    const [, name, value] = /^ {4}(\w+): "(.*)"$/.exec(line) ?? []
    if (fields === undefined || name === undefined || value === undefined) return undefined
    fields[name] = value
    // The last one.
    return name === 'realm' ? listeningLineOf(fields) : undefined
  }
}

function parseListeningLine (line: string): ListeningLine | undefined {
  let entry: unknown
  try {
    entry = JSON.parse(line)
  } catch {
    return undefined
  }
  if (typeof entry !== 'object' || entry === null) return undefined
  if (!('msg' in entry) || entry.msg !== 'Turnip is listening') return undefined
  return listeningLineOf(entry)
}

function listeningLineOf (entry: object): ListeningLine | undefined {
  if (!('url' in entry) || typeof entry.url !== 'string') return undefined
  const { url } = entry
  return 'metrics_url' in entry && typeof entry.metrics_url === 'string' ? { url, metrics_url: entry.metrics_url } : { url }
}
