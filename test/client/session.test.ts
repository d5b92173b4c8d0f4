import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Resumed, ServerMessage } from '../../src/protocol/messages.ts'
import { tokenFor } from '../harness/token.ts'
import { clientFor, type Recorded } from './recorded.ts'
import { ScriptedServer, type Scripted } from './scripted-server.ts'

const PEER = { connection_id: 'bob', user_id: 'user-bob', username: 'bob' }
const BOB = { ...PEER, joined_at: 0 }

/** A client in a room, with a session, on a connection that the test speaks for. */
async function inRoom (t: TestContext, { ping_interval_ms = 25_000 } = {}): Promise<{ server: ScriptedServer, ada: Recorded, line: Scripted }> {
  const server = await ScriptedServer.start(t)
  const ada = clientFor(t, server.url, 'ada', { backoffMs: 10 })
  const joined = ada.client.join('tea')
  const line = await server.next()
  assert.equal(line.query.get('resume'), 'true')
  line.welcome({ session: 's1', resume_window_ms: 10_000, ping_interval_ms })
  await line.letIn(['bob'], 2)
  await joined
  return { server, ada, line }
}

function resumed (more: Partial<Resumed> = {}): ServerMessage {
  return {
    type: 'resumed',
    data: { connection_id: 'me', user_id: 'u', username: 'u', instance_id: 'j', ping_interval_ms: 25_000, session: 's2', resume_window_ms: 10_000, received: 1, room: 'tea', version: 2, members: [BOB], missed: 0, ...more }
  }
}

/** Breaks a line and waits for the next. */
async function next (server: ScriptedServer, line: Scripted): Promise<Scripted> {
  line.terminate()
  return await server.next()
}

function dataOf ({ frames }: Scripted): unknown[] {
  return frames.flatMap(frame => frame.type === 'data' ? [frame.data] : [])
}

test('a lost connection goes on: what either side missed comes, in order, and requests under way are answered', async t => {
  const { server, ada, line } = await inRoom(t)
  line.send({ type: 'data', from: PEER, room: 'tea', data: 'one' }, { type: 'data', from: PEER, room: 'tea', data: 'two' })
  await ada.next('data', ({ data }) => data === 'two')
  ada.client.send(1)
  ada.client.send(2)
  const watching = ada.client.watch()
  const leaving = ada.client.leave()
  await line.next('leave')
  const back = await next(server, line)
  assert.equal(back.query.get('session'), 's1')
  assert.equal(back.query.get('seen'), '3', 'joined and two times data')
  assert.equal(back.query.get('resume'), null)
  assert.equal(ada.client.state, 'reconnecting')
  assert.equal(ada.client.send(3), true)
  const disbanding = ada.client.disband()

  // It has had the join, 1 and 2; of its own it had sent one thing that did not arrive.
  back.send(resumed({ received: 3, missed: 1 }), { type: 'user_joined', room: 'tea', version: 3, data: { connection_id: 'cleo', user_id: 'c', username: 'c' } })
  const { id: watch } = await back.next('watch')
  const { id: leave } = await back.next('leave')
  assert.equal((await back.next('data')).data, 3)
  const { id: disband } = await back.next('disband_room')
  assert.deepEqual(await ada.next('resumed'), { missed: 1, resent: 2 })
  assert.equal((await ada.state('open')).cause, 'Resumed')
  assert.equal((await ada.next('user_joined')).connection_id, 'cleo')
  assert.deepEqual([...ada.client.members.keys()], ['bob', 'cleo'])
  assert.equal(ada.client.instanceId, 'j')

  back.send({ type: 'watching', ...(watch !== undefined && { id: watch }) }, { type: 'left', data: { room: 'tea' }, ...(leave !== undefined && { id: leave }) })
  await Promise.all([watching, leaving])
  back.send({ type: 'error', code: 'not_in_room', error: 'no', ...(disband !== undefined && { id: disband }) })
  await assert.rejects(disbanding, { code: 'not_in_room' })
  assert.deepEqual(dataOf(back), [3])
  assert.equal(ada.all('joined').length, 1)
})

