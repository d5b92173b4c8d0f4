import assert from 'node:assert/strict'
import type { ServerMessage } from '../../../src/protocol/messages.ts'
import type { Client } from '../../harness/client.ts'
import { assertRefused, type Play, type Scene } from '../scene.ts'

const created = (room: string): ServerMessage => ({ type: 'room_created', data: { room } })
const ended = (room: string, reason: 'last_member_left' | 'user_requested' = 'last_member_left'): ServerMessage => ({ type: 'room_disbanded', data: { room, reason } })

async function watch (client: Client): Promise<Client> {
  client.send({ type: 'watch' })
  assert.deepEqual(await client.next('watching'), { type: 'watching' })
  return client
}

/** What a watcher was told of these rooms, up to the birth of one more room, which tells that nothing else is on its way. */
async function toldOf (watcher: Client, scene: Scene, rooms: string[], seesAll = true): Promise<ServerMessage[]> {
  const last = rooms[0] === undefined || seesAll ? scene.room('last') : `${rooms[0]}last`
  const herald = await scene.first('herald')
  await herald.join(last)
  const frames = await watcher.upTo(frame => frame.type === 'room_created' && frame.data.room === last)
  await herald.close()
  await watcher.upTo(frame => frame.type === 'room_disbanded' && frame.data.room === last)
  return frames.filter(frame => (frame.type === 'room_created' || frame.type === 'room_disbanded') && rooms.includes(frame.data.room))
}

export function watchingCases (play: Play): void {
  play('An admin that watches is told of every room, once when it is created and once when it ends, from all instances', async scene => {
    const [one, two] = [scene.room('one'), scene.room('two')]
    const watchers = [await watch(await scene.first('root', { role: 'admin' })), await watch(await scene.second('root', { role: 'admin' }))]
    const [ana, ben] = [await scene.first('ana'), await scene.second('ben')]
    await scene.gather(one, ana, ben)
    ana.send({ type: 'leave' })
    await ana.fence()
    ben.send({ type: 'join', room: two })
    await ben.next('joined')
    ben.send({ type: 'disband_room' })
    await ben.next('room_disbanded')
    for (const watcher of watchers) {
      const frames = await toldOf(watcher, scene, [one, two])
      const of = (room: string): ServerMessage[] => frames.filter(frame => 'data' in frame && (frame.data as { room: string }).room === room)
      assert.deepEqual(of(one), [created(one), ended(one)])
      assert.deepEqual(of(two), [created(two), ended(two, 'user_requested')])
    }
  })

  play('A watcher with a rooms claim is told of the rooms that it names alone', async scene => {
    const [mine, other] = [scene.room('mine'), scene.room('other')]
    const watcher = await watch(await scene.second('ana', { rooms: [`${mine}*`] }))
    const ben = await scene.first('ben')
    await ben.join(other)
    await ben.join(`${mine}:1`)
    await ben.join(mine)
    await ben.join(other)
    const frames = await toldOf(watcher, scene, [mine, `${mine}:1`, other], false)
    assert.deepEqual(frames, [created(`${mine}:1`), created(mine), ended(`${mine}:1`), ended(mine)])
    assert.ok(watcher.frames.every(frame => !JSON.stringify(frame).includes(other)))
  })

  play('Watching without a rooms claim and without the role admin is forbidden', async scene => {
    const ana = await scene.first('ana')
    await assertRefused(ana, { type: 'watch' }, 'forbidden')
    await assertRefused(ana, { type: 'unwatch' }, 'forbidden')
    await assertRefused(await scene.second('ben', { role: 'Admin' }), { type: 'watch' }, 'forbidden')
    const { id } = await ana.refused({ type: 'watch', id: 8 })
    assert.equal(id, 8)
  })

  play('unwatch ends it, and asking twice to watch is answered twice and told once', async scene => {
    const [before, during, after] = [scene.room('before'), scene.room('during'), scene.room('after')]
    const root = await scene.first('root', { role: 'admin' })
    const ben = await scene.second('ben')
    await ben.join(before)
    await watch(root)
    await watch(root)
    await ben.join(during)
    assert.deepEqual(await toldOf(root, scene, [before, during]), [created(during), ended(before)])
    root.send({ type: 'unwatch' })
    assert.deepEqual(await root.next('unwatched'), { type: 'unwatched' })
    const other = await watch(await scene.first('other', { role: 'admin' }))
    await ben.join(after)
    assert.deepEqual(await toldOf(other, scene, [during, after]), [created(after), ended(during)])
    assert.deepEqual((await root.fence()).filter(frame => frame.type === 'room_created' || frame.type === 'room_disbanded'), [])
    root.send({ type: 'unwatch' })
    assert.deepEqual(await root.next('unwatched'), { type: 'unwatched' })
  })

  play('A watcher that is a member too gets one room_disbanded: by its own last leave, by its own wish, by that of another', async scene => {
    const rooms = [scene.room('leave'), scene.room('wish'), scene.room('other'), scene.room('move'), scene.room('stay')]
    const [leave = '', wish = '', other = '', move = '', stay = ''] = rooms
    const root = await watch(await scene.first('root', { role: 'admin' }))
    const ben = await scene.second('ben')
    await root.join(leave)
    root.send({ type: 'leave' })
    await root.next('room_disbanded')
    await root.join(wish)
    root.send({ type: 'disband_room' })
    await root.next('room_disbanded')
    await scene.gather(other, root, ben)
    ben.send({ type: 'disband_room' })
    await root.next('room_disbanded')
    await ben.next('room_disbanded')
    await root.join(move)
    await root.join(stay)
    await toldOf(root, scene, [])
    const count = (type: ServerMessage['type'], room: string): number => root.frames.filter(frame => frame.type === type && 'data' in frame && (frame.data as { room: string }).room === room).length
    for (const room of [leave, wish, other, move]) assert.deepEqual([room, count('room_created', room), count('room_disbanded', room)], [room, 1, 1])
    assert.deepEqual([count('room_created', stay), count('room_disbanded', stay)], [1, 0])
  })

  play('A watcher that leaves a room which others stay in hears of its end once, when it comes', async scene => {
    const room = scene.room()
    const root = await watch(await scene.first('root', { role: 'admin' }))
    const [ben, cleo] = [await scene.second('ben'), await scene.first('cleo')]
    await scene.gather(room, root, ben, cleo)
    root.send({ type: 'leave' })
    assert.deepEqual((await root.fence()).filter(frame => frame.type === 'room_disbanded'), [])
    cleo.send({ type: 'disband_room' })
    await cleo.next('room_disbanded')
    assert.deepEqual(await toldOf(root, scene, [room]), [ended(room, 'user_requested')])
    assert.equal(root.all('room_disbanded').filter(frame => frame.data.room === room).length, 1)
  })
}
