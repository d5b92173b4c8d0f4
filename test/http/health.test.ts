import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { Redis } from 'ioredis'
import { Client } from '../harness/client.ts'
import { startRedisServer } from '../harness/redis-server.ts'
import { startTcpProxy } from '../harness/tcp-proxy.ts'
import { tokenFor } from '../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'
import { logTo, serve, upgrade } from './serve.ts'

interface Health { status: string, service: string, version: string, redis: string }

async function healthOf (url: string): Promise<{ code: number, body: Health }> {
  const response = await fetch(`${url}/health`)
  return { code: response.status, body: await response.json() as Health }
}

/** Waits until an instance says what is expected. */
async function healthy (url: string, code: number, status: string, redis: string): Promise<void> {
  await until(`${code} ${status}, Redis ${redis}`, async () => {
    const { code: now, body } = await healthOf(url)
    return now === code && body.status === status && body.redis === redis
  })
}

test('a health check that asks for an upgrade to HTTP/2 is answered, other upgrades too', async t => {
  const { url } = await serve(t)
  for (const protocol of ['h2c', 'TLS/1.0']) {
    const answer = await upgrade(`${url}/health`, { upgrade: protocol, connection: 'Upgrade, HTTP2-Settings', 'http2-settings': 'AAMAAABkAAQAAP__' })
    assert.equal(answer.status, 200, protocol)
    assert.equal((JSON.parse(answer.body) as { status: string }).status, 'healthy', protocol)
  }
  assert.equal((await upgrade(`${url}/health`)).status, 404)
})

async function start (t: TestContext, env: Record<string, string>): Promise<TurnipProcess & { metricsUrl: string }> {
  const server = await startTurnip({ env })
  t.after(async () => { await server.stop() })
  const { metricsUrl } = server
  assert.ok(metricsUrl)
  return { ...server, metricsUrl }
}

test('/health says the same on both ports, redis off with memory:', async t => {
  const { url, metricsUrl } = await start(t, {})
  assert.notEqual(url, metricsUrl)
  for (const base of [url, metricsUrl]) {
    const { code, body } = await healthOf(base)
    assert.equal(code, 200)
    const { version, ...rest } = body
    assert.deepEqual(rest, { status: 'healthy', service: 'turnip', redis: 'off' })
    assert.match(version, /^\d+\.\d+\.\d+/)
    const live = await fetch(`${base}/health/live`)
    assert.equal(live.status, 200)
  }
})

test('with Redis up, an instance is healthy on both ports', async t => {
  const redis = await startRedisServer()
  t.after(async () => { await redis.stop() })
  const { url, metricsUrl } = await start(t, { REDIS_URL: redis.url })
  await healthy(url, 200, 'healthy', 'up')
  await healthy(metricsUrl, 200, 'healthy', 'up')
})

test('until Redis was reached once an instance is starting and lets nobody in; then it serves by itself', async t => {
  const before = await startRedisServer()
  await before.stop()
  const { url, wsUrl } = await serve(t, { redisUrl: before.url })
  assert.deepEqual(await healthOf(url).then(({ code, body: { status, redis } }) => [code, status, redis]), [503, 'starting', 'down'])
  assert.equal((await fetch(`${url}/health/live`)).status, 200)
  for (const answer of [await upgrade(`${wsUrl}?token=${tokenFor('a')}`), await upgrade(wsUrl)]) {
    assert.equal(answer.status, 503)
    assert.ok(Number(answer.headers['retry-after']) > 0)
    const { message, ...body } = JSON.parse(answer.body) as Record<string, unknown>
    assert.deepEqual(body, { statusCode: 503, error: 'Service Unavailable', code: 'starting' })
    assert.equal(typeof message, 'string')
  }
  const plain = await fetch(`${url}/ws?token=${tokenFor('a')}`)
  assert.equal(plain.status, 503)
  assert.ok(Number(plain.headers.get('retry-after')) > 0)

  const redis = await startRedisServer({ port: before.port })
  t.after(async () => { await redis.stop() })
  await healthy(url, 200, 'healthy', 'up')
  const client = await Client.open(wsUrl, 'a')
  await client.join('r')
  await client.close()
})

test('an instance that Redis does not let subscribe is starting, and serves by itself once it may', async t => {
  const redis = await startRedisServer()
  t.after(async () => { await redis.stop() })
  const admin = new Redis(redis.url)
  t.after(() => { admin.disconnect() })
  await admin.call('ACL', 'SETUSER', 'default', 'resetchannels')
  const logs: string[] = []
  const { url, wsUrl } = await serve(t, { redisUrl: redis.url }, logTo(logs))
  await until('it was refused', async () => logs.some(line => line.includes('does not let this instance subscribe')))
  await healthy(url, 503, 'starting', 'up')
  await admin.call('ACL', 'SETUSER', 'default', 'allchannels')
  await healthy(url, 200, 'healthy', 'up')
  const client = await Client.open(wsUrl, 'a')
  await client.join('r')
  await client.close()
})

test('an instance whose first connection is cut off serves by itself with the next', async t => {
  const redis = await startRedisServer()
  t.after(async () => { await redis.stop() })
  const proxy = await startTcpProxy(redis.port)
  t.after(() => proxy.close())
  proxy.onLink = link => { if (link.index === 0) link.hold() } // the one for commands
  const { url } = await serve(t, { redisUrl: `redis://127.0.0.1:${proxy.port}`, redisTimeoutMs: 15_000 })
  await until('it has connected', async () => proxy.links().some(link => link.isHeld))
  await healthy(url, 503, 'starting', 'down')
  proxy.drop(link => link.isHeld)
  await healthy(url, 200, 'healthy', 'up')
})

test('an instance whose Redis goes away is degraded, not down, and recovers by itself', async t => {
  const redis = await startRedisServer()
  t.after(async () => { await redis.kill() })
  const { url, wsUrl } = await serve(t, { redisUrl: redis.url, redisTimeoutMs: 500 })
  await healthy(url, 200, 'healthy', 'up')
  await redis.kill()
  await healthy(url, 200, 'degraded', 'down')
  const client = await Client.open(wsUrl, 'a')
  assert.equal((await client.refused({ type: 'join', room: 'r' })).code, 'unavailable')
  await client.close()
  const again = await startRedisServer({ port: redis.port })
  t.after(async () => { await again.stop() })
  await healthy(url, 200, 'healthy', 'up')
})

test('an instance that goes away with its Redis gone and a watcher connected still ends in time', async t => {
  const redis = await startRedisServer()
  t.after(async () => { await redis.kill() })
  const server = await startTurnip({ env: { REDIS_URL: redis.url, REDIS_TIMEOUT_MS: '500', DRAIN_TIMEOUT_MS: '1000' } })
  t.after(async () => { await server.stop('SIGKILL') })
  await healthy(server.url, 200, 'healthy', 'up')
  const client = await Client.open(server.wsUrl, 'a', { role: 'admin' })
  client.send({ type: 'watch' })
  await client.next('watching')
  await client.join('r')
  await redis.kill()
  await healthy(server.url, 200, 'degraded', 'down')
  assert.deepEqual(await server.stop('SIGTERM', 10_000), { code: 0, signal: null })
  assert.equal((await client.closed).code, 1012)
})
