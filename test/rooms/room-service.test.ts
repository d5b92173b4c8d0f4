import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Refusal } from '../../src/protocol/refusal.ts'
import { checkRefresh } from '../../src/rooms/peer.ts'
import { identityOf, RecordingPeer } from '../harness/recording-peer.ts'
import { createCluster, gate, say, seat, turns } from './cluster.ts'

const infoOf = (id: string): object => ({ connection_id: id, user_id: id.split('/', 1)[0], username: `Name of ${id.split('/', 1)[0] ?? ''}` })
const refused = (code: string): object => ({ name: 'Refusal', code })

// Joining, leaving

test('a joiner gets the others in joining order, and they get it', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const a = await seat(one, 'a')
  const b = await seat(two, 'b')
  const c = new RecordingPeer('c')
  await one.rooms.join(c, { room: 'r', id: 'req' })
  await turns()
  const { data: { members, ...data }, ...rest } = c.all('joined')[0] ?? assert.fail('no joined')
  assert.deepEqual(rest, { type: 'joined', room: 'r', version: 3, id: 'req' })
  assert.deepEqual(data, { room: 'r', connection_id: 'c' })
  assert.deepEqual(members.map(({ joined_at: at, ...info }) => info), [infoOf('a'), infoOf('b')])
  assert.ok(members.every(({ joined_at: at }) => at > 0))
  for (const peer of [a, b]) {
    assert.deepEqual(peer.frames.slice(-2), [{ type: 'ready', data: infoOf('c') }, { type: 'user_joined', room: 'r', version: 3, data: infoOf('c') }])
  }
  assert.deepEqual(c.types, ['joined'])
  assert.deepEqual(one.rooms.counts, { joins: 2, leaves: 0 })
})

test('a leaver gets left, the others user_left, the last one room_disbanded', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const [a, b] = [await seat(one, 'a'), await seat(two, 'b')]
  a.clear()
  b.clear()
  await one.rooms.leave(a, 7)
  await turns()
  assert.deepEqual(a.frames, [{ type: 'left', data: { room: 'r' }, id: 7 }])
  assert.deepEqual(b.frames, [{ type: 'user_left', room: 'r', version: 3, data: infoOf('a') }])
  await two.rooms.leave(b)
  assert.deepEqual(b.frames.slice(1), [{ type: 'left', data: { room: 'r' } }, { type: 'room_disbanded', data: { room: 'r', reason: 'last_member_left' } }])
  assert.deepEqual([one.rooms.roomCount, two.rooms.roomCount], [0, 0])
  await assert.rejects(one.rooms.leave(a), refused('not_in_room'))
})

test('a peer whose connection closes has left, and is sent nothing of it', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const [a, b] = [await seat(one, 'a'), await seat(two, 'b')]
  await one.rooms.exit(a, Promise.resolve())
  await one.rooms.exit(a, Promise.resolve())
  assert.equal((await b.next('user_left')).data.connection_id, 'a')
  assert.equal(a.all('left').length, 0)
  assert.deepEqual(one.rooms.counts, { joins: 1, leaves: 1 })
})

test('joining the same room again answers joined and tells nobody', async t => {
  const one = await createCluster(t).instance('one')
  const [a, b] = [await seat(one, 'a'), await seat(one, 'b')]
  a.clear()
  b.clear()
  await one.rooms.join(b, { room: 'r', id: 'again' })
  assert.deepEqual(a.frames, [])
  const [frame] = b.all('joined')
  assert.deepEqual([frame?.version, frame?.id, frame?.data.members.map(({ connection_id: id }) => id)], [2, 'again', ['a']])
  assert.equal(one.rooms.counts.joins, 2)
})

test('two connections of one user are two members', async t => {
  const one = await createCluster(t).instance('one')
  const [first, second] = [await seat(one, 'a/1'), await seat(one, 'a/2')]
  assert.equal(first.all('user_joined')[0]?.data.connection_id, 'a/2')
  await one.rooms.exit(second, Promise.resolve())
  assert.equal(first.all('user_left').length, 1)
  assert.deepEqual((await one.rooms.members('r')).map(({ connection_id: id }) => id), ['a/1'])
})

