/**
 * Drives traffic whose figures are known beforehand and shows what the metrics make of it: docs/metrics.md describes
 * each of them.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { readFlags } from './command-line.js'
import { SERVER_FLAGS, SERVER_HELP, Trouble, reachServer, sign, tellTrouble } from './reach-server.js'
import { SignalingClient } from './signaling-client.js'

/** @import { Server } from './reach-server.js' */

const HELP = `Usage: scripts/test-metrics [--url http://localhost:5004] [--metrics-url http://localhost:9090/metrics] [--own]

Two clients call each other, a third is refused. Prints what each metric says before it, while they are connected, and
afterwards, and exits with 1 if a counter moved by less than what was sent (on a server of its own: by anything else).

${SERVER_HELP}`

/** One scrape: the value of each series, by its name and labels as they stand in the text. */
/** @typedef {Map<string, number>} Samples */

/** By how much a counter has to grow. Labels are a part of those the series has; a series that is not there yet counts as 0. */
/** @type {Array<[name: string, labels: Record<string, string>, growth: number]>} */
const GROWTH = [
  ['turnip_auth_attempts_total', { result: 'success' }, 2],
  ['turnip_auth_attempts_total', { result: 'failure' }, 3],
  ['turnip_auth_success_total', {}, 2],
  ['turnip_auth_failures_total', { reason: 'token_missing' }, 1],
  ['turnip_auth_failures_total', { reason: 'parse_error' }, 1],
  ['turnip_auth_failures_total', { reason: 'invalid_token' }, 1],
  ['turnip_token_validations_total', { result: 'success' }, 2],
  ['turnip_token_validations_total', { result: 'failure' }, 3],
  ['turnip_auth_duration_seconds_count', {}, 5],
  ['turnip_connections_total', {}, 2],
  ['turnip_messages_received_total', { message_type: 'join' }, 2],
  ['turnip_messages_received_total', { message_type: 'data' }, 5],
  ['turnip_messages_received_total', { message_type: 'leave' }, 2],
  ['turnip_messages_received_total', { message_type: 'report' }, 2],
  ['turnip_messages_received_total', { message_type: 'other' }, 1],
  ['turnip_messages_sent_total', { message_type: 'welcome' }, 2],
  ['turnip_messages_sent_total', { message_type: 'joined' }, 2],
  ['turnip_messages_sent_total', { message_type: 'user_joined' }, 1],
  ['turnip_messages_sent_total', { message_type: 'data' }, 5],
  ['turnip_messages_sent_total', { message_type: 'left' }, 2],
  ['turnip_messages_sent_total', { message_type: 'user_left' }, 1],
  ['turnip_messages_sent_total', { message_type: 'room_disbanded' }, 1],
  ['turnip_messages_sent_total', { message_type: 'error' }, 1],
  ['turnip_signaling_messages_total', { signal_type: 'offer' }, 1],
  ['turnip_signaling_messages_total', { signal_type: 'answer' }, 1],
  ['turnip_signaling_messages_total', { signal_type: 'candidate' }, 2],
  ['turnip_signaling_messages_total', { signal_type: 'other' }, 1],
  ['turnip_calls_total', { result: 'connected' }, 1],
  ['turnip_calls_total', { result: 'failed' }, 1],
  ['turnip_call_path_total', { path: 'relay' }, 1],
  ['turnip_call_setup_seconds_count', {}, 1],
  ['turnip_room_joins_total', {}, 2],
  ['turnip_room_leaves_total', {}, 2]
]

/** Gauges, and by how much the two clients raise them while they are there. */
/** @type {Array<[name: string, rise: number]>} */
const RISE = [
  ['turnip_active_connections', 2],
  ['turnip_active_rooms', 1]
]

/** With rooms in Redis. */
/** @type {Array<[name: string, labels: Record<string, string>, growth: number]>} */
const REDIS_GROWTH = [
  ['turnip_redis_operations_total', { operation: 'join', result: 'success' }, 2],
  ['turnip_redis_operations_total', { operation: 'leave', result: 'success' }, 2],
  ['turnip_redis_latency_seconds_count', { operation: 'join' }, 2]
]