test('the count begins anew with each session, and an opening that did not arrive changes nothing', async t => {
  const { server, ada, line } = await inRoom(t)
  const second = await next(server, line)
  second.send(resumed({ received: 1 }))
  await ada.next('resumed')
  second.send({ type: 'data', from: PEER, room: 'tea', data: 'x' })
  await ada.next('data')
  ada.client.send('a')
  ada.client.send('b')
  const third = await next(server, second)
  assert.deepEqual([third.query.get('session'), third.query.get('seen')], ['s2', '1'])
  const fourth = await next(server, third) // before it said anything
  assert.deepEqual([fourth.query.get('session'), fourth.query.get('seen')], ['s2', '1'])
  fourth.send(resumed({ session: 's4', received: 1 }))
  assert.equal((await fourth.next('data')).data, 'b')
  assert.deepEqual(await ada.next('resumed'), { missed: 0, resent: 1 })
})

test('pings tell what has come, and are not sent again; a pong tells what need not be kept', async t => {
  const { server, ada, line } = await inRoom(t, { ping_interval_ms: 500 })
  assert.equal((await line.next('ping')).seen, 1)
  line.send({ type: 'pong', received: 2 })
  assert.equal((await line.next('ping')).seen, 2)
  ada.client.send('kept')
  const back = await next(server, line)
  back.send(resumed({ received: 2 }))
  assert.equal((await back.next('data')).data, 'kept')
  assert.deepEqual(await ada.next('resumed'), { missed: 0, resent: 1 })
})

test('more than can be kept was sent in vain: the last of it comes, and requests before that are told', async t => {
  const { server, ada, line } = await inRoom(t)
  const watching = ada.client.watch()
  for (let n = 0; n < 300; n++) ada.client.send(n)
  const leaving = ada.client.leave()
  await line.next('leave')
  const back = await next(server, line)
  back.send(resumed({ received: 1 }))
  await assert.rejects(watching, { code: 'connection_lost', request: 'watch' })
  const { id } = await back.next('leave')
  back.send({ type: 'left', data: { room: 'tea' }, ...(id !== undefined && { id }) })
  await leaving
  assert.deepEqual(dataOf(back), Array.from({ length: 255 }, (_, n) => n + 45))
})

test('while it is away so much waits and no more', async t => {
  const { server, ada, line } = await inRoom(t)
  server.isOpen = false
  line.terminate()
  await ada.state('reconnecting')
  for (let n = 0; n < 256; n++) assert.equal(ada.client.send(n), true)
  assert.equal(ada.client.send('too much'), false)
  const leaving = ada.client.leave() // a request is never too much
  server.isOpen = true
  const back = await server.next()
  back.send(resumed())
  const { id } = await back.next('leave')
  back.send({ type: 'left', data: { room: 'tea' }, ...(id !== undefined && { id }) })
  await leaving
  assert.equal(dataOf(back).length, 256)
})

test('data is sent as it was when it was handed over', async t => {
  const { server, ada, line } = await inRoom(t)
  line.terminate()
  await ada.state('reconnecting')
  const data = { n: 1 }
  ada.client.send(data)
  data.n = 2
  const back = await server.next()
  back.send(resumed())
  assert.deepEqual((await back.next('data')).data, { n: 1 })
})