test('a join that its token does not allow is refused', async t => {
  const one = await createCluster(t).instance('one')
  const peer = new RecordingPeer('a', { rooms: ['team-*', 'lobby'] })
  for (const room of ['', 'a b', 'a{b}', 'ü', 'r'.repeat(129), 'a*', 'a/b', '\n']) {
    await assert.rejects(one.rooms.join(peer, { room }), refused('room_invalid'), room)
  }
  for (const room of ['team', 'lobby2', 'Lobby', 'r']) await assert.rejects(one.rooms.join(peer, { room }), refused('room_forbidden'), room)
  await assert.rejects(one.rooms.join(peer, { room: 'lobby', user_id: 'b' }), refused('identity_mismatch'))
  assert.equal(one.rooms.roomCount, 0)
  for (const room of ['team-', 'team-x', 'lobby']) await one.rooms.join(peer, { room, user_id: 'a' })
  const longest = new RecordingPeer('b')
  await one.rooms.join(longest, { room: `A-z_0.:@${'r'.repeat(120)}` })
  assert.equal(longest.all('joined').length, 1)
})

test('a full room refuses one more, on every instance, until somebody leaves', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one', { maxMembers: 2 }), await cluster.instance('two', { maxMembers: 2 })]
  const a = await seat(one, 'a')
  await seat(two, 'b')
  const c = await seat(two, 'c', 'elsewhere')
  await assert.rejects(two.rooms.join(c, { room: 'r' }), refused('room_full'))
  await assert.rejects(one.rooms.join(new RecordingPeer('d'), { room: 'r' }), refused('room_full'))
  assert.equal(c.seat?.roster.room, 'elsewhere', 'it stays where it was')
  await one.rooms.leave(a)
  await two.rooms.join(c, { room: 'r' })
  assert.equal(c.seat?.roster.room, 'r')
})

test('the members of a room are those on all instances', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  await seat(one, 'a', 'r')
  await seat(two, 'b')
  const members = await (await cluster.instance('three')).rooms.members('r')
  assert.deepEqual(members.map(({ joined_at: at, ...info }) => info), [infoOf('a'), infoOf('b')])
  assert.deepEqual(await one.rooms.members('nowhere'), [])
  await assert.rejects(one.rooms.members('not a room'), refused('room_invalid'))
})

// Moving

test('moving gives left, room_disbanded where it was the last, and then joined', async t => {
  const one = await createCluster(t).instance('one')
  const a = await seat(one, 'a')
  await one.rooms.join(a, { room: 's' })
  assert.deepEqual(a.types, ['joined', 'left', 'room_disbanded', 'joined'])
  assert.deepEqual(a.all('left')[0]?.data, { room: 'r' })
  assert.equal(a.seat?.roster.room, 's')
  const b = await seat(one, 'b')
  const c = await seat(one, 'c')
  await one.rooms.join(c, { room: 's' })
  assert.deepEqual(c.types, ['joined', 'left', 'joined'])
  assert.deepEqual(b.types, ['joined', 'ready', 'user_joined', 'user_left'])
})

test('what the new room says while a peer is on the move waits until it has left the old one', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const [a, b] = [await seat(one, 'a'), await seat(two, 'b', 's')]
  const leaving = gate()
  one.presence.after = async name => { if (name === 'leave') await leaving.opened }
  const moved = one.rooms.join(a, { room: 's' })
  await b.next('user_joined')
  say(two, b, 'hello')
  await turns()
  const c = await seat(one, 'c', 's')
  say(one, c, 'to you', 'a')
  await turns()
  assert.equal(a.all('data').length, 0)
  leaving.open()
  await moved
  assert.deepEqual(a.types, ['joined', 'left', 'room_disbanded', 'joined', 'data', 'ready', 'user_joined', 'data'])
  assert.deepEqual(a.all('data').map(({ data }) => data), ['hello', 'to you'])
})

test('a room that is disbanded while a member moves out of it does not keep it from moving', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const [a, b] = [await seat(one, 'a'), await seat(two, 'b')]
  const joining = gate()
  one.presence.before = name => name === 'join' ? joining.opened : undefined
  const moved = one.rooms.join(a, { room: 's' })
  await two.rooms.disband(b)
  await a.next('room_disbanded')
  joining.open()
  await moved
  assert.deepEqual(a.types, ['joined', 'ready', 'user_joined', 'room_disbanded', 'joined'])
  assert.equal(a.seat?.roster.room, 's')
})

