import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { SignalingError } from '../../src/client/index.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { clientFor } from './recorded.ts'
import { tokenFor } from '../harness/token.ts'

await suite('a SignalingClient in a room', async () => {
  let server: TurnipProcess
  before(async () => { server = await startTurnip({ env: { MAX_ROOM_MEMBERS: '3' } }) })
  after(async () => { await server.stop() })

  await test('join connects first, and tells who is there; both sides hear who comes and goes', async t => {
    const ada = clientFor(t, server.url, 'ada')
    const bob = clientFor(t, server.url, 'bob')
    assert.equal(ada.client.state, 'closed')
    assert.equal(ada.client.cause, 'Not connected yet')
    assert.deepEqual([...(await ada.client.join('tea')).members.keys()], [])
    assert.equal(ada.client.state, 'open')
    assert.equal(ada.client.userId, 'ada')
    assert.equal(ada.client.username, 'ada')
    assert.match(ada.client.instanceId, /^test-/)

    const { room, members } = await bob.client.join('tea')
    assert.equal(room, 'tea')
    assert.deepEqual([...members.keys()], [ada.client.connectionId])
    assert.equal(typeof members.get(ada.client.connectionId)?.joined_at, 'number')
    assert.deepEqual(await bob.next('joined'), { room: 'tea', members, rejoined: false })
    const me = { connection_id: bob.client.connectionId, user_id: 'bob', username: 'bob' }
    assert.deepEqual(await ada.next('user_joined'), me)
    assert.deepEqual([...ada.client.members.values()], [me])

    await bob.client.leave()
    assert.equal(bob.client.room, null)
    assert.equal(bob.client.members.size, 0)
    assert.deepEqual(await bob.next('left'), { room: 'tea', reason: 'left' })
    assert.deepEqual(await ada.next('user_left'), me)
    assert.equal(ada.client.members.size, 0)
  })

  await test('send reaches all others, one connection, or a user; it says when it cannot', async t => {
    const ada = clientFor(t, server.url, 'ada')
    const bob = clientFor(t, server.url, 'bob')
    const cleo = clientFor(t, server.url, 'cleo')
    assert.equal(ada.client.send('to nobody'), false, 'not connected')
    await ada.client.connect()
    assert.equal(ada.client.send('to nobody'), false, 'in no room')
    for (const { client } of [ada, bob, cleo]) await client.join('say')
    await ada.next('user_joined', ({ user_id }) => user_id === 'cleo')

    const from = { connection_id: ada.client.connectionId, user_id: 'ada', username: 'ada' }
    assert.equal(ada.client.send({ n: 1 }), true)
    ada.client.send(undefined, bob.client.connectionId)
    ada.client.send('user', 'cleo')
    assert.deepEqual(await bob.next('data'), { from, data: { n: 1 } })
    assert.deepEqual(await bob.next('data'), { from, data: null, to: bob.client.connectionId })
    assert.deepEqual(await cleo.next('data'), { from, data: { n: 1 } })
    assert.deepEqual(await cleo.next('data'), { from, data: 'user', to: 'cleo' })

    ada.client.send('x', 'nobody here')
    const error = await ada.next('error')
    assert.ok(error instanceof SignalingError)
    assert.equal(error.code, 'peer_not_found')
    assert.equal(error.request, 'data')
  })

  await test('what goes right behind a join goes to the room that is joined', async t => {
    const ada = clientFor(t, server.url, 'ada')
    const bob = clientFor(t, server.url, 'bob')
    await ada.client.join('quick')
    const joined = bob.client.join('quick')
    assert.equal(bob.client.send('hello'), true)
    await joined
    assert.equal((await ada.next('data')).data, 'hello')
  })

  await test('a join of another room leaves the first; disband ends it for all', async t => {
    const ada = clientFor(t, server.url, 'ada')
    const bob = clientFor(t, server.url, 'bob')
    await ada.client.join('one')
    await ada.client.join('two')
    assert.deepEqual(await ada.next('left'), { room: 'one', reason: 'left' })
    assert.deepEqual(await ada.next('room_disbanded'), { room: 'one', reason: 'last_member_left' })
    assert.equal((await ada.next('joined')).room, 'two')
    await bob.client.join('two')
    await bob.client.disband()
    for (const { client, next } of [ada, bob].map(one => ({ client: one.client, next: one.next.bind(one) }))) {
      assert.deepEqual(await next('left', ({ room }) => room === 'two'), { room: 'two', reason: 'user_requested' })
      assert.deepEqual(await next('room_disbanded'), { room: 'two', reason: 'user_requested' })
      assert.equal(client.room, null)
      assert.equal(client.state, 'open')
    }
  })

  await test('a refused request rejects with the code and sentence of the server, and changes nothing', async t => {
    const ada = clientFor(t, server.url, 'ada', { token: tokenFor('ada', { rooms: ['mine'] }) })
    await ada.client.join('mine')
    await assert.rejects(ada.client.join('other'), { name: 'SignalingError', code: 'room_forbidden', request: 'join', message: 'Your token does not open this room' })
    await assert.rejects(ada.client.join('no name for a room'), { code: 'room_invalid' })
    assert.equal(ada.client.room, 'mine')
    await ada.client.leave()
    await assert.rejects(ada.client.leave(), { code: 'not_in_room', request: 'leave' })
    await assert.rejects(ada.client.disband(), { code: 'not_in_room', request: 'disband_room' })
    assert.deepEqual(ada.all('error'), [])
  })

  await test('watch tells of rooms that begin and end, until unwatch', async t => {
    const ada = clientFor(t, server.url, 'ada', { token: tokenFor('ada', { rooms: ['lobby-*'] }) })
    const bob = clientFor(t, server.url, 'bob')
    await assert.rejects(bob.client.watch(), { code: 'forbidden', request: 'watch' })
    await ada.client.watch()
    await bob.client.join('lobby-1')
    assert.deepEqual(await ada.next('room_created'), { room: 'lobby-1' })
    await bob.client.leave()
    assert.deepEqual(await ada.next('room_disbanded'), { room: 'lobby-1', reason: 'last_member_left' })
    await ada.client.unwatch()
    await bob.client.join('lobby-2')
    await ada.client.join('lobby-2') // its answer comes after anything that was told before
    assert.equal(ada.all('room_created').length, 1)
  })

  await test('requests of a closed client are refused here; only join and watch connect', async t => {
    const { client } = clientFor(t, server.url, 'ada')
    for (const request of ['leave', 'disband', 'unwatch'] as const) await assert.rejects(client[request](), { code: 'not_connected' })
    assert.equal(client.state, 'closed')
  })

  await test('frames are told for logs, and no token is among them', async t => {
    const ada = clientFor(t, server.url, 'ada')
    await ada.client.join('logs')
    ada.client.report({ peer: 'x', result: 'connected', ms: 12 })
    await ada.client.leave()
    assert.deepEqual(ada.sent, ['join', 'report', 'leave'])
    assert.equal(ada.frames[0]?.frame.type, 'welcome')
    assert.deepEqual(ada.all('error'), [], 'a server that knows no reports is no reason to worry')
    assert.doesNotMatch(JSON.stringify(ada.frames), /eyJ/)
  })
})
