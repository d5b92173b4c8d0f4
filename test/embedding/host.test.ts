import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, suite, test } from 'node:test'
import fastifyBasicAuth from '@fastify/basic-auth'
import fastifyStatic from '@fastify/static'
import Fastify from 'fastify'
import { register } from 'prom-client'
import WebSocket from 'ws'
import turnip from '../../src/app.ts'
import { Client } from '../harness/client.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { until } from '../harness/until.ts'
import { tokenFor } from '../harness/token.ts'
import { ACCESS_SECRET } from '../harness/turnip-process.ts'
import { getJson, REALM, startFullHost, turnipKeys, untilServing, type FullHost } from './full-host.ts'

const claims = { realm: REALM }

await suite('a host with every plugin that Turnip has', async () => {
  let redis: RedisServer
  let host: FullHost
  before(async () => {
    redis = await startRedisServer()
    host = await startFullHost({ redis })
  })
  after(async () => {
    await host.app.close()
    host.client.disconnect()
    await redis.stop()
  })

  await test('Turnip answers under its prefix', async () => {
    assert.deepEqual((await getJson(`${host.url}/rtc/health`)).status, 200)
    assert.equal((await getJson(`${host.url}/rtc/health/live`)).status, 200)
    assert.equal((await getJson(`${host.url}/rtc/ws`)).status, 401)
    assert.equal((await getJson(`${host.url}/rtc/ws?token=${tokenFor('ann', claims)}`)).status, 426)
    const { body } = await getJson(`${host.url}/rtc/info`)
    assert.equal((body as { realm: string }).realm, REALM)
    assert.match(await (await fetch(`${host.url}/rtc/metrics`)).text(), /^turnip_active_connections\{realm="house"\} 0$/m)
  })

  await test('Turnip answers nowhere else, and the 404 of the host is the host’s', async () => {
    for (const path of ['/ws', '/health', '/health/live', '/info', '/', '/generate-token', '/rtc', '/rtc/nothing']) {
      assert.deepEqual(await getJson(`${host.url}${path}`), { status: 404, body: { host: 'there is no such page' } }, path)
    }
    await assert.rejects(Client.openWith(`${host.wsUrl}/ws?token=${tokenFor('ann', claims)}`), /^Error: 404/)
  })

  await test('the host’s routes, settings, Redis and errors work as before', async () => {
    const { body } = await getJson(`${host.url}/hello`)
    assert.deepEqual(body, { greeting: 'hello', visits: 1 })
    assert.equal(host.app.redis, host.client)
    assert.deepEqual(await getJson(`${host.url}/fail`), { status: 500, body: { host: 'the host failed' } })
  })

  await test('the host’s tokens open the host alone, and ours Turnip alone', async () => {
    const own = host.app.jwt.sign({ name: 'ann' })
    const { status, body } = await getJson(`${host.url}/me`, { authorization: `Bearer ${own}` })
    assert.equal(status, 200)
    assert.equal((body as { name: string }).name, 'ann')
    assert.equal((await getJson(`${host.url}/rtc/ws?token=${own}`)).status, 401)
    const { status: refused } = await getJson(`${host.url}/me`, { authorization: `Bearer ${tokenFor('ann', claims)}` })
    assert.equal(refused, 500) // the host's own error handler says it so
  })

  await test('the metrics of host and Turnip do not mix', async () => {
    await getJson(`${host.url}/hello`)
    const ours = await (await fetch(`${host.url}/rtc/metrics`)).text()
    const theirs = await (await fetch(`${host.url}/metrics`)).text()
    assert.match(theirs, /^host_greetings_total \d+$/m)
    assert.match(theirs, /^http_request_duration_seconds_count\{method="GET",route="\/hello",status_code="200"\} \d+$/m)
    assert.match(theirs, /^process_cpu_seconds_total /m)
    assert.doesNotMatch(theirs, /turnip_/)
    assert.match(ours, /^turnip_auth_attempts_total/m)
    assert.match(ours, /^process_cpu_seconds_total /m)
    assert.match(ours, /route="\/rtc\/health"/)
    assert.doesNotMatch(ours, /host_greetings_total|\/hello/)
    assert.equal(register.getSingleMetric('turnip_active_connections'), undefined)
  })

  await test('the host’s WebSocket route works as before', async () => {
    const socket = new WebSocket(`${host.wsUrl}/echo`)
    await once(socket, 'open')
    socket.send('hello')
    const [data] = await once(socket, 'message') as [Buffer]
    assert.equal(data.toString(), 'hello')
    socket.close()
    await once(socket, 'close')
  })

  await test('two clients talk, and the host sees who is there and ends their room', async () => {
    const { rooms, status } = host.app.turnip
    const ann = await Client.open(`${host.wsUrl}/rtc/ws`, 'ann', claims)
    const bob = await Client.open(`${host.wsUrl}/rtc/ws`, 'bob', claims)
    await ann.join('standup')
    await bob.join('standup')
    ann.send({ type: 'data', data: { type: 'offer', sdp: '…' } })
    assert.deepEqual((await bob.next('data')).data, { type: 'offer', sdp: '…' })

    assert.equal(status.info().connections, 2)
    assert.equal(rooms.roomCount, 1)
    const members = await rooms.members('standup')
    assert.deepEqual(members.map(member => member.connection_id), [ann.id, bob.id])
    assert.deepEqual(members.map(member => member.user_id), ['ann', 'bob'])
    assert.deepEqual(await rooms.members('nobody-is-here'), [])

    assert.equal(await rooms.disbandRoom('standup'), true)
    for (const client of [ann, bob]) {
      assert.deepEqual((await client.next('room_disbanded')).data, { room: 'standup', reason: 'user_requested' })
    }
    assert.equal(await rooms.disbandRoom('standup'), false)
    assert.deepEqual(await rooms.members('standup'), [])
    await assert.rejects(rooms.disbandRoom('no {braces}'), { code: 'room_invalid', statusCode: 400 })
    await Promise.all([ann.close(), bob.close()])
  })

  await test('the host’s CORS rules hold for the routes of Turnip', async () => {
    const { headers } = await fetch(`${host.url}/rtc/health`, { headers: { origin: 'https://host.example' } })
    assert.equal(headers.get('access-control-allow-origin'), 'https://host.example')
  })

  await test('a WebSocket at a route that has none is answered 404', async () => {
    await assert.rejects(Client.openWith(`${host.wsUrl}/rtc/health`), /^Error: 404 .*"code":"not_found"/)
  })
})