test('a room that is disbanded while a member moves into it leaves it in no room', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const [a, b] = [await seat(one, 'a'), await seat(two, 'b', 's')]
  const leaving = gate()
  one.presence.after = async name => { if (name === 'leave') await leaving.opened }
  const moved = one.rooms.join(a, { room: 's' })
  await b.next('user_joined')
  await two.rooms.disband(b)
  await turns()
  leaving.open()
  await moved
  assert.deepEqual(a.types, ['joined', 'left', 'room_disbanded', 'joined', 'room_disbanded'])
  assert.deepEqual(a.all('room_disbanded').map(({ data }) => data.room), ['r', 's'])
  assert.equal(a.seat, undefined)
  assert.equal(one.rooms.roomCount, 0)
  await assert.rejects(one.rooms.leave(a), refused('not_in_room'))
})

test('a move that is refused leaves the peer where it was, and able to speak', async t => {
  const one = await createCluster(t).instance('one')
  const [a, b] = [await seat(one, 'a'), await seat(one, 'b')]
  one.presence.before = name => { if (name === 'join') throw new Error('OOM command not allowed') }
  await assert.rejects(one.rooms.join(a, { room: 's' }), (error: unknown) => {
    assert.ok(error instanceof Refusal)
    assert.equal(error.code, 'unavailable')
    assert.match(String(error.cause), /OOM/)
    assert.doesNotMatch(error.message, /OOM/)
    return true
  })
  assert.equal(a.seat?.roster.room, 'r')
  assert.equal(a.all('left').length, 0)
  say(one, a, 'still here')
  assert.equal(b.all('data').length, 1)
  await assert.rejects(one.rooms.join(new RecordingPeer('c'), { room: 'r' }), refused('unavailable'))
})

// Data

test('data reaches the others of the room wherever they are, once and in order, and nobody else', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const [a, b, c] = [await seat(one, 'a'), await seat(one, 'b'), await seat(two, 'c')]
  const [other, outside] = [await seat(one, 'd', 's'), await seat(two, 'e', 's')]
  await turns()
  for (let i = 0; i < 50; i++) say(one, a, i)
  await turns()
  for (const peer of [b, c]) {
    assert.deepEqual(peer.all('data').map(({ data }) => data), Array.from({ length: 50 }, (_, i) => i))
    assert.deepEqual(peer.all('data')[0], { type: 'data', from: infoOf('a'), room: 'r', data: 0 })
  }
  for (const peer of [a, other, outside]) assert.equal(peer.all('data').length, 0)
})

test('data in no room is refused', async t => {
  const one = await createCluster(t).instance('one')
  const peer = new RecordingPeer('a')
  assert.throws(() => { say(one, peer, 1) }, { ...refused('not_in_room'), message: 'You must join a room before sending data' })
  await assert.rejects(one.rooms.disband(peer), { ...refused('not_in_room'), message: 'You must be a member of a room to disband it' })
})

test('data for one reaches that connection, or all of that user, never the sender', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const [a1, a2, b1, b2, c] = [await seat(one, 'a/1'), await seat(two, 'a/2'), await seat(one, 'b/1'), await seat(two, 'b/2'), await seat(two, 'c')]
  await turns()
  const hears = async (to: string): Promise<string[]> => {
    for (const peer of [a1, a2, b1, b2, c]) peer.clear()
    say(one, a1, 'psst', to)
    await turns()
    const frames = [a1, a2, b1, b2, c].flatMap(peer => peer.all('data').map(frame => ({ id: peer.id, frame })))
    for (const { frame } of frames) assert.deepEqual(frame, { type: 'data', from: infoOf('a/1'), room: 'r', to, data: 'psst' })
    return frames.map(({ id }) => id)
  }
  assert.deepEqual(await hears('b/1'), ['b/1'])
  assert.deepEqual(await hears('b/2'), ['b/2'])
  assert.deepEqual(await hears('b'), ['b/1', 'b/2'])
  assert.deepEqual(await hears('a'), ['a/2'])
  assert.deepEqual(await hears('c'), ['c'])
  for (const to of ['nobody', 'a/1', '', 'B']) assert.throws(() => { say(one, a1, 1, to) }, refused('peer_not_found'), to)
  await seat(one, 'd', 's')
  assert.throws(() => { say(one, a1, 1, 'd') }, refused('peer_not_found'), 'a member of another room')
})

