import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import Fastify from 'fastify'
import turnip from '../../src/app.ts'
import { Client } from '../harness/client.ts'
import { startRedisServer } from '../harness/redis-server.ts'
import { claimsOf, sign, tokenFor } from '../harness/token.ts'
import { ACCESS_SECRET, startTurnip } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'
import { basic, logTo, serve, upgrade, type Served } from './serve.ts'

/** Every metric of ours with exactly its labels; a histogram's `le` is not among them. */
const METRICS = {
  turnip_auth_attempts_total: ['realm', 'result'],
  turnip_auth_success_total: ['realm'],
  turnip_auth_failures_total: ['realm', 'reason'],
  turnip_auth_duration_seconds: ['realm', 'result'],
  turnip_token_validations_total: ['result', 'reason'],
  turnip_active_connections: ['realm'],
  turnip_connections_total: ['realm'],
  turnip_messages_sent_total: ['realm', 'message_type'],
  turnip_messages_received_total: ['realm', 'message_type'],
  turnip_active_rooms: ['realm'],
  turnip_room_joins_total: ['realm'],
  turnip_room_leaves_total: ['realm'],
  turnip_signaling_messages_total: ['realm', 'signal_type'],
  turnip_calls_total: ['realm', 'result'],
  turnip_call_setup_seconds: ['realm'],
  turnip_call_path_total: ['realm', 'path'],
  turnip_server_uptime_seconds: [],
  turnip_configured_threads: [],
  turnip_configured_realms: ['realm'],
  turnip_memory_usage_bytes: [],
  turnip_instances: ['realm'],
  turnip_resyncs_total: ['realm', 'cause'],
  turnip_connections_refused_total: ['realm', 'limit'],
  turnip_session_resumes_total: ['realm', 'result'],
  turnip_slowdowns_total: ['realm'],
  turnip_floods_total: ['realm'],
  turnip_members_reaped_total: ['realm'],
  turnip_roster_gaps_total: ['realm'],
  turnip_inbox_publishes_total: ['realm'],
  turnip_inbox_bytes_total: ['realm'],
  turnip_redis_operations_total: ['operation', 'result'],
  turnip_redis_errors_total: ['operation', 'error_type'],
  turnip_redis_latency_seconds: ['operation']
}

interface Sample { name: string, labels: Record<string, string>, value: number }

class Scrape {
  readonly samples: Sample[] = []
  readonly types = new Map<string, string>()

  constructor (text: string) {
    for (const line of text.split('\n')) {
      const [, typed, kind] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? []
      if (typed !== undefined && kind !== undefined) this.types.set(typed, kind)
      const [, name, braces = '', value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
      if (name === undefined) {
        assert.ok(line === '' || line.startsWith('#'), `no line of the text format: ${line}`)
        continue
      }
      const labels = Object.fromEntries([...braces.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label = '', value = '']) => [label, value]))
      this.samples.push({ name, labels, value: Number(value) })
    }
  }

  /** The sum of the samples that have these labels. */
  get (name: string, labels: Record<string, string> = {}): number {
    return this.samples.filter(sample => sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
      .reduce((sum, { value }) => sum + value, 0)
  }

  of (name: string): Sample[] {
    return this.samples.filter(sample => sample.name === name || [`${name}_bucket`, `${name}_sum`, `${name}_count`].includes(sample.name))
  }
}

async function scrape (url: string, headers: Record<string, string> = {}): Promise<Scrape> {
  const response = await fetch(`${url}/metrics`, { headers })
  assert.equal(response.status, 200)
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain/)
  return new Scrape(await response.text())
}

/** Two clients that do one of everything. Each of their figures is known. */
async function traffic ({ url, wsUrl }: Pick<Served, 'url' | 'wsUrl'>): Promise<void> {
  await fetch(`${url}/ws?token=${sign(claimsOf('x', { realm: 'other' }))}`)
  await upgrade(wsUrl)
  const [a, b] = [await Client.open(wsUrl, 'a'), await Client.open(wsUrl, 'b')]
  await a.join('r')
  await b.join('r')
  for (const data of [{ type: 'offer', sdp: 'x' }, { type: 'candidate' }, { type: 'candidate' }, { type: 'made up' }, 'text']) a.send({ type: 'data', data })
  await b.fence()
  while (b.all('data').length < 5) await b.next('data')
  await a.refused({ type: 'made up' })
  await a.refused('no JSON')
  b.send({ type: 'leave' })
  await b.next('left')
  await a.next('user_left')
}

