import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { after, before, describe, test, type TestContext } from 'node:test'
import type { ServerMessage } from '../../src/protocol/messages.ts'
import { Client } from '../harness/client.ts'
import { RedisRooms } from '../harness/redis-rooms.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'
import { joinOf } from './scene.ts'
import { View } from './view.ts'

const LEAVE_ROUNDS = 200
const JOIN_ROUNDS = 100
const WALKERS = 8
const STEPS = 2000
const WALK_ROOMS = ['north', 'south', 'east']

void describe('Races between two instances', () => {
  let redis: RedisServer | undefined
  let rooms: RedisRooms
  let instances: TurnipProcess[] = []

  before(async () => {
    redis = await startRedisServer()
    const { url } = redis
    rooms = new RedisRooms(url)
    instances = await Promise.all([1, 2].map(async () => await serving(await startTurnip({ env: { REDIS_URL: url, MESSAGES_PER_SECOND: '0', BYTES_PER_SECOND: '0' } }))))
  })
  after(async () => {
    await Promise.all(instances.map(instance => instance.stop()))
    await rooms.close()
    await redis?.stop()
  })

  /** A client of one instance or the other. */
  async function open (t: TestContext, index: number, userId: string, role = 'user'): Promise<Client> {
    const client = await Client.open(instances[index % 2]?.wsUrl ?? '', userId, { role })
    t.after(() => client.close())
    return client
  }

  async function watch (t: TestContext): Promise<Client> {
    const watcher = await open(t, 0, 'root', 'admin')
    watcher.send({ type: 'watch' })
    await watcher.next('watching')
    return watcher
  }

  /** What a watcher was told of a room, once everybody has left it and one more room has been born. */
  async function toldOf (t: TestContext, watcher: Client, room: string): Promise<string[]> {
    const herald = await open(t, 1, 'herald')
    await herald.join(`${room}-last`)
    const frames = await watcher.upTo(frame => frame.type === 'room_created' && frame.data.room === `${room}-last`)
    return frames.flatMap(frame => 'data' in frame && (frame.data as { room?: string }).room === room ? [describeEvent(frame)] : [])
  }

  /** When all have left, no instance and no key may know of a room any more. */
  async function assertNothingLeft (clients: Client[]): Promise<void> {
    await Promise.all(clients.map(client => client.close()))
    await until('Redis holds no room', async () => (await rooms.keys()).every(key => !key.includes(':room:')))
    for (const { url } of instances) {
      await until('an instance forgets the rooms that it has no member in', async () => {
        const info = await (await fetch(`${url}/info`)).json() as { rooms: number, connections: number }
        return info.rooms === 0
      })
    }
  }

  void test(`${LEAVE_ROUNDS} times two last members leave at the same time: the room ends once, and one of them is told`, async t => {
    const room = 'two-leave'
    const watcher = await watch(t)
    const pair = [await open(t, 0, 'ana'), await open(t, 1, 'ben')] as const
    const [ana, ben] = pair
    for (let round = 0; round < LEAVE_ROUNDS; round++) {
      await ana.join(room)
      await ben.join(room)
      await joinOf(ana, ben)
      for (const client of pair) client.send({ type: 'leave' })
      const told = await Promise.all(pair.map(async client => (await client.fence()).map(describeEvent)))
      const ends = told.flat().filter(event => event.startsWith('room_disbanded'))
      assert.deepEqual(ends, ['room_disbanded last_member_left'], `round ${round}: ${JSON.stringify(told)}`)
      for (const events of told) assert.ok(events.lastIndexOf('left') >= 0 && events.lastIndexOf('room_disbanded last_member_left') !== 0, `round ${round}: ${JSON.stringify(told)}`)
    }
    const lives = Array.from({ length: LEAVE_ROUNDS }, () => ['room_created', 'room_disbanded last_member_left']).flat()
    assert.deepEqual(await toldOf(t, watcher, room), lives)
    assert.equal(await rooms.find(room), undefined)
  })

  void test(`${JOIN_ROUNDS} times somebody joins while the last member leaves: it is in the old life or in a new one, and Redis knows it`, async t => {
    const watcher = await watch(t)
    let survived = 0
    const clients: Client[] = []
    for (let round = 0; round < JOIN_ROUNDS; round++) {
      const room = `join-leave-${round}`
      const leaver = clients[0] ?? await open(t, 0, 'ana')
      const joiner = clients[1] ?? await open(t, 1, 'ben')
      if (clients.length === 0) clients.push(leaver, joiner)
      const [last, next] = round % 2 === 0 ? [leaver, joiner] : [joiner, leaver]
      await last.join(room)
      last.send({ type: 'leave' })
      next.send({ type: 'join', room })
      const farewell = (await last.fence()).map(describeEvent)
      const { version, data: { members } } = await next.next('joined')
      if (version === 1) {
        assert.deepEqual(members, [])
        assert.deepEqual(farewell, ['left', 'room_disbanded last_member_left'])
      } else {
        survived++
        assert.equal(version, 2)
        assert.deepEqual(members.map(member => member.connection_id), [last.id])
        assert.deepEqual(farewell.filter(event => event !== 'ready' && event !== 'user_joined'), ['left'])
        assert.equal((await next.next('user_left')).version, 3)
      }
      const stored = await rooms.find(room)
      assert.deepEqual([...stored?.members.keys() ?? []], [next.id], `round ${round}`)
      assert.equal(stored?.version, version === 1 ? 1 : 3)
      next.send({ type: 'leave' })
      assert.equal(describeEvent(await next.take()), 'left')
      assert.equal(describeEvent(await next.take()), 'room_disbanded last_member_left')
      assert.equal(await rooms.find(room), undefined, `round ${round}`)
      const life = ['room_created', 'room_disbanded last_member_left']
      const lives = version === 1 ? [...life, ...life] : life
      for (const event of lives) {
        const frames = await watcher.upTo(frame => 'data' in frame && (frame.data as { room?: string }).room === room)
        assert.equal(describeEvent(frames.at(-1)), event, `round ${round}`)
      }
    }
    t.diagnostic(`the room survived in ${survived} of ${JOIN_ROUNDS} rounds`)
    assert.deepEqual((await toldOf(t, watcher, `join-leave-${JOIN_ROUNDS - 1}`)), [])
  })

  void test(`${WALKERS} clients join, leave, move, talk and disband at random: every view is that of Redis, no frame out of order, twice or astray`, async t => {
    const seed = Number(process.env.SEED ?? randomInt(2 ** 31))
    try {
      const walkers = await Promise.all(Array.from({ length: WALKERS }, (_, index) => open(t, index, `user-${index % 5}`)))
      await Promise.all(walkers.map((walker, index) => walk(walker, generator(seed + index))))
      const views = await Promise.all(walkers.map(walker => settledView(walker)))

      const mark = { n: Number.MAX_SAFE_INTEGER }
      for (const walker of walkers) walker.send({ type: 'data', data: mark })
      for (const [index, walker] of walkers.entries()) {
        const others = walkers.filter(other => other !== walker && views[index]?.members.has(other.id))
        const heard = new Set<string>()
        while (heard.size < others.length) {
          const { from, data } = await walker.next('data')
          if ((data as { n: number }).n === mark.n) heard.add(from.connection_id)
        }
        assert.deepEqual([...heard].toSorted(), others.map(other => other.id).toSorted())
      }
      t.diagnostic(`${walkers.reduce((sum, walker) => sum + walker.frames.length, 0)} frames, ${walkers.reduce((sum, walker) => sum + walker.all('resynced').length, 0)} of them resynced`)
      await assertNothingLeft(walkers)
    } catch (error) {
      throw new Error(`SEED=${seed}: ${(error as Error).message}`, { cause: error })
    }
  })

  /** Replays what a client got until it stands where Redis stands. @throws AssertionError when a frame cannot follow the others */
  async function settledView (client: Client): Promise<View> {
    const view = new View(client.info)
    let applied = 0
    await until(`${client.info.user_id} knows what Redis knows`, async () => {
      for (; applied < client.frames.length; applied++) {
        const frame = client.frames[applied]
        if (frame !== undefined) view.apply(frame)
      }
      return view.room === undefined || (await rooms.find(view.room))?.version === view.version
    })
    const stored = view.room === undefined ? undefined : await rooms.find(view.room)
    assert.deepEqual(view.ids, [...stored?.members.keys() ?? []].toSorted())
    for (const room of WALK_ROOMS) {
      if (room !== view.room) assert.ok((await rooms.find(room))?.members.has(client.id) !== true, `${client.info.user_id} is still in ${room}`)
    }
    return view
  }
})

