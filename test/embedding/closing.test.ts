import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'
import fastifyWebsocket from '@fastify/websocket'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import WebSocket from 'ws'
import turnip, { webSocketOptions } from '../../src/app.ts'
import { Client } from '../harness/client.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { ACCESS_SECRET } from '../harness/turnip-process.ts'
import { REALM, startFullHost, turnipKeys, type FullHost } from './full-host.ts'

async function start (t: TestContext): Promise<{ redis: RedisServer, host: FullHost }> {
  const redis = await startRedisServer()
  t.after(() => redis.stop())
  const host = await startFullHost({ redis })
  t.after(async () => {
    await host.app.close()
    host.client.disconnect()
  })
  return { redis, host }
}

await test('closing the host sends Turnip’s clients away, and is done when Redis holds nothing of them', async t => {
  const { redis, host } = await start(t)
  const clients = await Promise.all(['ann', 'bob', 'eve'].map(name => Client.open(`${host.wsUrl}/rtc/ws`, name, { realm: REALM })))
  for (const [index, client] of clients.entries()) await client.join(index < 2 ? 'standup' : 'elsewhere')
  assert.deepEqual((await turnipKeys(redis)).filter(key => key.includes(':room:')).sort(), ['turnip:house:room:{elsewhere}', 'turnip:house:room:{standup}'])

  await host.app.close()
  assert.deepEqual(await turnipKeys(redis), [])
  assert.deepEqual(host.happened, ['closed'])
  for (const client of clients) {
    const { data } = await client.next('goaway')
    assert.equal(data.reason, 'restart')
    assert.equal(typeof data.reconnect_after_ms, 'number')
    assert.equal((await client.closed).code, 1012)
  }
})

await test('closing the host leaves its Redis client open and closes Turnip’s own connections', async t => {
  const { redis, host } = await start(t)
  const { client } = host
  const count = async (): Promise<number> => String(await client.client('LIST')).trim().split('\n').length
  assert.equal(await count(), 3) // the host's, one for commands, one that subscribes
  await host.app.close()
  assert.equal(client.status, 'ready')
  assert.equal(await client.set('host:key', 'kept'), 'OK')
  // The server notices a connection's end in its own time, but before it takes a later one.
  const later = new Redis(redis.url)
  await once(later, 'ready')
  assert.equal(await count(), 2)
  later.disconnect()
})

await test('the host’s WebSockets are closed by its own plugin', async t => {
  const { host } = await start(t)
  const echo = new WebSocket(`${host.wsUrl}/echo`)
  await once(echo, 'open')
  const ann = await Client.open(`${host.wsUrl}/rtc/ws`, 'ann', { realm: REALM })
  const ended = once(echo, 'close')
  await host.app.close()
  assert.equal((await ended)[0], 1005) // what @fastify/websocket says, who is told no code
  assert.equal((await ann.closed).code, 1012)
})

await test('a host that takes its time to close its WebSockets gets it', async t => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(fastifyWebsocket, { options: webSocketOptions(), preClose: done => { done() } })
  app.get('/echo', { websocket: true }, socket => { socket.on('message', (data: Buffer) => { socket.send(data) }) })
  await app.register(turnip, { prefix: '/rtc', accessSecret: ACCESS_SECRET, redisUrl: 'memory:' })
  await app.register(async scope => {
    // Comes after Turnip's own: hooks run in the order of registration.
    scope.addHook('preClose', async () => {
      for (const socket of app.websocketServer.clients) socket.close(4000, 'the host is done')
    })
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const wsUrl = url.replace('http', 'ws')
  const echo = new WebSocket(`${wsUrl}/echo`)
  await once(echo, 'open')
  const ann = await Client.open(`${wsUrl}/rtc/ws`, 'ann')
  const ended = once(echo, 'close') as Promise<[number, Buffer]>
  await app.close()
  const [code, reason] = await ended
  assert.deepEqual([code, reason.toString()], [4000, 'the host is done'])
  assert.equal((await ann.closed).code, 1012)
})

await test('two Turnips in one host both send their clients away', async t => {
  const app = Fastify()
  t.after(() => app.close())
  for (const name of ['one', 'two']) {
    await app.register(turnip, { prefix: `/${name}`, decorateAs: name, accessSecret: ACCESS_SECRET, redisUrl: 'memory:' })
  }
  const wsUrl = (await app.listen({ port: 0, host: '127.0.0.1' })).replace('http', 'ws')
  const clients = await Promise.all(['one', 'two'].map(name => Client.open(`${wsUrl}/${name}/ws`, 'ann')))
  await Promise.all(clients.map(client => client.join('standup')))
  await app.close()
  for (const client of clients) {
    await client.next('goaway')
    assert.equal((await client.closed).code, 1012)
  }
})

await test('a host that never listened closes', async t => {
  const redis = await startRedisServer()
  t.after(() => redis.stop())
  const client = new Redis(redis.url, { lazyConnect: true })
  t.after(() => { client.disconnect() })
  const app = Fastify()
  await app.register(turnip, { prefix: '/rtc', accessSecret: ACCESS_SECRET, redis: { client } })
  await app.ready()
  await app.close()
  assert.equal(client.status, 'wait') // its settings were borrowed, and not even its connection
})

await test('a host closes while Redis is away', async t => {
  const redis = await startRedisServer()
  t.after(() => redis.kill())
  const app = Fastify()
  t.after(() => app.close())
  await app.register(turnip, { prefix: '/rtc', accessSecret: ACCESS_SECRET, redisUrl: redis.url })
  await app.listen({ port: 0, host: '127.0.0.1' })
  await redis.kill()
  await app.close()
})
