import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { Client, refusedUpgrade } from '../harness/client.ts'
import { RedisRooms } from '../harness/redis-rooms.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { startTcpProxy } from '../harness/tcp-proxy.ts'
import { tokenFor } from '../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving } from '../harness/until.ts'

const CLIENTS_A_ROOM = 5

async function openRedis (t: TestContext): Promise<{ redis: RedisServer, rooms: RedisRooms }> {
  const redis = await startRedisServer()
  const rooms = new RedisRooms(redis.url)
  t.after(async () => {
    rooms.drop()
    await redis.kill() // one that hangs, too
  })
  return { redis, rooms }
}

async function openTurnip (t: TestContext, redisUrl: string, env: Record<string, string> = {}): Promise<TurnipProcess> {
  const instance = await startTurnip({ env: { REDIS_URL: redisUrl, ...env } })
  t.after(() => instance.stop())
  return instance
}

async function openServing (t: TestContext, redisUrl: string, env: Record<string, string> = {}): Promise<TurnipProcess> {
  return await serving(await openTurnip(t, redisUrl, env))
}

/** Clients of an instance, some to a room. */
async function fill (instance: TurnipProcess, count: number): Promise<Client[]> {
  return await Promise.all(Array.from({ length: count }, async (_, index) => {
    const client = await Client.open(instance.wsUrl, `user-${index}`)
    await client.join(roomOf(index))
    return client
  }))
}

function roomOf (index: number): string { return `room-${Math.floor(index / CLIENTS_A_ROOM)}` }

/** Checks that a client was told to go elsewhere, and was then sent there. */
async function assertSentAway (client: Client): Promise<void> {
  const { code } = await client.closed
  const goaway = client.frames.at(-1)
  assert.ok(goaway?.type === 'goaway', 'goaway is the last frame')
  const { reason, reconnect_after_ms, ...rest } = goaway.data
  assert.deepEqual(rest, {})
  assert.ok(typeof reason === 'string' && reason.length > 0)
  assert.ok(Number.isInteger(reconnect_after_ms) && reconnect_after_ms >= 0)
  assert.equal(client.all('goaway').length, 1)
  assert.equal(code, 1012)
}

async function assertEnds (instance: TurnipProcess, signal: NodeJS.Signals): Promise<void> {
  assert.deepEqual(await instance.stop(signal), { code: 0, signal: null }, instance.logs.join('\n'))
}

