import assert from 'node:assert/strict'
import { after, before, describe, test, type TestContext } from 'node:test'
import type { ServerMessage } from '../../src/protocol/messages.ts'
import { Client, refusedUpgrade } from '../harness/client.ts'
import { RedisRooms } from '../harness/redis-rooms.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { tokenFor } from '../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving } from '../harness/until.ts'
import { assertRefused, heardUntil, leaveOf } from './scene.ts'

void describe('Two realms on one Redis', () => {
  let redis: RedisServer | undefined
  const instances: Record<string, TurnipProcess> = {}

  before(async () => {
    redis = await startRedisServer()
    const { url } = redis
    await Promise.all(['north', 'south'].map(async realm => {
      instances[realm] = await serving(await startTurnip({ env: { REDIS_URL: url, REALM: realm } }))
    }))
  })
  after(async () => {
    await Promise.all(Object.values(instances).map(instance => instance.stop()))
    await redis?.stop()
  })

  function wsUrlOf (realm: string): string {
    return instances[realm]?.wsUrl ?? assert.fail(`there is no instance of ${realm}`)
  }

  async function enter (t: TestContext, realm: string, userId: string, role = 'user'): Promise<Client> {
    const client = await Client.open(wsUrlOf(realm), userId, { realm, role })
    t.after(() => client.close())
    return client
  }

  void test('A token of one opens nothing in the other', async () => {
    for (const [mine, other] of [['north', 'south'], ['south', 'north']] as const) {
      const token = tokenFor('ana', { realm: mine, role: 'admin' })
      const { status, body } = await refusedUpgrade(`${wsUrlOf(other)}?token=${token}`)
      assert.deepEqual([status, (body as { code: string }).code], [401, 'realm_mismatch'])
      assert.equal((await fetch(`${instances[other]?.url ?? ''}/ws?token=${token}`)).status, 401)
      assert.equal((await fetch(`${instances[mine]?.url ?? ''}/ws?token=${token}`)).status, 426)
    }
  })

  void test('A connection goes on under no token of the other', async t => {
    const ana = await enter(t, 'north', 'ana')
    await assertRefused(ana, { type: 'refresh', token: tokenFor('ana', { realm: 'south' }) }, 'realm_mismatch')
  })

  void test('Rooms of one name are two rooms: no member, no change and no message crosses', async t => {
    const room = 'lobby'
    const [ana, ben] = [await enter(t, 'north', 'ana'), await enter(t, 'north', 'ben')]
    const [eve, fay] = [await enter(t, 'south', 'ana'), await enter(t, 'south', 'fay')]
    for (const [one, two] of [[ana, ben], [eve, fay]] as const) {
      const { version, data: { members } } = await one.join(room)
      assert.deepEqual([version, members], [1, []])
      assert.deepEqual((await two.join(room)).data.members.map(member => member.connection_id), [one.id])
      await one.next('user_joined')
    }
    ana.send({ type: 'data', data: 'ours' })
    assert.equal((await ben.next('data')).data, 'ours')
    for (const to of [eve.id, fay.id, 'fay']) await assertRefused(ben, { type: 'data', to, data: 1 }, 'peer_not_found')
    ben.send({ type: 'data', to: 'ana', data: 'for ana' })
    assert.equal((await ana.next('data')).data, 'for ana')
    ben.send({ type: 'leave' })
    await leaveOf(ana, ben)
    ana.send({ type: 'disband_room' })
    await ana.next('room_disbanded')
    assert.deepEqual(await heardUntil(eve, fay), [])
    assert.deepEqual(await heardUntil(fay, eve), [])
    assert.equal((await eve.join(room)).version, 2)
  })

  void test('Watchers are told of the rooms of their own realm alone', async t => {
    const watchers = await Promise.all(['north', 'south'].map(async realm => {
      const watcher = await enter(t, realm, 'root', 'admin')
      watcher.send({ type: 'watch' })
      await watcher.next('watching')
      return watcher
    }))
    const members = [await enter(t, 'north', 'ana'), await enter(t, 'south', 'ana')]
    for (const [index, member] of members.entries()) {
      await member.join('watched')
      await member.join(`end-${index}`)
    }
    for (const [index, watcher] of watchers.entries()) {
      const isLast = (frame: ServerMessage): boolean => frame.type === 'room_disbanded' && frame.data.room === 'watched'
      const told = (await watcher.upTo(isLast)).map(frame => `${frame.type} ${(frame as { data: { room: string } }).data.room}`)
      assert.deepEqual(told, ['room_created watched', `room_created end-${index}`, 'room_disbanded watched'])
    }
  })

  void test('Each keeps its keys under its own name', async t => {
    const rooms = new RedisRooms(redis?.url ?? '', 'north')
    t.after(() => rooms.close())
    const ana = await enter(t, 'north', 'ana')
    await ana.join('kept')
    assert.deepEqual([...(await rooms.find('kept'))?.members.keys() ?? []], [ana.id])
    assert.deepEqual((await rooms.keys()).filter(key => key.startsWith('turnip:south:') && key.includes('kept')), [])
  })
})
