import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client } from '../harness/client.ts'
import { ACCESS_SECRET, startTurnip } from '../harness/turnip-process.ts'
import { basic, serve } from './serve.ts'

test('/info tells what runs here, and no secret', async t => {
  const secrets = { accessSecret: 'canary-access-secret', metricsPassword: 'canary-metrics-password', redisPassword: 'canary-redis-password' }
  const { app, url } = await serve(t, {
    ...secrets, metricsAuth: 'basic', metricsUsername: 'canary-user', realm: 'shop', instanceId: 'web-1', threads: 6, metricsPort: 9191, metricsBindIp: '10.0.0.1'
  })
  const response = await fetch(`${url}/info`, { headers: basic('canary-user', secrets.metricsPassword) })
  assert.equal(response.status, 200)
  const text = await response.text()
  assert.doesNotMatch(text, /canary/)
  const { version, uptime_s: uptime, ...info } = JSON.parse(text) as Record<string, unknown>
  assert.deepEqual(info, {
    service: 'turnip',
    realm: 'shop',
    instance_id: 'web-1',
    threads: 6,
    node: process.version,
    connections: 0,
    rooms: 0,
    redis: 'off',
    metrics: { enabled: true, port: 9191, bind_ip: '10.0.0.1', auth: 'basic' }
  })
  assert.match(String(version), /^\d+\.\d+\.\d+/)
  assert.ok(Number.isInteger(uptime) && Number(uptime) >= 0)
  assert.equal(app.turnip.config.accessSecret, secrets.accessSecret)
})

test('/info counts connections and rooms', async t => {
  const { url, wsUrl } = await serve(t)
  const counts = async (): Promise<unknown[]> => {
    const { connections, rooms } = await (await fetch(`${url}/info`)).json() as Record<string, unknown>
    return [connections, rooms]
  }
  const [a, b, c] = [await Client.open(wsUrl, 'a'), await Client.open(wsUrl, 'b'), await Client.open(wsUrl, 'c')]
  await a.join('r')
  await b.join('r')
  assert.deepEqual(await counts(), [3, 1])
  await c.join('s')
  assert.deepEqual(await counts(), [3, 2])
  await a.close()
  await b.next('user_left')
  b.send({ type: 'leave' })
  await b.next('room_disbanded')
  assert.deepEqual(await counts(), [2, 1])
  await Promise.all([b.close(), c.close()])
})

test('/info answers on both ports of a process, and neither tells a secret', async t => {
  const server = await startTurnip({ env: { REDIS_URL: 'redis://user:canary-pw@127.0.0.1:1/3', REDIS_PASSWORD: 'canary-pw' } })
  t.after(async () => { await server.stop() })
  for (const base of [server.url, server.metricsUrl ?? '']) {
    const response = await fetch(`${base}/info`)
    assert.equal(response.status, 200)
    const text = await response.text()
    assert.ok(!text.includes(ACCESS_SECRET))
    assert.doesNotMatch(text, /canary/)
    assert.equal((JSON.parse(text) as Record<string, unknown>)['service'], 'turnip')
  }
  assert.ok(server.logs.every(line => !line.includes('canary') && !line.includes(ACCESS_SECRET)))
})
