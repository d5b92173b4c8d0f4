import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { findTurnServer } from '../../scripts/services.js'
import { dieWithParent, endChild, type Exit } from './die-with-parent.ts'
import { until } from './until.ts'

export interface CoturnOptions {
  /** As `static-auth-secret`. */
  secret: string
  /** Any other setting, as on turnserver's command line. */
  args?: string[]
}

export interface Coturn {
  /** As TURN_URLS takes them: over UDP, and over TCP. */
  udpUrl: string
  tcpUrl: string
  /** What it wrote, line by line: each request with its user and how it was answered. */
  logs: string[]
  stop (): Promise<Exit>
}

const HOST = '127.0.0.1'
// Below the ports that the system gives to outgoing sockets, where a browser's own are.
const FIRST_PORT = 20_000
const LAST_PORT = 32_000
/** So many allocations at a time; a call takes one or two on each side. */
const RELAY_PORTS = 100
const ATTEMPTS = 20
const STOP_LIMIT_MS = 5000

/** The smallest question there is (RFC 8489 §5): a Binding request without attributes. */
const BINDING_REQUEST = Buffer.from('000100002112a442000000000000000000000000', 'hex')
const BINDING_RESPONSE = 0x0101

/** A real TURN server on loopback, with time-limited credentials, ports of its own and all that it writes in a directory of its own. */
export async function startCoturn ({ secret, args = [] }: CoturnOptions): Promise<Coturn> {
  const executable = findTurnServer()
  if (executable === undefined) throw new Error('No turnserver to test with: run "node scripts/install-services.js"')
  const port = await freePort()
  const firstRelay = randomInt(FIRST_PORT, LAST_PORT - RELAY_PORTS)
  const directory = await mkdtemp(join(tmpdir(), 'turnip-coturn-'))
  const child = spawn(executable, [
    '-n', // no configuration file
    `--listening-ip=${HOST}`, `--listening-port=${port}`, `--relay-ip=${HOST}`, `--min-port=${firstRelay}`, `--max-port=${firstRelay + RELAY_PORTS}`,
    '--use-auth-secret', `--static-auth-secret=${secret}`, '--realm=turnip.test',
    '--no-tls', '--no-dtls', '--no-cli', '--allow-loopback-peers', '--relay-threads=1',
    '--verbose', '--log-file=stdout', `--pidfile=${join(directory, 'pid')}`, `--userdb=${join(directory, 'db')}`, ...args
  ], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = dieWithParent(child, directory)
  const logs: string[] = []
  for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', line => { logs.push(line) })

  const stop = (): Promise<Exit> => endChild(child, exited, 'SIGTERM', STOP_LIMIT_MS)
  try {
    await answers(port, () => child.exitCode ?? child.signalCode)
  } catch (error) {
    await stop()
    throw new Error(`turnserver did not start:\n${logs.join('\n')}`, { cause: error })
  }
  return { udpUrl: `turn:${HOST}:${port}?transport=udp`, tcpUrl: `turn:${HOST}:${port}?transport=tcp`, logs, stop }
}

/** coturn itself shares a taken port without a word, so that it hears half of what it is sent. */
async function freePort (): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const port = randomInt(FIRST_PORT, LAST_PORT)
    const socket = createSocket('udp4')
    try {
      socket.bind(port, HOST)
      await once(socket, 'listening')
      return port
    } catch (error) {
      if (attempt === ATTEMPTS) throw error
    } finally {
      socket.close()
    }
  }
}

/** Waits until it answers over UDP; by then it listens on TCP too. @param ended how it ended, null as long as it has not */
async function answers (port: number, ended: () => number | string | null): Promise<void> {
  const socket: Socket = createSocket('udp4')
  let hasAnswered = false
  socket.on('message', answer => { if (answer.readUInt16BE() === BINDING_RESPONSE) hasAnswered = true })
  socket.on('error', () => {}) // nobody listens yet
  try {
    await until('turnserver answers', async () => {
      if (ended() !== null) throw new Error(`it ended with ${ended()}`)
      socket.send(BINDING_REQUEST, port, HOST)
      return hasAnswered
    })
  } finally {
    socket.close()
  }
}