/** What is there whatever clients do. */
const ALWAYS = [
  'turnip_server_uptime_seconds', 'turnip_configured_threads', 'turnip_configured_realms', 'turnip_memory_usage_bytes',
  'process_resident_memory_bytes', 'process_cpu_seconds_total', 'nodejs_heap_size_used_bytes', 'nodejs_eventloop_lag_p99_seconds'
]

const PATIENCE_MS = 5000
const WIDTH = 68

const flags = readFlags(HELP, SERVER_FLAGS)
let failures = 0

await tellTrouble(run)

async function run () {
  const server = await reachServer(flags)
  try {
    const { url, samples: before } = await findMetrics(server.metricsUrls)
    console.log(`Metrics: ${url.href}\n`)
    const during = await drive(server, url)
    report(server, before, during, await scrapeAfter(url, server.isOwn))
  } finally {
    await server.stop()
  }
  if (failures > 0) throw new Trouble(`\n${failures} of these are not as they should be`)
  console.log('\nAll as they should be')
}

/**
 * Two clients call each other, and three attempts to connect are refused.
 *
 * @param {Server} server
 * @param {URL} metricsUrl
 * @returns {Promise<Samples>} while both were in a room
 */
async function drive (server, metricsUrl) {
  const room = `metrics-${randomBytes(3).toString('hex')}`
  const ws = new URL('ws', server.url)
  for (const query of ['', '?token=garbage', `?token=${sign({ username: 'Mallory' }, 'not the secret', 'development')}`]) {
    // Without an upgrade the server answers what the upgrade would have answered.
    const { status } = await fetch(new URL(query, ws), { signal: AbortSignal.timeout(PATIENCE_MS) })
    if (status !== 401) throw new Trouble(`A bad token was answered ${status} instead of 401`)
  }

  const ada = await SignalingClient.open(server.url, await server.tokenFor({ username: 'Ada' }))
  const ben = await SignalingClient.open(server.url, await server.tokenFor({ username: 'Ben' }))
  await ada.ask({ type: 'join', room }, 'joined')
  await ben.ask({ type: 'join', room }, 'joined')
  ben.send({ type: 'data', to: 'Ada', data: { type: 'offer', sdp: 'v=0' } })
  ben.send({ type: 'data', to: 'Ada', data: { type: 'candidate', candidate: null } })
  ben.send({ type: 'data', data: { type: 'chat', text: 'Hello' } })
  for (let i = 0; i < 3; i++) await ada.next('data')
  ada.send({ type: 'data', to: 'Ben', data: { type: 'answer', sdp: 'v=0' } })
  ada.send({ type: 'data', to: 'Ben', data: { type: 'candidate', candidate: null } })
  for (let i = 0; i < 2; i++) await ben.next('data')
  ada.send({ type: 'report', peer: 'Ben', result: 'connected', ms: 700, path: 'relay' })
  ada.send({ type: 'report', peer: 'Cleo', result: 'failed', ms: 15_000, cause: 'a call of scripts/test-metrics' })
  await ada.ask({ type: 'no_such_type' }, 'error')
  const during = await scrape(metricsUrl)
  await ada.ask({ type: 'leave' }, 'left')
  await ben.next('user_left')
  await ben.ask({ type: 'leave' }, 'room_disbanded')
  await Promise.all([ada.close(), ben.close()])
  return during
}

/**
 * @param {Server} server
 * @param {Samples} before
 * @param {Samples} during
 * @param {Samples} after
 */