test('every metric is there, with exactly its labels', async t => {
  const redis = await startRedisServer()
  t.after(async () => { await redis.stop() })
  const served = await serve(t, { redisUrl: redis.url, redisTimeoutMs: 1000 })
  await until('it serves', async () => (await fetch(`${served.url}/health`)).ok)
  await traffic(served)
  const client = await Client.open(served.wsUrl, 'c', { role: 'admin' })
  await client.join('r')
  await redis.kill()
  await until('Redis is missed', async () => (await (await fetch(`${served.url}/health`)).json() as { redis: string }).redis === 'down')
  client.send({ type: 'leave' }) // to be made good, which fails for now
  let found = await scrape(served.url)
  await until('an error is counted', async () => (found = await scrape(served.url)).get('turnip_redis_errors_total') > 0)
  for (const [name, labels] of Object.entries(METRICS)) {
    const samples = found.of(name)
    assert.ok(samples.length > 0, `${name} is missing`)
    for (const sample of samples) {
      assert.deepEqual(Object.keys(sample.labels).filter(label => label !== 'le').toSorted(), [...labels].toSorted(), name)
      assert.ok(Number.isFinite(sample.value), `${name} is ${sample.value}`)
    }
    const kind = found.types.get(name)
    if (name.endsWith('_total')) assert.equal(kind, 'counter', name)
    else if (/duration|latency|setup/.test(name)) assert.equal(kind, 'histogram', name)
    else assert.equal(kind, 'gauge', name)
  }
  for (const name of ['process_cpu_user_seconds_total', 'process_resident_memory_bytes', 'nodejs_eventloop_lag_seconds', 'nodejs_gc_duration_seconds', 'nodejs_heap_size_used_bytes']) {
    assert.ok(found.types.has(name), `${name} is missing`)
  }
  assert.ok(found.of('http_request_duration_seconds').length > 0)
  const unknown = [...found.types.keys()].filter(name => name.startsWith('turnip_') && !(name in METRICS))
  assert.deepEqual(unknown, [], 'metrics that docs and dashboards do not know')
})

test('the figures are right after known traffic', async t => {
  const served = await serve(t, { threads: 6 })
  await traffic(served)
  const found = await scrape(served.url)
  const realm = 'development'
  const get = (name: string, labels = {}): number => found.get(`turnip_${name}`, labels)
  assert.deepEqual([get('auth_attempts_total', { realm, result: 'success' }), get('auth_attempts_total', { realm, result: 'failure' })], [2, 2])
  assert.equal(get('auth_success_total', { realm }), 2)
  assert.deepEqual(found.of('turnip_auth_failures_total').map(({ labels, value }) => [labels['realm'], labels['reason'], value]).toSorted(), [[realm, 'realm_mismatch', 1], [realm, 'token_missing', 1]])
  assert.equal(get('token_validations_total'), 4)
  assert.equal(get('token_validations_total', { result: 'failure', reason: 'realm_mismatch' }), 1)
  assert.equal(get('auth_duration_seconds_count', { realm, result: 'success' }), 2)
  assert.equal(get('auth_duration_seconds_count', { realm, result: 'failure' }), 2)
  assert.equal(get('active_connections', { realm }), 2)
  assert.equal(get('connections_total', { realm }), 2)
  assert.equal(get('active_rooms', { realm }), 1)
  assert.equal(get('room_joins_total', { realm }), 2)
  assert.equal(get('room_leaves_total', { realm }), 1)
  const received = Object.fromEntries(found.of('turnip_messages_received_total').map(({ labels, value }) => [labels['message_type'], value]))
  assert.deepEqual(received, { join: 2, leave: 1, data: 5, disband_room: 0, watch: 0, unwatch: 0, refresh: 0, ping: 1, report: 0, other: 2 })
  const sent = (type: string): number => get('messages_sent_total', { realm, message_type: type })
  assert.deepEqual(['welcome', 'joined', 'ready', 'user_joined', 'data', 'left', 'user_left', 'pong', 'error', 'room_disbanded'].map(sent), [2, 2, 1, 1, 5, 1, 1, 1, 2, 0])
  const signals = Object.fromEntries(found.of('turnip_signaling_messages_total').map(({ labels, value }) => [labels['signal_type'], value]))
  assert.deepEqual([signals['offer'], signals['candidate'], signals['answer'], signals['other']], [1, 2, 0, 2])
  assert.equal(get('configured_threads'), 6)
  assert.equal(get('configured_realms', { realm }), 1)
  assert.ok(get('server_uptime_seconds') > 0)
  assert.ok(get('memory_usage_bytes') > 1e7)
})

