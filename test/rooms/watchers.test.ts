import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LobbyEvent } from '../../src/broker/lobby-event.ts'
import { Watchers } from '../../src/rooms/watchers.ts'
import { Roster } from '../../src/rooms/roster.ts'
import { Seat } from '../../src/rooms/seat.ts'
import { RecordingPeer } from '../harness/recording-peer.ts'

const created = (room: string, epoch = 'e'): LobbyEvent => ({ type: 'room_created', room, epoch })
const ended = (room: string, epoch = 'e', reason: 'last_member_left' | 'user_requested' = 'last_member_left'): LobbyEvent =>
  ({ type: 'room_disbanded', room, epoch, reason })

function create (): { watchers: Watchers, switches: boolean[] } {
  const switches: boolean[] = []
  return { watchers: new Watchers(async on => { switches.push(on) }), switches }
}

const admin = (id: string): RecordingPeer => new RecordingPeer(id, { role: 'admin' })

/** A peer that sits in a room. */
function seated (peer: RecordingPeer, room = 'r', epoch = 'e'): RecordingPeer {
  peer.seat = new Seat(peer, new Roster(room, { epoch, version: 0, members: [] }, 'here', { onGap: () => {}, onDisbanded: () => {}, onMoved: () => {}, onReplaced: () => {} }), false)
  return peer
}

test('an admin is told of every room, others of those that their claim names', async () => {
  const { watchers } = create()
  const peers = [admin('admin'), new RecordingPeer('team', { rooms: ['team-*'] }), new RecordingPeer('one', { rooms: ['one'] }), new RecordingPeer('none', { rooms: [] }), new RecordingPeer('any', { rooms: ['*'] })]
  for (const peer of peers) await watchers.add(peer)
  for (const room of ['team-a', 'one', 'onetwo']) watchers.announce(created(room))
  watchers.announce(ended('team-a', 'e', 'user_requested'))
  const told = peers.map(({ frames }) => frames.map(frame => frame.type === 'room_created' || frame.type === 'room_disbanded' ? `${frame.type} ${frame.data.room}` : frame.type))
  const all = ['room_created team-a', 'room_created one', 'room_created onetwo', 'room_disbanded team-a']
  assert.deepEqual(told, [all, ['room_created team-a', 'room_disbanded team-a'], ['room_created one'], [], all])
  assert.deepEqual(peers[0]?.frames.at(-1), { type: 'room_disbanded', data: { room: 'team-a', reason: 'user_requested' } })
})

test('nobody is told before watching, nor after', async () => {
  const { watchers } = create()
  const peer = admin('a')
  watchers.announce(created('before'))
  await watchers.add(peer)
  watchers.announce(created('r'))
  await watchers.remove(peer)
  watchers.announce(created('after'))
  assert.deepEqual(peer.frames, [{ type: 'room_created', data: { room: 'r' } }])
})

test('the lobby is heard while somebody watches, and switched once for all', async () => {
  const { watchers, switches } = create()
  const [a, b] = [admin('a'), admin('b')]
  await Promise.all([watchers.add(a), watchers.add(b)])
  await watchers.add(a)
  await watchers.remove(a)
  await watchers.remove(a)
  assert.deepEqual(switches, [true])
  await watchers.remove(b)
  assert.deepEqual(switches, [true, false])
  await watchers.remove(admin('never watched'))
  await Promise.all([watchers.add(a), watchers.remove(a), watchers.add(b)])
  assert.equal(switches.at(-1), true)
  await watchers.remove(b)
  assert.equal(switches.at(-1), false)
})

test('watching again is told each event once', async () => {
  const { watchers } = create()
  const peer = admin('a')
  await watchers.add(peer)
  await watchers.add(peer)
  watchers.announce(created('r'))
  assert.equal(peer.frames.length, 1)
})

test('a lobby that cannot be heard rejects, and can be tried again', async () => {
  let isUp = false
  const switches: boolean[] = []
  const watchers = new Watchers(async on => {
    if (!isUp) throw new Error('away')
    switches.push(on)
  })
  const peer = admin('a')
  await assert.rejects(watchers.add(peer), /away/)
  watchers.announce(created('r'))
  assert.deepEqual(peer.frames, [])
  isUp = true
  await watchers.add(peer)
  assert.deepEqual(switches, [true])
  isUp = false
  await watchers.remove(peer)
  watchers.announce(created('r'))
  assert.deepEqual(peer.frames, [])
})