function report ({ isOwn }, before, during, after) {
  /**
   * @param {string} label
   * @param {number[]} values
   * @param {boolean} holds
   * @param {string} expected
   */
  const line = (label, values, holds, expected) => {
    if (!holds) failures++
    console.log(`${label.padEnd(WIDTH)}${values.map(value => number(value).padStart(10)).join('')}  ${holds ? 'ok' : 'WRONG'}${expected && `, ${expected}`}`)
  }
  console.log(`${''.padEnd(WIDTH)}${['before', 'during', 'after'].map(head => head.padStart(10)).join('')}`)

  for (const [name, rise] of RISE) {
    const values = [before, during, after].map(samples => sum(samples, name))
    const [first = 0, second = 0, third = 0] = values
    line(name, values, !isOwn || (second - first === rise && third === first), isOwn ? `+${rise}, then back` : 'others use it too')
  }

  const withRedis = sum(after, 'turnip_redis_operations_total') > 0
  for (const [name, labels, growth] of [...GROWTH, ...withRedis ? REDIS_GROWTH : []]) {
    const values = [before, during, after].map(samples => sum(samples, name, labels))
    const grown = (values[2] ?? 0) - (values[0] ?? 0)
    line(seriesOf(name, labels), values, isOwn ? grown === growth : grown >= growth, isOwn ? `+${growth}` : `+${growth} or more`)
  }
  if (!withRedis) console.log('turnip_redis_…: nothing, as the rooms are in memory')

  for (const name of ALWAYS) {
    const values = [before, during, after].map(samples => sum(samples, name))
    line(name, values, [...after.keys()].some(series => isOf(series, name)), '')
  }

  const passed = sum(after, 'turnip_auth_attempts_total', { result: 'success' })
  const attempts = sum(after, 'turnip_auth_attempts_total')
  const seconds = sum(after, 'turnip_auth_duration_seconds_sum') / sum(after, 'turnip_auth_duration_seconds_count')
  console.log(`\nTokens accepted since the start: ${passed} of ${attempts}, in ${(seconds * 1000).toFixed(2)} ms on average`)
  console.log(`Series in all: ${after.size}`)
}

/**
 * @param {URL[]} urls
 * @returns {Promise<{ url: URL, samples: Samples }>} from the first one that tells of a Turnip
 */
async function findMetrics (urls) {
  for (const url of urls) {
    try {
      return { url, samples: await scrape(url) }
    } catch (error) {
      if (error instanceof Trouble) throw error
    }
  }
  throw new Trouble(`No metrics of Turnip at ${urls.map(url => url.href).join(' or ')}: is ENABLE_METRICS false? --metrics-url says where they are`)
}

/**
 * @param {URL} url
 * @returns {Promise<Samples>}
 * @throws {Trouble} when credentials are asked for
 */
async function scrape (url) {
  const { METRICS_USERNAME: user, METRICS_PASSWORD: password } = process.env
  const headers = user ? { authorization: `Basic ${Buffer.from(`${user}:${password ?? ''}`).toString('base64')}` } : undefined
  const response = await fetch(url, { ...(headers && { headers }), signal: AbortSignal.timeout(PATIENCE_MS) })
  if (response.status === 401) throw new Trouble(`${url.href} asks for credentials: set METRICS_USERNAME and METRICS_PASSWORD`)
  /** @type {Samples} */
  const samples = new Map()
  for (const line of (await response.text()).split('\n')) {
    const [, series, value] = /^([a-z_][a-z0-9_]*(?:\{.*\})?) (\S+)$/i.exec(line) ?? []
    if (series !== undefined) samples.set(series, Number(value))
  }
  if (!samples.has('turnip_server_uptime_seconds')) throw new Error(`${url.href} does not tell of a Turnip`)
  return samples
}

/**
 * @param {URL} url
 * @param {boolean} isOwn nobody else is connected
 * @returns {Promise<Samples>} once the server has seen its clients go: it may learn of it a moment after they do
 */
async function scrapeAfter (url, isOwn) {
  const deadline = performance.now() + PATIENCE_MS
  for (;;) {
    const samples = await scrape(url)
    if (!isOwn || sum(samples, 'turnip_active_connections') === 0 || performance.now() > deadline) return samples
    await setTimeout(50)
  }
}

/**
 * @param {Samples} samples
 * @param {string} name
 * @param {Record<string, string>} [labels]
 * @returns {number} of all series of this name with these labels
 */
function sum (samples, name, labels = {}) {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
  let total = 0
  for (const [series, value] of samples) {
    if (isOf(series, name) && wanted.every(label => series.includes(label))) total += value
  }
  return total
}

/**
 * @param {string} series with its labels
 * @param {string} name
 */
function isOf (series, name) {
  return series === name || series.startsWith(`${name}{`)
}

/**
 * @param {string} name
 * @param {Record<string, string>} labels
 */
function seriesOf (name, labels) {
  const list = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
  return list.length === 0 ? name : `${name}{${list.join(',')}}`
}

/** @param {number} value */
function number (value) {
  if (Number.isInteger(value)) return value >= 1e6 ? `${(value / 1e6).toFixed(1)}M` : String(value)
  return value.toFixed(value < 1 ? 4 : 1)
}