/** Sends a random mix of requests, most of them without waiting for the answer, and waits for the last of them. */
async function walk (client: Client, random: (limit: number) => number): Promise<void> {
  let room: string | undefined
  let n = 0
  for (let step = 0; step < STEPS; step++) {
    const choice = random(100)
    if (choice < 15) {
      room = WALK_ROOMS[random(WALK_ROOMS.length)]
      client.send({ type: 'join', room })
    } else if (choice < 20) {
      room = undefined
      client.send({ type: 'leave' })
    } else if (choice < 21) {
      client.send({ type: 'disband_room' })
    } else if (choice < 35) {
      client.send({ type: 'data', to: `user-${random(5)}`, data: { n: n++, room } })
    } else {
      client.send({ type: 'data', data: { n: n++, room } })
    }
    if (random(4) === 0) await client.fence()
  }
  await client.fence()
  const unexpected = client.all('error').filter(({ code }) => code !== 'not_in_room' && code !== 'peer_not_found')
  assert.deepEqual(unexpected, [])
}

/** Numbers from 0 to below a limit, the same for the same seed (mulberry32). */
function generator (seed: number): (limit: number) => number {
  let state = seed
  return limit => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit
  }
}

/** An event in a word or two. */
function describeEvent (frame: ServerMessage | undefined): string {
  return frame?.type === 'room_disbanded' ? `${frame.type} ${frame.data.reason}` : frame?.type ?? 'nothing'
}