test('reports of calls are counted by result and path, and the time to connect of those that did', async t => {
  const { url, wsUrl } = await serve(t)
  const client = await Client.open(wsUrl, 'a')
  const report = (fields: object): void => { client.send({ type: 'report', peer: 'b', ...fields }) }
  for (const path of ['host', 'relay', 'relay', undefined]) report({ result: 'connected', ms: 400, path })
  report({ result: 'connected', ms: 12_000, path: 'srflx' })
  for (const path of ['host', undefined]) report({ result: 'failed', ms: 30_000, path, cause: 'no path' })
  assert.deepEqual(await client.fence(), [], 'nothing is answered, in a room or not')
  const found = await scrape(url)
  const values = (name: string, label: string): Record<string, number> => Object.fromEntries(found.of(name).map(({ labels, value }) => [labels[label], value]))
  assert.deepEqual(values('turnip_calls_total', 'result'), { connected: 5, failed: 2 })
  assert.deepEqual(values('turnip_call_path_total', 'path'), { host: 1, srflx: 1, prflx: 0, relay: 2, unknown: 1 })
  assert.deepEqual([found.get('turnip_call_setup_seconds_count'), found.get('turnip_call_setup_seconds_sum')], [5, 13.6])
  assert.equal(found.get('turnip_call_setup_seconds_bucket', { le: '0.5' }), 4)
  await client.close()
})

test('connections and rooms that are gone are not counted as there', async t => {
  const { url, wsUrl } = await serve(t)
  const [a, b] = [await Client.open(wsUrl, 'a'), await Client.open(wsUrl, 'b')]
  await a.join('r')
  await a.close()
  await b.fence()
  await until('it is gone', async () => (await scrape(url)).get('turnip_active_rooms') === 0)
  const found = await scrape(url)
  assert.deepEqual([found.get('turnip_active_connections'), found.get('turnip_connections_total'), found.get('turnip_room_leaves_total')], [1, 2, 1])
  await b.close()
})

test('operations on Redis are counted by name and by how they ended', async t => {
  const redis = await startRedisServer()
  t.after(async () => { await redis.stop() })
  const { url, wsUrl } = await serve(t, { redisUrl: redis.url })
  await until('it serves', async () => (await fetch(`${url}/health`)).ok)
  const client = await Client.open(wsUrl, 'a')
  await client.join('r')
  client.send({ type: 'leave' })
  await client.next('room_disbanded')
  const found = await scrape(url)
  for (const operation of ['subscribe', 'join', 'leave']) {
    assert.equal(found.get('turnip_redis_operations_total', { operation, result: 'success' }), 1, operation)
    assert.equal(found.get('turnip_redis_latency_seconds_count', { operation }), 1, operation)
  }
  assert.equal(found.get('turnip_redis_errors_total'), 0)
  await client.join('s')
  await redis.kill()
  await until('Redis is missed', async () => (await (await fetch(`${url}/health`)).json() as { redis: string }).redis === 'down')
  client.send({ type: 'leave' })
  await until('a failure is counted', async () => (await scrape(url)).get('turnip_redis_operations_total', { operation: 'reconcile', result: 'failure' }) > 0)
  assert.ok((await scrape(url)).get('turnip_redis_errors_total', { operation: 'reconcile', error_type: 'connection' }) > 0)
  await client.close()
})

test('nothing that a client can invent makes a series', async t => {
  const { url, wsUrl } = await serve(t)
  const visit = async (name: string): Promise<void> => {
    const client = await Client.open(wsUrl, `user-${name}`)
    await client.join(`room-${name}`)
    client.send({ type: 'data', data: { type: `signal-${name}` } })
    await client.refused({ type: `type-${name}` })
    client.send({ type: 'report', peer: `peer-${name}`, result: 'failed', ms: 1, cause: `cause-${name}` })
    await client.refused({ type: 'report', peer: 'b', result: 'connected', ms: 1, path: `path-${name}` })
    await client.close()
    for (const path of [`/nope-${name}`, `/ws/${name}`, `/nope?token=${name}`, `/metrics/${name}`, `/${name}/health`]) await (await fetch(`${url}${path}`)).text()
    for (const method of ['POST', 'DELETE', 'PROPFIND']) await (await fetch(`${url}/path-${name}`, { method })).text()
    await fetch(`${url}/ws?token=${name}`)
    await fetch(`${url}/ws?token=${tokenFor(name, { realm: `realm-${name}` })}`)
    await upgrade(`${wsUrl}-${name}`)
  }
  await visit('first-visit')
  const seriesOf = async (): Promise<string[]> => (await scrape(url)).samples
    .filter(({ name }) => !/^(nodejs|process)_/.test(name))
    .map(({ name, labels }) => `${name} ${JSON.stringify(labels)}`)
  await seriesOf() // the scrape has a series of its own
  const before = await seriesOf()
  for (const name of ['two', 'three', 'four']) await visit(name)
  assert.deepEqual((await seriesOf()).filter(series => !before.includes(series)), [])
  assert.deepEqual(before.filter(series => series.includes('first-visit')), [])
})