await test('Turnip and the host’s Redis client share a database, and its watchers hear of no other', async t => {
  const redis = await startRedisServer()
  t.after(() => redis.stop())
  const here = await startFullHost({
    redis,
    more: async (app, client) => {
      await app.register(turnip, {
        prefix: '/three', decorateAs: 'three', accessSecret: ACCESS_SECRET, realm: REALM, redis: { client: client.duplicate({ db: 3, lazyConnect: true }) }
      })
      // By its settings alone, as a process of its own would have it.
      await app.register(turnip, { prefix: '/same', decorateAs: 'same', accessSecret: ACCESS_SECRET, realm: REALM, redisUrl: redis.url, redisDb: 3 })
    }
  })
  t.after(async () => {
    await here.app.close()
    here.client.disconnect()
  })
  for (const prefix of ['three', 'same']) await untilServing(`${here.url}/${prefix}`)
  const three = await Client.open(`${here.wsUrl}/three/ws`, 'ann', claims)
  const same = await Client.open(`${here.wsUrl}/same/ws`, 'bob', claims)
  const watcher = await Client.open(`${here.wsUrl}/rtc/ws`, 'eve', { ...claims, role: 'admin' })
  watcher.send({ type: 'watch' })
  await watcher.next('watching')

  await three.join('standup')
  assert.equal((await same.join('standup')).data.members.length, 1)
  same.send({ type: 'data', data: 'hello' })
  assert.equal((await three.next('data')).data, 'hello')
  const roomsIn = async (db: number): Promise<string[]> => (await turnipKeys(redis, db)).filter(key => key.includes(':room:'))
  assert.deepEqual(await roomsIn(0), [])
  assert.deepEqual(await roomsIn(3), ['turnip:house:room:{standup}'])

  await watcher.join('of-its-own') // what the watcher hears of it comes after all that went before
  await until('the watcher hears of a room', async () => watcher.all('room_created').length > 0) // before it is told that it is in, or after
  assert.deepEqual(watcher.all('room_created').map(({ data }) => data), [{ room: 'of-its-own' }])
  await Promise.all([three.close(), same.close(), watcher.close()])
})

