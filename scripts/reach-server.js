/**
 * Finds the server that a demo talks to: the one that was named, the one that runs here, or else one of its own, with
 * rooms in memory and on free ports, that lives as long as the demo.
 */
import { spawn } from 'node:child_process'
import { createHmac, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** What a user is told in one line, without a stack. */
export class Trouble extends Error {}

/**
 * Runs a script to its end. Trouble is told, and makes the exit code 1; any other error is a fault of ours, and wants its stack.
 *
 * @param {() => Promise<void>} run
 */
export async function tellTrouble (run) {
  try {
    await run()
  } catch (error) {
    if (!(error instanceof Trouble)) throw error
    console.error(error.message)
    process.exitCode = 1
  }
}

export const SERVER_FLAGS = /** @type {const} */ ({
  url: { type: 'string', short: 'u' },
  'metrics-url': { type: 'string', short: 'm' },
  secret: { type: 'string', short: 's' },
  own: { type: 'boolean', short: 'o' }
})

/** The part of a `--help` that is about these flags. */
export const SERVER_HELP = `Talks to the server that runs on this machine. Where none does, it starts one of its own, and ends it afterwards.

  -u, --url          where the server is; default http://localhost:5004, or PORT
  -m, --metrics-url  its /metrics; default http://localhost:9090/metrics, or METRICS_PORT, then /metrics under --url
  -s, --secret       the server's ACCESS_SECRET, to sign tokens for REALM; without it POST /generate-token is asked for
                     them, which a server in development answers
  -o, --own          start a server of its own in any case
  -h, --help         show this text

ACCESS_SECRET, REALM, PORT, METRICS_PORT, METRICS_USERNAME and METRICS_PASSWORD are read from the environment, then .env.
`

/**
 * @typedef {object} Claims
 * @property {string} username its user_id too
 * @property {string} [role] `user` when absent
 * @property {string[]} [rooms]
 */

/**
 * @typedef {object} Server
 * @property {URL} url its routes are relative to this
 * @property {URL[]} metricsUrls where its metrics may be, the likeliest first
 * @property {boolean} isOwn nobody else talks to it
 * @property {(claims: Claims) => Promise<string>} tokenFor
 * @property {() => Promise<void>} stop ends it, if it is its own
 */

const TOKEN_LIFE_S = 3600
const PATIENCE_MS = 5000
const START_LIMIT_MS = 30_000

/**
 * @param {{ url?: string, 'metrics-url'?: string, secret?: string, own?: boolean }} flags
 * @returns {Promise<Server>}
 * @throws {Trouble} when there is no server to talk to
 */
export async function reachServer ({ url: named, 'metrics-url': metrics, secret, own }) {
  if (own) return await startOwn()
  if (existsSync('.env')) process.loadEnvFile('.env')

  const url = urlOf(named ?? `http://localhost:${process.env.PORT || 5004}`, '--url')
  const state = await stateOf(url)
  if (state === 'healthy' || state === 'degraded') {
    const realm = process.env.REALM || 'development'
    const key = secret || process.env.ACCESS_SECRET
    console.log(`Server: ${url.href} (running)`)
    return {
      url,
      metricsUrls: metrics === undefined
        ? [new URL(`http://${url.hostname}:${process.env.METRICS_PORT || 9090}/metrics`), new URL('metrics', url)]
        : [urlOf(metrics, '--metrics-url')],
      isOwn: false,
      tokenFor: async claims => key ? sign(claims, key, realm) : await askToken(url, claims),
      stop: async () => {}
    }
  }
  if (state !== undefined) throw new Trouble(`${url.href} is ${state}: try again shortly`)
  if (named !== undefined) throw new Trouble(`No Turnip answers at ${url.href}: start one with "npm run dev", or leave --url out`)
  return await startOwn()
}

/**
 * @param {string} address
 * @param {string} flag
 * @returns {URL} with a slash at its end, so that routes can be relative to it, unless it is a file's
 */
function urlOf (address, flag) {
  if (!URL.canParse(address) || !/^https?:/.test(address)) throw new Trouble(`${flag} is "${address}"; it takes an address such as http://localhost:5004`)
  return new URL(flag === '--url' && !address.endsWith('/') ? `${address}/` : address)
}

/**
 * @param {URL} url
 * @returns {Promise<string | undefined>} undefined where no Turnip answers
 */
async function stateOf (url) {
  try {
    const response = await fetch(new URL('health', url), { signal: AbortSignal.timeout(PATIENCE_MS) })
    const { service, status } = /** @type {{ service?: string, status?: string }} */ (await response.json())
    return service === 'turnip' ? status : undefined
  } catch {
    return undefined
  }
}

/**
 * @param {URL} url
 * @param {Claims} claims
 * @returns {Promise<string>}
 */
async function askToken (url, claims) {
  const response = await fetch(new URL('generate-token', url), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(claims),
    signal: AbortSignal.timeout(PATIENCE_MS)
  })
  if (response.status === 404) {
    throw new Trouble('This server gives no tokens away (its ENVIRONMENT is not development): pass its ACCESS_SECRET with --secret')
  }
  const { token, message } = /** @type {{ token?: string, message?: string }} */ (await response.json())
  if (token === undefined) throw new Trouble(`POST /generate-token answered ${response.status}: ${message}`)
  return token
}

