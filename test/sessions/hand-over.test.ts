/** Sessions that go on at another instance than the one that gave them: over a real Redis, with three instances. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, describe, test } from 'node:test'
import type { ServerMessage } from '../../src/protocol/messages.ts'
import { Client } from '../harness/client.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { RedisRooms } from '../harness/redis-rooms.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'
import { View } from '../protocol/view.ts'
import { SessionClient } from './session-client.ts'

let redis: RedisServer
let stored: RedisRooms
let instances: TurnipProcess[]
let env: Record<string, string>

before(async () => {
  redis = await startRedisServer()
  stored = new RedisRooms(redis.url)
  env = { REDIS_URL: redis.url, LEASE_MS: '1500', RESUME_WINDOW_MS: '5000', MESSAGES_PER_SECOND: '0', BYTES_PER_SECOND: '0', DRAIN_TIMEOUT_MS: '10000' }
  instances = await Promise.all([1, 2, 3].map(async () => await serving(await startTurnip({ env }))))
})
after(async () => {
  await Promise.all(instances.map(instance => instance.stop()))
  await stored.close()
  await redis.stop()
})

function at (n: number): string {
  const instance = instances[n]
  assert.ok(instance)
  return instance.wsUrl
}

/** A further instance, for a test that ends it. */
async function another (more: Record<string, string> = {}): Promise<TurnipProcess> {
  const instance = await serving(await startTurnip({ env: { ...env, ...more } }))
  instances.push(instance)
  return instance
}

/** Ana with a session at one instance, Ben without one at another. */
async function pair (room: string, ana = at(0), ben = at(1)): Promise<{ ana: SessionClient, ben: Client }> {
  const one = await SessionClient.open(ana, `ana-${room}`)
  await one.client.join(room)
  const other = await Client.open(ben, `ben-${room}`)
  await other.join(room)
  await one.client.next('user_joined')
  return { ana: one, ben: other }
}