test('a room that lives on one instance sends nothing to others, and data for one goes to its instance only', async t => {
  const cluster = createCluster(t)
  const [one, two, three] = [await cluster.instance('one'), await cluster.instance('two'), await cluster.instance('three')]
  const a = await seat(one, 'a')
  await seat(one, 'b')
  say(one, a, 1)
  assert.deepEqual(one.broker.sent, [])
  await seat(two, 'c')
  await seat(three, 'd')
  await turns()
  one.broker.sent.length = 0
  say(one, a, 2, 'c')
  say(one, a, 3, 'b')
  say(one, a, 4)
  assert.deepEqual(one.broker.sent.map(({ to }) => to), ['two', 'two', 'three'])
})

test('a message costs what its receivers cost, however many other rooms and clients there are', async t => {
  const [rooms, messages, rounds] = [15_000, 50, 20]
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const [a, b, c] = [await seat(one, 'a'), await seat(one, 'b'), await seat(two, 'c')]
  await turns()
  /** The least of some rounds, ms: whatever else the machine does makes some of them longer. */
  const cost = async (): Promise<number> => {
    let least = Infinity
    for (let round = 0; round < rounds; round++) {
      for (const peer of [b, c]) peer.clear()
      const start = performance.now()
      for (let i = 0; i < messages; i++) say(one, a, i)
      await turns()
      least = Math.min(least, performance.now() - start)
      for (const peer of [b, c]) assert.equal(peer.all('data').length, messages)
    }
    return least
  }
  await cost() // until the code is compiled
  const before = await cost()
  for (let i = 0; i < rooms; i++) for (const instance of [one, two]) await seat(instance, `x${i}`, `room-${i}-${instance.broker.nonce}`)
  const after = await cost()
  t.diagnostic(`${messages} messages to 2 receivers: ${before.toFixed(2)} ms, and ${after.toFixed(2)} ms beside ${2 * rooms} rooms`)
  assert.ok(after < 3 * before, `${before} ms have become ${after} ms`)
})

test('data that cannot leave reaches the members here, and the sender is told', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const [a, b, c] = [await seat(one, 'a'), await seat(one, 'b'), await seat(two, 'c')]
  await turns()
  one.broker.isUp = false
  assert.throws(() => { say(one, a, 'hello') }, { ...refused('unavailable'), data: { delivered: 'local' } })
  say(one, a, 'to you', 'b')
  assert.throws(() => { say(one, a, 'to you', 'c') }, refused('unavailable'))
  await turns()
  assert.deepEqual(b.all('data').map(({ data }) => data), ['hello', 'to you'])
  assert.equal(c.all('data').length, 0)
})

test('what a client forges never goes on', async t => {
  const one = await createCluster(t).instance('one')
  const [a, b] = [await seat(one, 'a'), await seat(one, 'b')]
  for (const text of [
    '{"type":"data","data":1,"from":{"user_id":"root"}}',
    '{"type":"data","\\u0066rom":{"user_id":"root"},"data":1}',
    '{"from":{"user_id":"root"},"type":"data","data":1}',
    '{"type":"data","data":1,"room":"s"}',
    '{"type":"data","data":1,"id":3,"__proto__":{"x":1}}',
    '{"type":"join","room":"s","type":"data","data":1}',
    ' {"type":"data","data":1}'
  ]) {
    b.clear()
    one.rooms.relay(a, JSON.parse(text) as { type: 'data', data: unknown }, Buffer.from(text))
    assert.deepEqual(b.frames, [{ type: 'data', from: infoOf('a'), room: 'r', data: 1 }], text)
    assert.equal(b.raw[0]?.includes('root'), false, text)
    assert.equal(b.raw[0]?.includes('join'), false, text)
  }
})

test('data that nests too deeply to be written anew is refused, and harms nobody', async t => {
  const one = await createCluster(t).instance('one')
  const [a, b] = [await seat(one, 'a'), await seat(one, 'b')]
  const text = `{"id":1,"type":"data","data":${'['.repeat(100_000)}${']'.repeat(100_000)}}`
  assert.throws(() => { one.rooms.relay(a, JSON.parse(text) as { type: 'data', data: unknown }, Buffer.from(text)) }, refused('bad_message'))
  say(one, a, 'fine')
  assert.deepEqual(b.all('data').map(({ data }) => data), ['fine'])
})