await test('a host without any of the plugins gets none of them, and may have them afterwards', async t => {
  const app = Fastify()
  t.after(() => app.close())
  app.decorateRequest('user', '')
  await app.register(turnip, { prefix: '/rtc', accessSecret: ACCESS_SECRET, redisUrl: 'memory:' })
  for (const name of ['jwt', 'redis', 'config', 'metrics', 'getEnvs', 'basicAuth']) assert.equal(app.hasDecorator(name), false, name)
  for (const name of ['config', 'jwt', 'redis', 'metrics']) app.decorate<string, string>(name, 'the host’s')
  app.addHook('onRequest', async request => { request.setDecorator('user', { name: 'ann' }) })
  app.get('/me', async request => request.getDecorator('user'))
  app.get('/echo', { websocket: true }, socket => { socket.on('message', (data: Buffer) => { socket.send(data) }) })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })

  assert.deepEqual(await getJson(`${url}/me`), { status: 200, body: { name: 'ann' } })
  const socket = new WebSocket(`${url.replace('http', 'ws')}/echo`)
  await once(socket, 'open')
  socket.send('hello')
  await once(socket, 'message')
  const ann = await Client.open(`${url.replace('http', 'ws')}/rtc/ws`, 'ann')
  await ann.join('standup')
  assert.deepEqual((await app.turnip.rooms.members('standup')).map(member => member.username), ['ann'])

  const ended = once(socket, 'close')
  await app.close()
  assert.deepEqual((await ended)[0], 1005)
  assert.equal((await ann.closed).code, 1012)
})

await test('basic authentication and files of the host’s stay the host’s beside Turnip’s own', async t => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(fastifyBasicAuth, { validate: async username => { if (username !== 'host') throw new Error('not of the host') } })
  await app.register(fastifyStatic, { root: import.meta.dirname, prefix: '/files/' })
  await app.register(turnip, {
    prefix: '/rtc', accessSecret: ACCESS_SECRET, redisUrl: 'memory:', environment: 'development', metricsAuth: 'basic', metricsUsername: 'us', metricsPassword: 'secret'
  })
  app.get('/private', { onRequest: app.basicAuth }, async () => ({ host: 'private' }))
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const basic = (username: string): Record<string, string> => ({ authorization: `Basic ${Buffer.from(`${username}:secret`).toString('base64')}` })
  const statuses = async (path: string): Promise<number[]> => await Promise.all(['host', 'us'].map(async username => {
    const response = await fetch(`${url}${path}`, { headers: basic(username) })
    await response.arrayBuffer()
    return response.status
  }))
  assert.deepEqual(await statuses('/private'), [200, 401])
  assert.deepEqual(await statuses('/rtc/metrics'), [401, 200])
  assert.deepEqual(await statuses('/rtc/info'), [401, 200])
  assert.deepEqual(await statuses('/files/host.test.ts'), [200, 200])
  assert.deepEqual(await statuses('/rtc/'), [200, 200])
  const { body } = await getJson(`${url}/rtc/health`)
  assert.equal((body as { status: string }).status, 'healthy')
  const response = await fetch(`${url}/rtc/generate-token`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"username":"ann"}' })
  const { token } = await response.json() as { token: string }
  const ann = await Client.openWith(`${url.replace('http', 'ws')}/rtc/ws?token=${token}`)
  await ann.close()
})
