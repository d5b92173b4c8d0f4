import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Member, Snapshot } from '../../src/presence/presence.ts'
import { frameOf } from '../../src/protocol/frame.ts'
import { Hub } from '../../src/rooms/hub.ts'
import type { ChangeRecord, DataRecord } from '../../src/rooms/record.ts'
import type { Roster } from '../../src/rooms/roster.ts'
import { Seat } from '../../src/rooms/seat.ts'
import { RecordingPeer } from '../harness/recording-peer.ts'

const HERE = 'here:1'
const THERE = 'there:2'

const member = (id: string, instance = HERE): Member => ({ connection_id: id, user_id: id, username: id, instance, joined_at: 1 })
const snapshot = (epoch: string, version: number, ...members: Member[]): Snapshot => ({ epoch, version, members })
const joined = (epoch: string, version: number, id: string): ChangeRecord =>
  ({ kind: 'change', epoch, room: 'r', change: { kind: 'joined', version, member: member(id, THERE) } })
const disbanded = (epoch: string, version: number): ChangeRecord =>
  ({ kind: 'change', epoch, room: 'r', change: { kind: 'disbanded', version, reason: 'user_requested' } })
const said = (epoch: string, sender: string, data: unknown): DataRecord => ({
  kind: 'data', epoch, room: 'r', sender, targets: [], frame: frameOf({ type: 'data', from: { connection_id: sender, user_id: sender, username: sender }, room: 'r', data })
})

function create (): { hub: Hub, ended: Roster[] } {
  const ended: Roster[] = []
  const hub: Hub = new Hub(HERE, {
    onGap: () => {},
    onMoved: () => {},
    onReplaced: () => {},
    onDisbanded: roster => { ended.push(roster); hub.release(roster) }
  })
  return { hub, ended }
}

/** What a join does once the store has answered it. */
function seat (hub: Hub, id: string, answer: Snapshot): { peer: RecordingPeer, seat: Seat, roster: Roster } {
  const peer = new RecordingPeer(id)
  const roster = hub.open('r', answer, id)
  const seat = new Seat(peer, roster, false)
  const own = answer.members.find(({ connection_id: other }) => other === id)
  assert.ok(own)
  roster.receive({ kind: 'joined', version: answer.version, member: own }, seat)
  return { peer, seat, roster }
}

test('a room opens with its first member here and is forgotten with its last', () => {
  const { hub } = create()
  const { roster, seat: place } = seat(hub, 'a', snapshot('e', 3, member('x', THERE), member('a')))
  assert.equal(hub.roomCount, 1)
  assert.equal(roster.version, 3)
  assert.equal(hub.open('r', snapshot('e', 3, member('a')), 'a'), roster)
  assert.deepEqual([...hub.rosters], [roster])
  roster.vacate(place)
  hub.release(roster)
  assert.equal(hub.roomCount, 0)
})

test('a record of a room without members here is dropped', () => {
  const { hub } = create()
  hub.receive(joined('e', 2, 'b'))
  hub.receive(said('e', 'b', 1))
  assert.equal(hub.roomCount, 0)
})

test('records that come while a join is under way are applied after it, in order', () => {
  const { hub } = create()
  hub.expect('r')
  hub.receive(joined('e', 2, 'b'))
  hub.receive(said('e', 'b', 'hello'))
  hub.receive(said('e', 'x', 'of a member that was there'))
  const { peer } = seat(hub, 'a', snapshot('e', 1, member('a')))
  hub.arrived('r')
  assert.deepEqual(peer.types, ['ready', 'user_joined', 'data'])
  assert.deepEqual(peer.all('data').map(({ data }) => data), ['hello'])
})

test('a record that the answer to the join contains already is not told again', () => {
  const { hub } = create()
  hub.expect('r')
  hub.receive(joined('e', 1, 'b'))
  const { peer } = seat(hub, 'a', snapshot('e', 2, member('b', THERE), member('a')))
  hub.arrived('r')
  assert.deepEqual(peer.frames, [])
})