test('the server cannot go on: it joins again, and what was under way is repeated, done, or given up', async t => {
  const { server, ada, line } = await inRoom(t)
  ada.client.send('may have arrived')
  const done = [ada.client.watch(), ada.client.join('next')]
  const disbanding = ada.client.disband()
  await line.next('disband_room')
  const back = await next(server, line)
  ada.client.send('to all')
  ada.client.send('to bob', 'bob')
  ada.client.send('to one who has left', 'cleo')
  back.welcome({ resumed: false, session: 's9', resume_window_ms: 10_000 })
  await assert.rejects(disbanding, { code: 'connection_lost', request: 'disband_room' })
  assert.equal(ada.client.state, 'reconnecting', 'not in its room yet')
  assert.equal((await back.letIn(['bob'], 7)).room, 'tea')
  assert.deepEqual((await ada.next('joined', ({ rejoined }) => rejoined)).room, 'tea')
  await ada.state('open')
  const { id } = await back.next('watch')
  back.send({ type: 'watching', ...(id !== undefined && { id }) })
  await back.next('join').then(join => {
    back.send({ type: 'left', data: { room: 'tea' } }, { type: 'joined', room: 'next', version: 1, data: { room: 'next', connection_id: 'me', members: [] }, ...(join.id !== undefined && { id: join.id }) })
  })
  await Promise.all(done)
  // Behind the join, as they were said: the server will say to whom they could not be told.
  assert.deepEqual(dataOf(back), ['to all', 'to bob', 'to one who has left'])
  assert.equal(ada.client.room, 'next')
})

test('the server cannot go on, under the same connection_id: what waits goes to members who are still there', async t => {
  const { server, ada, line } = await inRoom(t)
  const back = await next(server, line)
  for (const to of [undefined, 'bob', 'cleo', 'user-bob']) ada.client.send(to ?? 'all', to)
  back.welcome({ resumed: false, session: 's9', resume_window_ms: 10_000 })
  await back.letIn(['bob'])
  for (const data of ['all', 'bob', 'user-bob']) assert.equal((await back.next('data')).data, data)
  assert.equal((await ada.next('error')).message, 'Messages that waited for members who are gone: 1')
})

test('the way back takes more than one connection: to the others it is a stranger all the same', async t => {
  const { server, ada, line } = await inRoom(t)
  const second = await next(server, line)
  ada.client.send('hello', 'bob')
  second.welcome({ connection_id: 'another', session: 's5', resume_window_ms: 10_000 })
  await second.next('join')
  const third = await next(server, second)
  third.welcome({ connection_id: 'another', resumed: false })
  await third.letIn(['bob'])
  assert.equal((await ada.next('error')).code, 'left_out')
})

test('a session that goes on in the middle of the way back', async t => {
  const { server, ada, line } = await inRoom(t)
  const second = await next(server, line)
  second.welcome({ session: 's5', resume_window_ms: 10_000 })
  const { id = 0 } = await second.next('join')
  const third = await next(server, second)
  third.send(resumed({ received: 0, room: null, version: null, members: [] }))
  assert.equal((await third.next('join')).id, id)
  third.send({ type: 'error', code: 'unavailable', error: 'later', id })
  await ada.next('state', ({ cause }) => cause === 'later')
  const fourth = await next(server, third)
  fourth.send(resumed({ session: 's6', received: 1, room: null, version: null, members: [] }))
  await fourth.letIn(['bob'])
  assert.equal((await ada.state('open')).cause, 'Back in the room')
  assert.deepEqual(ada.all('left'), [])
})

test('it was about to leave, or had left: it does not join again', async t => {
  const { server, ada, line } = await inRoom(t)
  const leaving = ada.client.leave()
  await line.next('leave')
  const back = await next(server, line)
  back.welcome({ resumed: false })
  await leaving
  assert.deepEqual(await ada.next('left'), { room: 'tea', reason: 'left' })
  await ada.state('open')
  const third = await next(server, back)
  assert.equal(third.query.get('resume'), 'true', 'no session was given')
  third.welcome()
  await ada.state('open')
  ada.client.report({ peer: 'x', result: 'failed', ms: 1 })
  await third.next('report')
  assert.deepEqual(third.frames.map(({ type }) => type), ['report'])
})