test('a leaver that was the last is told once, whichever comes first', async () => {
  for (const order of ['announcement first', 'answer first']) {
    const { watchers } = create()
    const peer = seated(admin('a'))
    await watchers.add(peer)
    peer.seat = undefined
    watchers.moving(peer, 'e')
    if (order === 'announcement first') watchers.announce(ended('r'))
    watchers.left(peer, { room: 'r', epoch: 'e' }, true) // the room service has told it
    if (order === 'answer first') watchers.announce(ended('r'))
    assert.deepEqual(peer.frames, [], order)
  }
})

test('a leaver that was not the last is told when the last one goes, whichever comes first', async () => {
  for (const order of ['announcement first', 'answer first']) {
    const { watchers } = create()
    const peer = seated(admin('a'))
    await watchers.add(peer)
    peer.seat = undefined
    watchers.moving(peer, 'e')
    if (order === 'announcement first') watchers.announce(ended('r'))
    assert.deepEqual(peer.frames, [], 'it may be told as a leaver yet')
    watchers.left(peer, { room: 'r', epoch: 'e' }, false)
    if (order === 'answer first') watchers.announce(ended('r'))
    assert.deepEqual(peer.frames, [{ type: 'room_disbanded', data: { room: 'r', reason: 'last_member_left' } }], order)
  }
})

test('a member of a disbanded room is told as a member only, whichever comes first', async () => {
  for (const order of ['announcement first', 'change first']) {
    const { watchers } = create()
    const peer = seated(admin('a'))
    await watchers.add(peer)
    if (order === 'announcement first') watchers.announce(ended('r', 'e', 'user_requested'))
    peer.seat = undefined
    watchers.left(peer, { room: 'r', epoch: 'e' }, true)
    if (order === 'change first') watchers.announce(ended('r', 'e', 'user_requested'))
    assert.deepEqual(peer.frames, [], order)
  }
})

test('a watcher on its way into a life is told of its end once, as a member', async () => {
  for (const order of ['announcement first', 'change first']) {
    const { watchers } = create()
    const peer = admin('a')
    await watchers.add(peer)
    watchers.moving(peer, 'e')
    if (order === 'announcement first') watchers.announce(ended('r', 'e', 'user_requested'))
    watchers.left(peer, { room: 'r', epoch: 'e' }, true) // its seat was told
    if (order === 'change first') watchers.announce(ended('r', 'e', 'user_requested'))
    assert.deepEqual(peer.frames, [], order)
  }
})

test('a watcher that has come into a life is told of its end as a member, if an announcement waited or not', async () => {
  for (const order of ['before it was in', 'after it was in']) {
    const { watchers } = create()
    const peer = admin('a')
    await watchers.add(peer)
    watchers.moving(peer, 'e')
    if (order === 'before it was in') watchers.announce(ended('r', 'e', 'user_requested'))
    seated(peer)
    watchers.entered(peer, 'e')
    if (order === 'after it was in') watchers.announce(ended('r', 'e', 'user_requested'))
    peer.seat = undefined
    watchers.left(peer, { room: 'r', epoch: 'e' }, true)
    assert.deepEqual(peer.frames, [], order)
  }
})

test('a member of one life is told of the end of another, of the same name too', async () => {
  const { watchers } = create()
  const peer = seated(admin('a'), 'r', 'young')
  await watchers.add(peer)
  watchers.announce(ended('r', 'old'))
  watchers.announce(ended('s', 'e'))
  assert.equal(peer.frames.length, 2)
})

test('the next life of a room is announced as if there had been none', async () => {
  const { watchers } = create()
  const peer = seated(admin('a'), 'r', 'one')
  await watchers.add(peer)
  peer.seat = undefined
  watchers.left(peer, { room: 'r', epoch: 'one' }, true)
  watchers.announce(ended('r', 'one', 'user_requested'))
  watchers.announce(created('r', 'two'))
  watchers.announce(ended('r', 'two'))
  assert.deepEqual(peer.types, ['room_created', 'room_disbanded'])
})

test('one who does not watch is not kept in mind', () => {
  const { watchers } = create()
  const peer = seated(admin('a'))
  watchers.moving(peer, 'e')
  watchers.left(peer, { room: 'r', epoch: 'e' }, false)
  watchers.left(peer, { room: 'r', epoch: 'e' }, true)
  watchers.announce(ended('r'))
  assert.deepEqual(peer.frames, [])
})