test('what waited for a join that failed is dropped', () => {
  const { hub } = create()
  hub.expect('r')
  hub.receive(joined('e', 2, 'b'))
  hub.arrived('r')
  const { peer } = seat(hub, 'a', snapshot('e', 1, member('a')))
  assert.deepEqual(peer.frames, [])
  hub.arrived('r') // one too many harms nobody
})

test('of two joins under way, each hands over what waited', () => {
  const { hub } = create()
  hub.expect('r')
  hub.expect('r')
  hub.receive(joined('e', 3, 'x'))
  const { peer: a } = seat(hub, 'a', snapshot('e', 1, member('a')))
  hub.arrived('r')
  hub.receive(said('e', 'a', 'x'))
  const { peer: b } = seat(hub, 'b', snapshot('e', 2, member('a'), member('b')))
  hub.arrived('r')
  assert.deepEqual(a.types, ['ready', 'user_joined', 'ready', 'user_joined'])
  assert.deepEqual(b.types, ['ready', 'user_joined'])
})

test('what waits for a join is bounded', () => {
  const { hub } = create()
  hub.expect('r')
  for (let i = 0; i < 30_000; i++) hub.receive(said('e', 'x', { i, filler: 'x'.repeat(1000) }))
  const { peer } = seat(hub, 'a', snapshot('e', 2, member('x', THERE), member('a')))
  hub.arrived('r')
  const got = peer.all('data').map(({ data }) => (data as { i: number }).i)
  assert.ok(got.length > 100 && got.length <= 20_000, `${got.length} waited`)
  assert.deepEqual(got, Array.from({ length: got.length }, (_, i) => i))
})

test('two lives of one name stand beside each other, and records find theirs by the epoch', () => {
  const { hub, ended } = create()
  const { peer: old, roster: first } = seat(hub, 'a', snapshot('one', 1, member('a')))
  const { peer: young, roster: second } = seat(hub, 'b', snapshot('two', 1, member('b')))
  assert.equal(hub.roomCount, 1)
  assert.equal(hub.lives('r').length, 2)
  hub.receive(joined('two', 2, 'x'))
  hub.receive(disbanded('one', 2))
  hub.receive(said('two', 'x', 'hello'))
  hub.receive(said('one', 'x', 'of the dead'))
  assert.deepEqual(old.types, ['room_disbanded'])
  assert.deepEqual(young.types, ['ready', 'user_joined', 'data'])
  assert.deepEqual(ended, [first])
  assert.deepEqual([...hub.rosters], [second])
})

test('a room whose last member here went is forgotten, a missing change or not', () => {
  const { hub } = create()
  const { roster, seat: place } = seat(hub, 'a', snapshot('e', 1, member('a')))
  hub.receive(joined('e', 3, 'c'))
  roster.vacate(place)
  hub.release(roster)
  assert.equal(hub.roomCount, 0)
  hub.receive(joined('e', 2, 'b'))
  assert.equal(hub.roomCount, 0)
})

test('a room is kept for one of ours whose turn to come in has not come', () => {
  const { hub } = create()
  const { roster, seat: place } = seat(hub, 'a', snapshot('e', 1, member('a')))
  const { peer } = seat(hub, 'c', snapshot('e', 3, member('a'), member('b', THERE), member('c')))
  roster.vacate(place)
  hub.release(roster)
  assert.equal(hub.roomCount, 1)
  hub.receive(joined('e', 2, 'b'))
  hub.receive(said('e', 'b', 'hello'))
  assert.deepEqual(peer.types, ['data'])
})

test('a roster that was let go and is given up late does not take its successor with it', () => {
  const { hub } = create()
  const { roster: first, seat: place } = seat(hub, 'a', snapshot('e', 2, member('x', THERE), member('a')))
  first.vacate(place)
  hub.release(first)
  const { peer, roster: second } = seat(hub, 'b', snapshot('e', 4, member('x', THERE), member('b')))
  hub.release(first)
  assert.deepEqual([...hub.rosters], [second])
  hub.receive(said('e', 'x', 'hello'))
  assert.deepEqual(peer.types, ['data'])
})