test('a join and a leave behind it are made again, in this order', async t => {
  const { server, ada, line } = await inRoom(t)
  const done = Promise.all([ada.client.join('next'), ada.client.leave(), ada.client.unwatch()])
  await line.next('unwatch')
  const back = await next(server, line)
  back.welcome()
  assert.equal((await back.letIn()).room, 'tea')
  assert.equal((await back.letIn()).room, 'next')
  const { id = 0 } = await back.next('leave')
  const { id: unwatch = 0 } = await back.next('unwatch')
  back.send({ type: 'left', data: { room: 'next' }, id }, { type: 'unwatched', id: unwatch })
  await done
})

test('a token under way is not sent again: the connection that came has a newer one', async t => {
  const server = await ScriptedServer.start(t)
  const ada = clientFor(t, server.url, 'ada', { backoffMs: 10, token: () => tokenFor('ada', { exp: Date.now() / 1000 + 1 }) })
  const joined = ada.client.join('tea')
  const line = await server.next()
  line.welcome({ session: 's1', resume_window_ms: 10_000 })
  await line.letIn()
  await joined
  await line.next('refresh')
  ada.client.send('behind it')
  const back = await next(server, line)
  back.send(resumed())
  await back.next('data')
  assert.deepEqual(back.frames.map(({ type }) => type), ['data'])
  assert.deepEqual(ada.all('error'), [])
})

test('who was watching, watches again', async t => {
  const { server, ada, line } = await inRoom(t)
  const watching = ada.client.watch()
  const { id = 0 } = await line.next('watch')
  line.send({ type: 'watching', id })
  await watching
  const back = await next(server, line)
  back.welcome()
  await back.letIn()
  const { id: again = 0 } = await back.next('watch')
  back.send({ type: 'watching', id: again })
  const unwatching = ada.client.unwatch()
  await back.next('unwatch')
  const third = await next(server, back)
  third.welcome()
  await third.letIn()
  const { id: last = 0 } = await third.next('unwatch')
  third.send({ type: 'unwatched', id: last })
  await unwatching
  assert.deepEqual(third.frames.map(({ type }) => type), ['join', 'unwatch'])
})

test('the way back is barred for a moment: it tries again, and is open no sooner', async t => {
  const { server, ada, line } = await inRoom(t)
  const back = await next(server, line)
  back.welcome()
  const { id = 0 } = await back.next('join')
  back.send({ type: 'error', code: 'unavailable', error: 'The server cannot do this at the moment', id })
  assert.equal((await ada.next('state', ({ cause }) => cause === 'The server cannot do this at the moment')).state, 'reconnecting')
  t.mock.method(Math, 'random', () => 1)
  const { id: again = 0 } = await back.next('join')
  back.send({ type: 'error', code: 'unavailable', error: 'still not', id: again })
  await ada.next('state', ({ cause, retryInMs }) => cause === 'still not' && retryInMs === 40)
  const third = await next(server, back) // it is lost once more meanwhile
  third.welcome({ ping_interval_ms: 200 })
  await third.letIn()
  await ada.state('open')
  await third.next('ping')
  assert.deepEqual(third.frames.map(({ type }) => type), ['join', 'ping'], 'one way back at a time')
  assert.deepEqual(ada.all('error'), [])
})