void describe('An instance that goes away', () => {
  for (const [signal, count] of [['SIGTERM', 100], ['SIGINT', 20]] as const) {
    void test(`On ${signal} each of its ${count} clients is told, the members elsewhere see them leave, and nothing is left in Redis`, async t => {
      const { redis, rooms } = await openRedis(t)
      const [first, second] = await Promise.all([openServing(t, redis.url), openServing(t, redis.url)])
      const witnesses = await Promise.all(Array.from({ length: count / CLIENTS_A_ROOM }, async (_, index) => {
        const witness = await Client.open(second.wsUrl, `witness-${index}`)
        await witness.join(roomOf(index * CLIENTS_A_ROOM))
        return witness
      }))
      const clients = await fill(first, count)
      for (const witness of witnesses) for (let seen = 0; seen < CLIENTS_A_ROOM; seen++) await witness.next('user_joined')

      await Promise.all([assertEnds(first, signal), ...clients.map(assertSentAway)])
      for (const [index, witness] of witnesses.entries()) {
        const gone: string[] = []
        for (let seen = 0; seen < CLIENTS_A_ROOM; seen++) {
          const { version, data: { connection_id: id } } = await witness.next('user_left')
          assert.equal(version, 2 + CLIENTS_A_ROOM + seen)
          gone.push(id)
        }
        const mine = clients.slice(index * CLIENTS_A_ROOM, (index + 1) * CLIENTS_A_ROOM)
        assert.deepEqual(gone.toSorted(), mine.map(client => client.id).toSorted())
        assert.deepEqual([...(await rooms.find(roomOf(index * CLIENTS_A_ROOM)))?.members.keys() ?? []], [witness.id])
      }

      await Promise.all([assertEnds(second, signal), ...witnesses.map(assertSentAway)])
      assert.deepEqual(await rooms.keys(), [])
    })
  }

  void test('With rooms in memory too, each client is told and the process ends well', async t => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const instance = await openTurnip(t, 'memory:')
      const clients = await fill(instance, 20)
      await Promise.all([assertEnds(instance, signal), ...clients.map(assertSentAway)])
    }
  })

  void test('A client whose join is under way leaves nothing behind', async t => {
    const { redis, rooms } = await openRedis(t)
    const instance = await openServing(t, redis.url)
    const clients = await fill(instance, 10)
    redis.freeze()
    for (const client of clients) client.send({ type: 'join', room: 'another' })
    await Client.open(instance.wsUrl, 'late') // its welcome comes after the joins were asked of Redis
    const ended = assertEnds(instance, 'SIGTERM')
    await Promise.all(clients.map(client => client.closed))
    redis.thaw()
    await ended
    assert.deepEqual(await rooms.keys(), [])
  })

  void test('A client whose join takes longer than everything else leaves nothing behind', async t => {
    const { redis, rooms } = await openRedis(t)
    const proxy = await startTcpProxy(redis.port)
    t.after(() => proxy.close())
    const instance = await openServing(t, `redis://127.0.0.1:${proxy.port}`)
    const client = await Client.open(instance.wsUrl, 'ana')
    const asked = proxy.sees('a-late-room')
    proxy.delay(250)
    client.send({ type: 'join', room: 'a-late-room' })
    await asked
    await Promise.all([assertEnds(instance, 'SIGTERM'), assertSentAway(client)])
    assert.deepEqual(await rooms.keys(), [])
  })

  void test('A client that answers the farewell with a broken frame does not keep the others from leaving', async t => {
    const { redis, rooms } = await openRedis(t)
    const instance = await openServing(t, redis.url)
    const [rude, clients] = [await Client.open(instance.wsUrl, 'rude'), await fill(instance, 20)]
    rude.socket.on('message', (data: Buffer) => {
      if (data.toString().includes('goaway')) rude.write(Buffer.from([0xf1, 0x80, 0, 0, 0, 0])) // reserved bits
    })
    await Promise.all([assertEnds(instance, 'SIGTERM'), ...clients.map(assertSentAway)])
    assert.deepEqual(await rooms.keys(), [])
  })

  for (const [fault, strike] of [['has died', async redis => { await redis.kill() }], ['hangs', redis => { redis.freeze() }]] as Array<[string, (redis: RedisServer) => void | Promise<void>]>) {
    void test(`With a watcher and members, and a Redis that ${fault}, it ends in time and well`, async t => {
      const { redis } = await openRedis(t)
      const instance = await openServing(t, redis.url, { REDIS_TIMEOUT_MS: '500', DRAIN_TIMEOUT_MS: '1000' })
      const [watcher, clients] = [await Client.open(instance.wsUrl, 'root', { role: 'admin' }), await fill(instance, 10)]
      watcher.send({ type: 'watch' })
      await watcher.next('watching')
      await strike(redis)
      await Promise.all([assertEnds(instance, 'SIGTERM'), ...[watcher, ...clients].map(assertSentAway)])
    })
  }

  void test('While it waits for its clients to go, nobody is let in', async t => {
    const instance = await openTurnip(t, 'memory:')
    const [slow, client] = [await Client.open(instance.wsUrl, 'slow'), await Client.open(instance.wsUrl, 'ana')]
    slow.socket.pause() // it does not read, so it does not answer the close
    const ended = assertEnds(instance, 'SIGTERM')
    await assertSentAway(client)
    const token = tokenFor('ben')
    const { status, headers, body } = await refusedUpgrade(`${instance.wsUrl}?token=${token}`)
    assert.deepEqual([status, (body as { code: string }).code], [503, 'draining'])
    assert.match(headers['retry-after'] ?? '', /^\d+$/)
    const get = await fetch(`${instance.url}/ws?token=${token}`)
    assert.equal(get.status, 503)
    assert.deepEqual(await get.json(), body)
    slow.socket.terminate()
    await ended
  })
})

void describe('An instance that has not reached Redis yet', () => {
  void test('lets nobody in, and says when to try again', async t => {
    const instance = await openTurnip(t, 'redis://127.0.0.1:1')
    const token = tokenFor('ana')
    const { status, headers, body } = await refusedUpgrade(`${instance.wsUrl}?token=${token}`)
    assert.deepEqual([status, (body as { code: string }).code], [503, 'starting'])
    assert.match(headers['retry-after'] ?? '', /^\d+$/)
    const get = await fetch(`${instance.url}/ws?token=${token}`)
    assert.equal(get.status, 503)
    assert.deepEqual(await get.json(), body)
    await assertEnds(instance, 'SIGTERM')
  })
})