/**
 * What an application's own backend does, in full: a token is three parts of base64url.
 *
 * @param {Claims} claims
 * @param {string} secret
 * @param {string} realm
 * @returns {string}
 */
export function sign ({ username, role = 'user', rooms }, secret, realm) {
  const now = Math.floor(Date.now() / 1000)
  const claims = {
    user_id: username, username, role, rooms, is_verified: 'true', type: 'ACCESS_TOKEN', realm, iat: now, exp: now + TOKEN_LIFE_S
  }
  /** @param {object} part */
  const encode = part => Buffer.from(JSON.stringify(part)).toString('base64url')
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

/** @returns {Promise<Server>} */
async function startOwn () {
  const secret = randomBytes(32).toString('hex')
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), fileURLToPath(new URL('../src/server.ts', import.meta.url))], {
    // There is no .env beside the scripts: the settings below are all there is.
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    env: {
      PATH: process.env.PATH,
      ENVIRONMENT: 'production', // for logs in JSON, which tell where it listens
      ACCESS_SECRET: secret,
      REDIS_URL: 'memory:',
      PORT: '0',
      PUBLIC_IP: '127.0.0.1',
      METRICS_PORT: '0',
      METRICS_BIND_IP: '127.0.0.1',
      THREAD_NUM: '4',
      UV_THREADPOOL_SIZE: '4'
    },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const exited = new Promise(resolve => { child.once('exit', resolve) })
  process.once('exit', () => { child.kill('SIGKILL') })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => { process.exit(1) })

  const limit = setTimeout(() => { child.kill('SIGKILL') }, START_LIMIT_MS)
  const listening = await Promise.race([listeningLine(child.stdout), exited.then(() => undefined)])
  clearTimeout(limit)
  if (listening === undefined) throw new Trouble('A server of its own did not start: "npm run dev" shows why')

  console.log(`Server: ${listening.url} (started for this run, rooms in memory)`)
  return {
    url: new URL(listening.url),
    metricsUrls: [new URL('/metrics', listening.metrics_url)],
    isOwn: true,
    tokenFor: async claims => sign(claims, secret, 'development'),
    stop: async () => {
      child.kill('SIGTERM')
      await exited
    }
  }
}

/**
 * @param {import('node:stream').Readable} output
 * @returns {Promise<{ url: string, metrics_url: string }>}
 */
async function listeningLine (output) {
  return await new Promise(resolve => {
    createInterface({ input: output }).on('line', line => {
      const entry = JSON.parse(line)
      if (entry.msg === 'Turnip is listening') resolve(entry)
    })
  })
}