test('news that is older than what is known changes nothing', async t => {
  const { ada, line } = await inRoom(t)
  const cleo = { connection_id: 'cleo', user_id: 'c', username: 'c' }
  line.send(
    { type: 'user_joined', room: 'tea', version: 2, data: cleo },
    { type: 'user_left', room: 'other', version: 9, data: PEER },
    { type: 'user_resumed', room: 'tea', version: 3, data: PEER },
    { type: 'user_left', room: 'tea', version: 3, data: PEER },
    { type: 'resynced', room: 'tea', version: 1, data: { room: 'tea', members: [{ ...cleo, joined_at: 5 }, { ...BOB, connection_id: 'me' }] } },
    { type: 'user_joined', room: 'tea', version: 2, data: PEER },
    { type: 'user_resumed', room: 'tea', version: 3, data: { ...PEER, connection_id: 'me' } },
    { type: 'data', from: PEER, room: 'other', data: 'not ours' },
    { type: 'data', from: PEER, room: 'tea', data: 'the end' }
  )
  assert.equal((await ada.next('data')).data, 'the end')
  assert.deepEqual(ada.heard.map(({ event }) => event).slice(3), ['user_resumed', 'resynced', 'user_joined', 'data'])
  assert.deepEqual([...ada.client.members.keys()], ['cleo', 'bob'])
})

test('what is no frame, or of a type to come, is passed over', async t => {
  const { ada, line } = await inRoom(t)
  for (const text of ['not JSON', '{"type":"of tomorrow"}', '{}']) line.write(text)
  line.send({ type: 'ice_servers', data: { ice_servers: [{ urls: 'turn:x' }], expires_at: 5 } }, { type: 'degraded', data: { redis: 'down' } })
  assert.deepEqual(await ada.next('ice_servers'), { ice_servers: [{ urls: 'turn:x' }], expires_at: 5 })
  assert.deepEqual(await ada.next('degraded'), { redis: 'down' })
  assert.deepEqual(ada.client.iceServers, [{ urls: 'turn:x' }])
})

test('close says so to the server, which ends the session; a line that went silent is left otherwise', async t => {
  const { server, ada, line } = await inRoom(t, { ping_interval_ms: 50 })
  assert.equal(await line.closed, 4000)
  const back = await server.next()
  back.send(resumed())
  await ada.next('resumed')
  ada.client.close()
  assert.equal(await back.closed, 1000)
})

test('a listener of frames may close, and begin anew: the frame is of no account then', async t => {
  const { server, ada, line } = await inRoom(t)
  ada.client.once('frame', () => {
    ada.client.close()
    void ada.client.connect()
  })
  line.send({ type: 'resynced', room: 'tea', version: 3, data: { room: 'tea', members: [BOB] } }, { type: 'joined', room: 'other', version: 3, data: { room: 'other', connection_id: 'me', members: [BOB] } })
  const fresh = await server.next()
  assert.equal(fresh.query.get('resume'), 'true')
  fresh.welcome()
  await ada.state('connecting')
  await ada.state('connecting')
  await ada.state('open')
  assert.equal(ada.client.room, null)
  assert.deepEqual(ada.all('resynced'), [])
})

test('a listener may close, or leave, whatever it hears', async t => {
  const { server, ada, line } = await inRoom(t)
  ada.client.once('resumed', () => { ada.client.close() })
  const back = await next(server, line)
  back.send(resumed())
  assert.equal(await back.closed, 1000)
  assert.equal(ada.client.state, 'closed')
  assert.equal(ada.client.send('x'), false)
  ada.client.once('state', () => { ada.client.once('state', () => { ada.client.close() }) })
  const connecting = ada.client.connect()
  ;(await server.next()).welcome()
  await assert.rejects(connecting, { code: 'closed' })
  assert.equal(ada.client.state, 'closed')
  assert.equal(ada.client.send('x'), false)
  const anew = ada.client.join('tea')
  assert.equal(ada.client.send('behind the join'), true)
  const fresh = await server.next()
  fresh.welcome()
  await fresh.letIn()
  await anew
  assert.equal((await fresh.next('data')).data, 'behind the join')
  ada.client.close()

  ada.client.once('joined', () => { ada.client.close() })
  const joining = ada.client.join('tea')
  const third = await server.next()
  assert.equal(third.query.get('session'), null)
  third.welcome()
  await third.letIn()
  await assert.rejects(joining, { code: 'closed' })
  assert.equal(ada.all('state').at(-1)?.state, 'closed')
})