void describe('a session at another instance', { concurrency: true }, () => {
  void test('the client goes on where it was, with what it missed, and the others only learn that it did', async () => {
    const { ana, ben } = await pair('elsewhere')
    const { id } = ana
    ana.cut()
    await once(ana.client.socket, 'close')
    for (let n = 0; n < 30; n++) ben.send({ type: 'data', to: id, data: n })
    await ben.fence()
    const { data, missed } = await ana.resume(at(2))
    assert.equal(data.connection_id, id)
    assert.deepEqual([data.room, data.version, data.members.map(({ user_id: user }) => user), data.received], ['elsewhere', 2, ['ben-elsewhere'], 1])
    const late: number[] = missed.flatMap(frame => frame.type === 'data' ? [frame.data as number] : [])
    while (late.length < 30) late.push((await ana.client.next('data')).data as number)
    assert.deepEqual(late, Array.from({ length: 30 }, (_, n) => n))
    assert.equal((await ana.client.next('user_resumed')).version, 3)
    assert.equal((await ben.next('user_resumed')).data.connection_id, id)
    ana.client.send({ type: 'data', data: 'from there' })
    assert.deepEqual((await ben.next('data')).from.connection_id, id)
    ben.send({ type: 'data', data: 'to there' })
    assert.equal((await ana.client.next('data')).data, 'to there')
    assert.deepEqual(ben.all('user_left'), [])
    await Promise.all([ana.client.close(), ben.close()])
  })

  void test('when the old socket still stands, the new one wins and the old is told 4409', async () => {
    const { ana, ben } = await pair('both')
    const old = ana.client
    await ana.resume(at(1))
    assert.equal((await old.closed).code, 4409)
    await ben.next('user_resumed')
    assert.deepEqual(ben.all('user_left'), [])
    await Promise.all([ana.client.close(), ben.close()])
  })

  void test('a client that moves from instance to instance gets every message once and in order, and so do the others', async () => {
    const ana = await SessionClient.open(at(0), 'ana-wanderer')
    ana.say({ type: 'join', room: 'wanderer' })
    await ana.client.next('joined')
    const talkers: Client[] = []
    for (const n of [0, 1, 2]) {
      const talker = await Client.open(at(n), `talker-${n}`)
      await talker.join('wanderer')
      talkers.push(talker)
    }
    for (const talker of talkers) assert.equal((await ana.client.next('user_joined')).data.connection_id, talker.id) // what she says reaches those that she was told of
    const heardOf = (told: readonly ServerMessage[], { id }: { id: string }): number[] =>
      told.flatMap(frame => frame.type === 'data' && frame.from.connection_id === id ? [(frame.data as { n: number }).n] : [])
    const talking = new AbortController()
    // None is far ahead of what Ana has heard: 256 frames are kept for her.
    const talk = Promise.all(talkers.map(async talker => {
      let n = 0
      for (; !talking.signal.aborted; n++) {
        talker.send({ type: 'data', data: { n }, ...(n % 5 === 0 && { to: ana.id }) })
        if (n % 10 === 9) await until('ana hears', async () => heardOf(ana.told, talker).length > n - 5)
      }
      return n
    }))
    const moves = 12
    for (let move = 1; move <= moves; move++) {
      for (let i = 0; i < 5; i++) ana.say({ type: 'data', data: { n: (move - 1) * 5 + i } })
      const [talker] = talkers
      await talker?.next('data') // it is under way
      if (move % 2 === 0) ana.cut()
      await ana.resume(at(move % 3))
    }
    talking.abort()
    const counts = await talk
    for (const [i, talker] of talkers.entries()) {
      const said = counts[i] ?? 0
      await until('ana has heard all', async () => heardOf(ana.told, talker).length >= said).catch(() => {}) // what is missing is said below
      assert.deepEqual(heardOf(ana.told, talker), Array.from({ length: said }, (_, n) => n), `of talker ${i}; beside it she was told ${besides(ana.told)}`)
      await until('and all have heard her', async () => heardOf(talker.frames, ana).length >= moves * 5).catch(() => {})
      assert.deepEqual(heardOf(talker.frames, ana), Array.from({ length: moves * 5 }, (_, n) => n), `at talker ${i}, who was told ${besides(talker.frames)} beside it`)
      assert.deepEqual(talker.all('user_left'), [])
    }
    const view = new View(ana.client.info)
    for (const frame of ana.told) if (frame.type !== 'data') view.apply(frame)
    assert.equal(view.ids.length, 4)
    await Promise.all([ana.client, ...talkers].map(client => client.close()))
  })

  void test('an instance that died: the client comes back under its connection_id, and is not taken for dead with it', async () => {
    const doomed = await another()
    const { ana, ben } = await pair('died', doomed.wsUrl)
    const { id } = ana
    await doomed.stop('SIGKILL')
    const opening = await ana.back(at(2))
    assert.equal(opening.type, 'welcome')
    assert.ok(opening.type === 'welcome' && opening.data.resumed === false)
    assert.equal(ana.id, id)
    await ana.client.join('died')
    assert.equal((await ben.next('user_resumed')).data.connection_id, id)
    ana.client.send({ type: 'data', data: 'alive' })
    assert.equal((await ben.next('data')).data, 'alive')
    // The dead one is reaped meanwhile.
    await until('the dead instance is reaped', async () => !(await stored.keys()).some(key => key.includes(doomed.url)) && (await instancesSeen()) === instances.length - 1)
    await Promise.all([ana.client.fence(), ben.fence()])
    assert.deepEqual(ben.all('user_left'), [])
    ben.send({ type: 'data', data: 'still' })
    assert.equal((await ana.client.next('data')).data, 'still')
    await Promise.all([ana.client.close(), ben.close()])
  })

  void test('an instance that drains hands over its clients, and ends when it has', async () => {
    const leaving = await another()
    const { ana, ben } = await pair('drained', leaving.wsUrl)
    const plain = await Client.open(leaving.wsUrl, 'plain')
    await plain.join('drained')
    const { id } = ana
    const ended = leaving.stop()
    await ana.client.next('goaway')
    assert.equal((await ana.client.closed).code, 1012)
    const { missed } = await ana.resume(at(2))
    assert.ok(missed.every(({ type }) => type !== 'room_disbanded'))
    assert.deepEqual(await ended, { code: 0, signal: null })
    assert.equal((await ben.next('user_resumed')).data.connection_id, id)
    ben.send({ type: 'data', data: 'after' })
    assert.equal((await ana.client.next('data')).data, 'after')
    assert.deepEqual(ben.all('user_left').map(({ data: { user_id: user } }) => user), ['plain'])
    await Promise.all([ana.client.close(), ben.close()])
  })

  void test('who comes back when the drain is over keeps its connection_id, as from the dead', async () => {
    const leaving = await another({ DRAIN_TIMEOUT_MS: '1000', LEASE_MS: '15000' })
    const silent = await another({ LEASE_MS: '15000' })
    const { ana, ben } = await pair('late', leaving.wsUrl, silent.wsUrl)
    const late = await SessionClient.open(leaving.wsUrl, 'late-late')
    await late.client.join('late')
    await ana.client.next('user_joined')
    const { id } = late
    silent.signal('SIGSTOP') // it does not say that it knows where ana is: so the other stays to forward what it says
    try {
      const ended = leaving.stop()
      await Promise.all([ana.client.closed, late.client.closed])
      await ana.resume(at(2))
      await ana.client.next('user_left')
      assert.equal((await late.startAnew(at(2))).connection_id, id)
      assert.deepEqual(await ended, { code: 0, signal: null })
    } finally {
      silent.signal('SIGCONT')
    }
    await Promise.all([ana.client.close(), late.client.close(), ben.close()])
  })

  void test('a drain that waits for longer than Fastify gives a plugin ends well, and nobody stays behind', async () => {
    const leaving = await another({ RESUME_WINDOW_MS: '10500', DRAIN_TIMEOUT_MS: '25000' })
    const { ana, ben } = await pair('long', leaving.wsUrl)
    const ended = leaving.stop()
    await ana.client.closed // and does not come back
    assert.deepEqual(await ended, { code: 0, signal: null })
    assert.equal((await ben.next('user_left')).data.user_id, ana.userId)
    await ben.close()
  })

  void test('an instance that is frozen: the client goes on elsewhere, and nobody sees it leave when the other wakes up', async () => {
    const frozen = await another({ LEASE_MS: '15000' }) // or it is taken for dead before its client has given it up
    const { ana, ben } = await pair('frozen', frozen.wsUrl)
    const { id } = ana
    frozen.signal('SIGSTOP')
    const opening = await ana.back(at(2))
    assert.equal(opening.type, 'welcome')
    assert.equal(ana.id, id)
    await ana.client.join('frozen')
    await ben.next('user_resumed')
    frozen.signal('SIGCONT')
    await until('it serves again', async () => {
      const health = await (await fetch(`${frozen.url}/health`)).json() as { status: string }
      return health.status === 'healthy'
    })
    const cleo = await Client.open(frozen.wsUrl, 'cleo')
    const { data: { members } } = await cleo.join('frozen')
    assert.deepEqual(members.map(({ connection_id: member }) => member).toSorted(), [id, ben.id].toSorted())
    cleo.send({ type: 'data', to: id, data: 'found' })
    assert.equal((await ana.client.next('data')).data, 'found')
    assert.deepEqual(ben.all('user_left'), [])
    await Promise.all([ana.client.close(), ben.close(), cleo.close()])
  })

  void test('forged, stolen and spent sessions are none at another instance either', async () => {
    const { ana, ben } = await pair('thief')
    const { id, offer: { session }, seen } = ana
    const thief = await SessionClient.open(at(2), 'thief')
    for (const shown of [session, `${session.slice(0, -2)}AA`]) {
      await thief.client.close()
      assert.notEqual((await thief.startAnew(at(2), { session: shown, seen })).connection_id, id)
    }
    await ana.resume(at(1))
    await ana.client.fence()
    const again = await SessionClient.open(at(2), ana.userId)
    await again.client.close()
    assert.notEqual((await again.startAnew(at(2), { session, seen })).connection_id, id, 'spent')
    await ana.client.fence()
    assert.deepEqual(ben.all('user_left'), [])
    await Promise.all([ana.client.close(), ben.close(), thief.client.close(), again.client.close()])
  })

  void test('a room that was disbanded meanwhile is told so', async () => {
    const { ana, ben } = await pair('disbanded')
    ana.cut()
    await once(ana.client.socket, 'close')
    ben.send({ type: 'disband_room' })
    await ben.next('room_disbanded')
    const { data, missed } = await ana.resume(at(2))
    assert.equal(data.room, 'disbanded')
    const told = missed[0] ?? await ana.client.take()
    assert.deepEqual(told, { type: 'room_disbanded', data: { room: 'disbanded', reason: 'user_requested' } })
    await ana.client.join('disbanded')
    await Promise.all([ana.client.close(), ben.close()])
  })

  void test('a watcher goes on watching', async () => {
    const ana = await SessionClient.open(at(0), 'watcher', { role: 'admin' })
    ana.client.send({ type: 'watch' })
    await ana.client.next('watching')
    await ana.resume(at(1))
    const ben = await Client.open(at(2), 'ben')
    await until('it hears of rooms', async () => {
      await ben.join(`watched-${Math.random()}`)
      return ana.client.all('room_created').length > 0
    })
    await Promise.all([ana.client.close(), ben.close()])
  })
})

/** What somebody was told that is not `data`, for the message of a test that fails. */
function besides (told: readonly ServerMessage[]): string {
  return told.flatMap(frame => frame.type === 'data' ? [] : [frame.type === 'error' ? JSON.stringify(frame) : frame.type]).join(' ')
}

async function instancesSeen (): Promise<number> {
  const { instances: seen } = await (await fetch(`${instances[0]?.url ?? ''}/info`)).json() as { instances: number }
  return seen
}