test('one who is still a member of a room for others but has left it cannot be heard in it', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const [a, b] = [await seat(one, 'a'), await seat(two, 'b')]
  await turns()
  say(one, a, 'last words')
  await one.rooms.leave(a)
  await turns()
  assert.deepEqual(b.types.slice(-2), ['data', 'user_left'], 'user_left after the last data')
})

// Disbanding

test('a disband is told to all members on all instances once, the requester too', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const peers = [await seat(one, 'a'), await seat(one, 'b'), await seat(two, 'c')]
  const [a = assert.fail()] = peers
  await turns()
  await one.rooms.disband(a)
  await turns()
  for (const peer of peers) {
    assert.deepEqual(peer.all('room_disbanded'), [{ type: 'room_disbanded', data: { room: 'r', reason: 'user_requested' } }])
    assert.equal(peer.seat, undefined)
    assert.equal(peer.all('user_left').length, 0)
  }
  assert.deepEqual([one.rooms.roomCount, two.rooms.roomCount], [0, 0])
  await assert.rejects(one.rooms.disband(a), refused('not_in_room'))
})

test('the host may disband a room that has no member here', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const a = await seat(one, 'a')
  assert.equal(await two.rooms.disbandRoom('r'), true)
  assert.equal(await two.rooms.disbandRoom('r'), false)
  await assert.rejects(two.rooms.disbandRoom('not a room'), refused('room_invalid'))
  assert.deepEqual((await a.next('room_disbanded')).data.reason, 'user_requested')
})

test('leaves, disbands and closes that race end a room once for everybody', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const watcher = new RecordingPeer('w', { role: 'admin' })
  await one.rooms.watch(watcher, true)
  await Promise.all(Array.from({ length: 20 }, async (_, round) => {
    const room = `r${round}`
    const [a, b, c] = [await seat(one, 'a', room), await seat(two, 'b', room), await seat(one, 'c', room)]
    await Promise.all([
      one.rooms.leave(a),
      two.rooms.disband(b).catch((error: unknown) => { assert.ok(error instanceof Refusal) }),
      round % 2 === 0 ? one.rooms.exit(c, Promise.resolve()) : one.rooms.disband(c).catch((error: unknown) => { assert.ok(error instanceof Refusal) })
    ])
    await turns()
    for (const peer of [a, b]) assert.ok(peer.all('room_disbanded').length <= 1)
    assert.equal(b.all('room_disbanded').length, 1, 'it was told that its room is gone')
    assert.equal(watcher.all('room_disbanded').filter(({ data }) => data.room === room).length, 1)
    assert.equal(await cluster.store.snapshot(room), undefined)
  }))
  assert.deepEqual([one.rooms.roomCount, two.rooms.roomCount], [0, 0])
})

test('a disband that the store refuses changes nothing', async t => {
  const one = await createCluster(t).instance('one')
  const a = await seat(one, 'a')
  one.presence.before = name => { if (name === 'disband' || name === 'snapshot') throw new Error('READONLY') }
  await assert.rejects(one.rooms.disband(a), refused('unavailable'))
  await assert.rejects(one.rooms.disbandRoom('r'), refused('unavailable'))
  await assert.rejects(one.rooms.members('r'), refused('unavailable'))
  assert.deepEqual(a.types, ['joined'])
  assert.equal(a.seat?.roster.room, 'r')
})

// Watching

test('only admins and those with a rooms claim may watch', async t => {
  const one = await createCluster(t).instance('one')
  const peer = new RecordingPeer('a')
  await assert.rejects(one.rooms.watch(peer, true), refused('forbidden'))
  await assert.rejects(one.rooms.watch(peer, false), refused('forbidden'))
  await one.rooms.watch(new RecordingPeer('b', { rooms: [] }), true)
})

test('a watcher hears of rooms on all instances, at most once each', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const admin = new RecordingPeer('admin', { role: 'admin' })
  const team = new RecordingPeer('team', { rooms: ['team-*'] })
  await one.rooms.watch(admin, true)
  await one.rooms.watch(team, true)
  const [a, b, c] = [await seat(two, 'a', 'team-1'), await seat(one, 'b', 'team-1'), await seat(one, 'c', 'other')]
  await one.rooms.leave(b)
  await two.rooms.leave(a)
  await one.rooms.disband(c)
  const told = ({ frames }: RecordingPeer): unknown[] => frames.map(frame => 'data' in frame && frame.data !== undefined ? [frame.type, frame.data] : frame.type)
  const ofTeam = [['room_created', { room: 'team-1' }], ['room_disbanded', { room: 'team-1', reason: 'last_member_left' }]]
  assert.deepEqual(told(team), ofTeam)
  assert.deepEqual(told(admin), [ofTeam[0], ['room_created', { room: 'other' }], ofTeam[1], ['room_disbanded', { room: 'other', reason: 'user_requested' }]])
  await one.rooms.watch(admin, false)
  await seat(two, 'd', 'team-2')
  assert.equal(admin.frames.length, 4)
})

