import assert from 'node:assert/strict'
import { after, before, describe, test, type TestContext } from 'node:test'
import type { ServerMessage } from '../../src/protocol/messages.ts'
import { Client } from '../harness/client.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import type { Claims } from '../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'
import { heardUntil, joinOf, leaveOf } from './scene.ts'

const REDIS_TIMEOUT_MS = 1000
/** How much longer than Redis may take an answer may take, ms. */
const MARGIN_MS = 1000
/** The longest that a client waits for an answer while Redis is gone, ms. */
const GONE_LIMIT_MS = 3000

void describe('While Redis is away', () => {
  let redis: RedisServer | undefined
  let instances: TurnipProcess[] = []

  before(async () => {
    const { url } = redis = await startRedisServer()
    instances = await Promise.all([0, 1].map(async () => await serving(await startTurnip({ env: { REDIS_URL: url, REDIS_TIMEOUT_MS: String(REDIS_TIMEOUT_MS) } }))))
  })
  after(async () => {
    redis?.thaw()
    await Promise.all(instances.map(instance => instance.stop()))
    await redis?.stop()
  })

  function server (): RedisServer { return redis ?? assert.fail('Redis has not started') }

  async function enter (t: TestContext, index: 0 | 1, userId: string, claims: Claims = {}): Promise<Client> {
    const client = await Client.open(instances[index]?.wsUrl ?? '', userId, claims)
    t.after(() => client.close())
    return client
  }

  /** Two members on the first instance and one on the second, who know of each other. */
  async function gather (t: TestContext, room: string): Promise<[Client, Client, Client]> {
    const [ana, ben, cleo] = [await enter(t, 0, 'ana'), await enter(t, 0, 'ben'), await enter(t, 1, 'cleo')]
    await ana.join(room)
    await ben.join(room)
    await joinOf(ana, ben)
    await cleo.join(room)
    for (const member of [ana, ben]) await joinOf(member, cleo)
    return [ana, ben, cleo]
  }

  /** Waits until every instance has noticed. */
  async function health (status: string): Promise<void> {
    for (const { url } of instances) {
      await until(`${url} is ${status}`, async () => (await (await fetch(`${url}/health`)).json() as { status: string }).status === status)
    }
  }

  async function assertAlive (): Promise<void> {
    for (const { url, metricsUrl = '' } of instances) {
      for (const base of [url, metricsUrl]) assert.equal((await fetch(`${base}/health/live`)).status, 200)
    }
  }

  /** Has a client ask for something that cannot be done now. */
  async function assertUnavailable (client: Client, message: object, limitMs: number): Promise<void> {
    const start = performance.now()
    const { error, ...answer } = await client.refused({ ...message, id: 7 })
    assert.deepEqual(answer, { type: 'error', code: 'unavailable', id: 7 }, JSON.stringify(message))
    const took = performance.now() - start
    assert.ok(took < limitMs, `${JSON.stringify(message)} took ${took} ms`)
  }

  /** Plays a room across both instances from its first join to its end. */
  async function assertRoomWorks (one: Client, two: Client, room: string): Promise<void> {
    assert.deepEqual((await one.join(room)).data.members, [])
    assert.deepEqual((await two.join(room)).data.members.map(member => member.connection_id), [one.id])
    await joinOf(one, two)
    one.send({ type: 'data', data: 'hello' })
    assert.equal((await two.next('data')).data, 'hello')
    two.send({ type: 'data', to: one.id, data: 'hello yourself' })
    assert.equal((await one.next('data')).data, 'hello yourself')
    two.send({ type: 'leave' })
    await leaveOf(one, two)
    one.send({ type: 'disband_room' })
    assert.deepEqual((await one.next('room_disbanded')).data, { room, reason: 'user_requested' })
  }

  void test('A Redis that hangs makes requests be refused in time; members go on talking, and all goes on when it answers again', async t => {
    const [ana, ben, cleo] = await gather(t, 'frozen')
    const [dora, eve, root] = [await enter(t, 0, 'dora'), await enter(t, 1, 'eve'), await enter(t, 0, 'root', { role: 'admin' })]
    await eve.join('of-eve')
    await ben.fence()
    server().freeze()
    const limit = REDIS_TIMEOUT_MS + MARGIN_MS
    await Promise.all([
      assertUnavailable(dora, { type: 'join', room: 'another' }, limit),
      assertUnavailable(eve, { type: 'disband_room' }, limit),
      assertUnavailable(root, { type: 'watch' }, limit),
      assertAlive(),
      heardUntil(ben, ana)
    ])
    ana.send({ type: 'leave' })
    assert.deepEqual((await ana.next('left')).data, { room: 'frozen' })
    await assertAlive()
    server().thaw()
    await health('healthy')
    cleo.send({ type: 'data', data: 'after' })
    assert.equal((await ben.next('data')).data, 'after')
    await assertRoomWorks(dora, await enter(t, 1, 'finn'), 'thawed')
  })

  void test('A Redis that dies leaves the members of one instance talking; what needs it is refused, leaving is not, and a new one is used by itself', async t => {
    const [ana, ben, cleo] = await gather(t, 'orphaned')
    const [dora, root] = [await enter(t, 0, 'dora'), await enter(t, 1, 'root', { role: 'admin' })]
    root.send({ type: 'watch' })
    await root.next('watching')
    await server().kill()
    await health('degraded')
    await assertAlive()
    const late = await enter(t, 0, 'late')
    if (late.all('degraded').length === 0) await late.next('degraded')
    assert.deepEqual(late.all('degraded').map(({ data }) => data), [{ redis: 'down' }], 'who comes in between is told, too')

    await Promise.all([
      assertUnavailable(dora, { type: 'join', room: 'another' }, GONE_LIMIT_MS),
      assertUnavailable(ben, { type: 'disband_room' }, GONE_LIMIT_MS)
    ])
    await assertUnavailable(ben, { type: 'join', room: 'another' }, GONE_LIMIT_MS)
    const isError = (frame: ServerMessage): boolean => frame.type === 'error'
    for (const [message, reachesBen] of [[{ data: 'to all' }, true], [{ data: 'to ben', to: ben.id }, true], [{ data: 'to cleo', to: cleo.id }, false]] as const) {
      const reachesAll = !('to' in message && message.to === ben.id)
      ana.send({ type: 'data', id: message.data, ...message })
      if (reachesBen) assert.equal((await ben.next('data')).data, message.data)
      const [refusal, ...more] = (await ana.fence()).filter(isError)
      assert.deepEqual(more, [])
      if (refusal === undefined) assert.ok(!reachesAll, `${message.data} cannot have left`)
      else assert.deepEqual({ ...refusal, error: '' }, { type: 'error', error: '', code: 'unavailable', data: { delivered: 'local' }, id: message.data })
    }
    assert.deepEqual(await heardUntil(ana, ben), [])

    root.send({ type: 'unwatch', id: 1 })
    assert.equal((await root.next('unwatched', GONE_LIMIT_MS)).id, 1)
    await assertUnavailable(root, { type: 'watch' }, GONE_LIMIT_MS)
    ben.send({ type: 'leave', id: 2 })
    const { data, id } = await ben.next('left', GONE_LIMIT_MS)
    assert.deepEqual([data, id], [{ room: 'orphaned' }, 2])
    assert.deepEqual((await ben.refused({ type: 'data', data: 'too late' })).code, 'not_in_room')

    redis = await server().replace()
    await health('healthy')
    await assertRoomWorks(ben, await enter(t, 1, 'finn'), 'afresh')
    await assertRoomWorks(dora, cleo, 'afresh') // she has left the room that is lost
    root.send({ type: 'watch' })
    await root.next('watching')
  })
})