test('a process whose metrics answer everybody who reaches the machine says so when it starts', async t => {
  const warned = async (env: Record<string, string>, metricsRoute: boolean): Promise<boolean> => {
    const logs: string[] = []
    const app = Fastify(logTo(logs))
    t.after(async () => { await app.close() })
    await app.register(turnip, { env: { ACCESS_SECRET, REDIS_URL: 'memory:', PUBLIC_IP: '127.0.0.1', METRICS_BIND_IP: '127.0.0.1', ...env }, metricsRoute })
    return logs.some(line => /"level":40.*METRICS_AUTH/.test(line))
  }
  const basicAuth = { METRICS_AUTH: 'basic', METRICS_USERNAME: 'u', METRICS_PASSWORD: 'p' }
  for (const address of ['0.0.0.0', '::', '0:0:0:0:0:0:0:0']) {
    assert.equal(await warned({ METRICS_BIND_IP: address }, false), true, address)
    assert.equal(await warned({ PUBLIC_IP: address }, true), true, `${address}, on the main port`)
    assert.equal(await warned({ METRICS_BIND_IP: address, ...basicAuth }, false), false)
    assert.equal(await warned({ METRICS_BIND_IP: address, ENABLE_METRICS: 'false' }, false), false)
    assert.equal(await warned({ PUBLIC_IP: address }, false), false, 'the main port has none')
  }
  for (const address of ['127.0.0.1', '::1', '10.0.0.1']) assert.equal(await warned({ METRICS_BIND_IP: address }, false), false, address)
})

test('METRICS_AUTH=basic guards /metrics and /info on every port, and nothing else', async t => {
  const server = await startTurnip({ env: { METRICS_AUTH: 'basic', METRICS_USERNAME: 'prometheus', METRICS_PASSWORD: 'p:ä ss' } })
  t.after(async () => { await server.stop() })
  const { url, metricsUrl = '' } = server
  const guarded = [`${metricsUrl}/metrics`, `${metricsUrl}/info`, `${url}/info`]
  for (const address of guarded) {
    const wrong: Array<Record<string, string>> = [
      {}, basic('prometheus', 'wrong'), basic('wrong', 'p:ä ss'), basic('', ''), basic('prometheus', ''), basic('prometheus', 'p:ä sss'), { authorization: 'Basic' }, { authorization: 'Basic ?' },
      { authorization: `Bearer ${tokenFor('admin', { role: 'admin' })}` }
    ]
    for (const headers of wrong) {
      const response = await fetch(address, { headers })
      const body = await response.text()
      assert.equal(response.status, 401, `${address} ${JSON.stringify(headers)}`)
      assert.match(response.headers.get('www-authenticate') ?? '', /^Basic realm=/i, `${address} ${JSON.stringify(headers)}`)
      assert.doesNotMatch(body, /turnip_|instance_id|p:ä/)
    }
    assert.equal((await fetch(address, { headers: basic('prometheus', 'p:ä ss') })).status, 200, address)
  }
  for (const address of [`${url}/health`, `${metricsUrl}/health`, `${url}/health/live`, `${metricsUrl}/health/live`]) {
    assert.equal((await fetch(address)).status, 200, address)
  }
  assert.equal((await fetch(`${url}/metrics`)).status, 404, 'metrics have a port of their own')
})

test('ENABLE_METRICS=false opens no metrics port and keeps /info and /health', async t => {
  const server = await startTurnip({ env: { ENABLE_METRICS: 'false' } })
  t.after(async () => { await server.stop() })
  assert.equal(server.metricsUrl, undefined)
  assert.equal((await fetch(`${server.url}/metrics`)).status, 404)
  assert.equal((await fetch(`${server.url}/health`)).status, 200)
  const info = await (await fetch(`${server.url}/info`)).json() as { metrics: { enabled: boolean } }
  assert.equal(info.metrics.enabled, false)
  const client = await Client.open(server.wsUrl, 'a')
  await client.join('r')
  await client.close()
})

test('two instances in one process keep their figures apart', async (t: TestContext) => {
  const [one, two] = [await serve(t), await serve(t)]
  const client = await Client.open(one.wsUrl, 'a')
  assert.equal((await scrape(one.url)).get('turnip_active_connections'), 1)
  assert.equal((await scrape(two.url)).get('turnip_active_connections'), 0)
  await client.close()
})