test('a watcher that is a member hears of the end of its room once', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const enter = async (): Promise<[RecordingPeer, RecordingPeer]> => {
    const admin = new RecordingPeer('admin', { role: 'admin' })
    await one.rooms.watch(admin, true)
    await one.rooms.join(admin, { room: 'r' })
    const other = await seat(two, 'b')
    await turns()
    return [admin, other]
  }
  const [disbands, b1] = await enter()
  await one.rooms.disband(disbands)
  const [isDisbanded, b2] = await enter()
  await two.rooms.disband(b2)
  const [isLast, b3] = await enter()
  await two.rooms.leave(b3)
  await one.rooms.leave(isLast)
  const [leavesFirst, b4] = await enter()
  await one.rooms.leave(leavesFirst)
  await two.rooms.leave(b4)
  await turns()
  assert.equal(b1.seat, undefined)
  const ends = [disbands, isDisbanded, isLast, leavesFirst].map(peer => peer.all('room_disbanded').map(({ data: { reason } }) => reason))
  assert.deepEqual(ends[3], ['last_member_left'])
  // earlier watchers hear of the later lives too
  assert.deepEqual(ends[2], ['last_member_left', 'last_member_left'])
  assert.deepEqual(ends[1], ['user_requested', 'last_member_left', 'last_member_left'])
  assert.deepEqual(ends[0], ['user_requested', 'user_requested', 'last_member_left', 'last_member_left'])
})

test('a watcher on the move into a room that is disbanded hears of that once', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
  const admin = await seat(one, 'admin', 'r', { role: 'admin' })
  await one.rooms.watch(admin, true)
  const b = await seat(two, 'b', 's')
  const leaving = gate()
  one.presence.after = async name => { if (name === 'leave') await leaving.opened }
  const moved = one.rooms.join(admin, { room: 's' })
  await b.next('user_joined')
  await two.rooms.disband(b)
  await turns()
  leaving.open()
  await moved
  await turns()
  assert.deepEqual(admin.all('room_disbanded').map(({ data: { room, reason } }) => `${room} ${reason}`).toSorted(), ['r last_member_left', 's user_requested'])
})

test('a watcher that closes is told nothing any more', async t => {
  const cluster = createCluster(t)
  const one = await cluster.instance('one')
  const admin = new RecordingPeer('admin', { role: 'admin' })
  await one.rooms.watch(admin, true)
  await one.rooms.exit(admin, Promise.resolve())
  await seat(one, 'a')
  assert.deepEqual(admin.frames, [])
  assert.equal(cluster.exchange.lobby.size, 0)
})

// Refreshing, renewing

test('a refresh is for the same user and for a token that opens the room it is in', async t => {
  const one = await createCluster(t).instance('one')
  const a = await seat(one, 'a')
  checkRefresh(a, identityOf('a'))
  checkRefresh(a, identityOf('a', { rooms: ['r*'] }))
  assert.throws(() => { checkRefresh(a, identityOf('b')) }, refused('identity_mismatch'))
  assert.throws(() => { checkRefresh(a, identityOf('a', { rooms: ['s'] })) }, refused('room_forbidden'))
  await one.rooms.leave(a)
  checkRefresh(a, identityOf('a', { rooms: ['s'] }))
})

test('the rooms that have a member here are renewed, and no others', async t => {
  const cluster = createCluster(t)
  const [one, two] = [await cluster.instance('one', { renewEveryMs: 20 }), await cluster.instance('two')]
  await seat(one, 'a')
  await seat(two, 'b', 's')
  const c = await seat(one, 'c', 'gone')
  await one.rooms.leave(c)
  one.presence.renewed.length = 0
  while (one.presence.renewed.length < 2) await turns()
  assert.deepEqual(one.presence.renewed.slice(0, 2), [['r'], ['r']])
})
