import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Member, RosterChange } from '../../src/presence/presence.ts'
import { frameOf } from '../../src/protocol/frame.ts'
import { Roster } from '../../src/rooms/roster.ts'
import type { Move } from '../../src/rooms/roster-owner.ts'
import { Seat } from '../../src/rooms/seat.ts'
import { RecordingPeer } from '../harness/recording-peer.ts'

const HERE = 'here:1'
const THERE = 'there:2'

function member (id: string, instance = HERE, userId = id.split('/', 1)[0] ?? id): Member {
  return { connection_id: id, user_id: userId, username: `Name of ${userId}`, instance, joined_at: 1000 }
}

const infoOf = (id: string): object => ({ connection_id: id, user_id: id, username: `Name of ${id}` })
const joined = (version: number, id: string, instance = HERE): RosterChange => ({ kind: 'joined', version, member: member(id, instance) })
const moved = (version: number, id: string, instance = HERE): RosterChange => ({ kind: 'moved', version, member: member(id, instance) })
const left = (version: number, connectionId: string): RosterChange => ({ kind: 'left', version, connectionId })
const disbanded = (version: number): RosterChange => ({ kind: 'disbanded', version, reason: 'user_requested' })
const dataFrame = (from: string, data: unknown): Buffer =>
  frameOf({ type: 'data', from: { connection_id: from, user_id: from, username: from }, room: 'r', data })

interface Kit { roster: Roster, gaps: number[], ended: Seat[][], moves: Move[], replaced: Seat[] }

function create (version = 0, members: Member[] = []): Kit {
  const gaps: number[] = []
  const ended: Seat[][] = []
  const moves: Move[] = []
  const replaced: Seat[] = []
  const roster = new Roster('r', { epoch: 'e', version, members }, HERE, {
    onGap: ({ version }) => { gaps.push(version) },
    onDisbanded: (_roster, seats) => { ended.push([...seats]) },
    onMoved: (_roster, move) => { moves.push(move) },
    onReplaced: (_roster, seat) => { replaced.push(seat) }
  })
  return { roster, gaps, ended, moves, replaced }
}

/** Seats a peer as its join at a version does. */
function take ({ roster }: Kit, version: number, id: string): { peer: RecordingPeer, seat: Seat } {
  const peer = new RecordingPeer(id)
  const seat = new Seat(peer, roster, false)
  roster.receive(joined(version, id), seat)
  return { peer, seat }
}

test('a member is told of each change with its version', () => {
  const kit = create()
  const { peer } = take(kit, 1, 'a')
  kit.roster.receive(joined(2, 'b', THERE))
  kit.roster.receive(left(3, 'b'))
  assert.deepEqual(peer.frames, [
    { type: 'ready', data: infoOf('b') },
    { type: 'user_joined', room: 'r', version: 2, data: infoOf('b') },
    { type: 'user_left', room: 'r', version: 3, data: infoOf('b') }
  ])
  assert.equal(kit.roster.version, 3)
  assert.deepEqual(kit.gaps, [])
})

test('a joiner is not told of its own join', () => {
  const { peer } = take(create(), 1, 'a')
  assert.deepEqual(peer.frames, [])
})

test('changes that come out of order are applied in order', () => {
  const kit = create()
  const { peer } = take(kit, 1, 'a')
  kit.roster.receive(left(4, 'b'))
  kit.roster.receive(joined(3, 'c', THERE))
  assert.equal(peer.frames.length, 0)
  assert.deepEqual(kit.gaps, [1], 'reported once')
  assert.equal(kit.roster.hasGap, true)
  kit.roster.receive(joined(2, 'b', THERE))
  assert.deepEqual(peer.frames.map(frame => 'version' in frame ? [frame.type, frame.version] : frame.type), ['ready', ['user_joined', 2], 'ready', ['user_joined', 3], ['user_left', 4]])
  assert.equal(kit.roster.hasGap, false)
})

test('a change that is known already is applied once', () => {
  const kit = create()
  const { peer } = take(kit, 1, 'a')
  for (let i = 0; i < 3; i++) kit.roster.receive(joined(2, 'b', THERE))
  kit.roster.receive(left(3, 'b'))
  kit.roster.receive(joined(2, 'b', THERE))
  assert.deepEqual(peer.types, ['ready', 'user_joined', 'user_left'])
  assert.deepEqual(kit.roster.members().map(({ connection_id: id }) => id), ['a'])
})

test('any order and repetition of changes gives what their versions say, each told once', () => {
  fc.assert(fc.property(
    fc.array(fc.constantFrom('b', 'c', 'd'), { minLength: 1, maxLength: 12 }).chain(ids => {
      // each id joins and leaves in turn
      const present = new Set<string>()
      const changes = ids.map((id, i) => {
        const version = i + 2
        return present.delete(id) ? left(version, id) : (present.add(id), joined(version, id, THERE))
      })
      return fc.tuple(
        fc.constant(changes),
        fc.shuffledSubarray([...changes, ...changes], { minLength: 2 * changes.length })
      )
    }),
    ([changes, arriving]) => {
      const kit = create()
      const { peer } = take(kit, 1, 'a')
      for (const change of arriving) kit.roster.receive(change)
      const told = peer.frames.flatMap(frame => frame.type === 'user_joined' || frame.type === 'user_left' ? [[frame.version, frame.type, frame.data.connection_id]] : [])
      assert.deepEqual(told, changes.map(change => [change.version, change.kind === 'joined' ? 'user_joined' : 'user_left', change.kind === 'joined' ? change.member.connection_id : 'connectionId' in change && change.connectionId]))
      assert.equal(kit.roster.version, changes.length + 1)
      assert.equal(kit.roster.hasGap, false)
    }
  ), { numRuns: 300 })
})

test('a joiner whose version has not come waits, and is settled when it has', () => {
  const kit = create()
  const { peer: a } = take(kit, 1, 'a')
  const b = new RecordingPeer('b')
  let settled = 0
  kit.roster.receive(joined(3, 'b'), new Seat(b, kit.roster, false), () => { settled++ })
  assert.equal(settled, 0)
  assert.deepEqual(kit.roster.seats.map(({ peer }) => peer.id), ['a'])
  kit.roster.receive(joined(2, 'c', THERE))
  assert.equal(settled, 1)
  assert.deepEqual(a.types, ['ready', 'user_joined', 'ready', 'user_joined'])
  assert.deepEqual(b.frames, [])
  kit.roster.receive(left(4, 'c'))
  assert.deepEqual(b.types, ['user_left'])
})

test('data reaches every seat but the sender\'s', () => {
  const kit = create()
  const { peer: a } = take(kit, 1, 'a')
  const { peer: b } = take(kit, 2, 'b')
  const { peer: c } = take(kit, 3, 'c')
  for (const peer of [a, b, c]) peer.clear()
  const frame = dataFrame('a', 1)
  kit.roster.deliver('a', [], frame)
  assert.deepEqual([a.types, b.types, c.types], [[], ['data'], ['data']])
  assert.equal(b.raw[0], frame, 'the same bytes, not a copy')
  assert.equal(c.raw[0], frame)
})

test('data for some reaches those of them that sit here', () => {
  const kit = create(1, [member('x', THERE)])
  const { peer: a } = take(kit, 2, 'a')
  const { peer: b } = take(kit, 3, 'b')
  for (const peer of [a, b]) peer.clear()
  kit.roster.deliver('x', ['b', 'x', 'nobody'], dataFrame('x', 1))
  assert.deepEqual([a.types, b.types], [[], ['data']])
})

test('data of somebody who is no member reaches nobody', () => {
  const kit = create()
  const { peer } = take(kit, 1, 'a')
  kit.roster.deliver('stranger', [], dataFrame('stranger', 1))
  kit.roster.receive(joined(2, 'b', THERE))
  kit.roster.receive(left(3, 'b'))
  kit.roster.deliver('b', [], dataFrame('b', 1))
  kit.roster.deliver('b', ['a'], dataFrame('b', 1))
  assert.deepEqual(peer.all('data'), [])
})

test('data that comes before its sender\'s turn waits for it, in order', () => {
  const kit = create()
  const { peer } = take(kit, 1, 'a')
  kit.roster.receive(joined(3, 'c', THERE))
  kit.roster.deliver('c', [], dataFrame('c', 1))
  kit.roster.deliver('c', ['a'], dataFrame('c', 2))
  assert.deepEqual(peer.frames, [])
  kit.roster.receive(joined(2, 'b', THERE))
  assert.deepEqual(peer.types, ['ready', 'user_joined', 'ready', 'user_joined', 'data', 'data'])
  assert.deepEqual(peer.all('data').map(({ data }) => data), [1, 2])
})

test('what waits for a missing join is bounded, and what comes beyond is lost', () => {
  const kit = create()
  const { peer } = take(kit, 1, 'a')
  kit.roster.receive(joined(3, 'c', THERE))
  const filler = 'x'.repeat(1000)
  for (let i = 0; i < 5000; i++) kit.roster.deliver('c', [], dataFrame('c', { i, filler }))
  kit.roster.receive(joined(2, 'b', THERE))
  const got = peer.all('data').map(({ data }) => (data as { i: number }).i)
  assert.ok(got.length > 100 && got.length <= 1100, `${got.length} waited`)
  assert.deepEqual(got, Array.from({ length: got.length }, (_, i) => i))
})

test('a seat that is vacated gets nothing any more, and its leave is told in its turn', () => {
  const kit = create()
  const { peer: a } = take(kit, 1, 'a')
  const { peer: b, seat } = take(kit, 2, 'b')
  for (const peer of [a, b]) peer.clear()
  kit.roster.vacate(seat)
  kit.roster.deliver('a', [], dataFrame('a', 1))
  kit.roster.deliver('a', ['b'], dataFrame('a', 2))
  kit.roster.receive(left(3, 'b'))
  assert.deepEqual(b.frames, [])
  assert.deepEqual(a.types, ['user_left'])
})

test('a disband is told to every seat once, ends the life and hands the seats over', () => {
  const kit = create(1, [member('x', THERE)])
  const { peer: a, seat: seatA } = take(kit, 2, 'a')
  const { peer: b, seat: seatB } = take(kit, 3, 'b')
  for (const peer of [a, b]) peer.clear()
  kit.roster.receive(disbanded(4))
  kit.roster.receive(disbanded(4))
  kit.roster.receive(joined(5, 'c', THERE))
  kit.roster.deliver('x', [], dataFrame('x', 1))
  for (const peer of [a, b]) assert.deepEqual(peer.frames, [{ type: 'room_disbanded', data: { room: 'r', reason: 'user_requested' } }])
  assert.deepEqual(kit.ended, [[seatA, seatB]])
  assert.equal(kit.roster.ended, true)
  assert.equal(kit.roster.hasGap, false)
})

test('a disband that comes too early waits for the changes before it', () => {
  const kit = create()
  const { peer } = take(kit, 1, 'a')
  kit.roster.receive(disbanded(3))
  assert.deepEqual(peer.frames, [])
  kit.roster.receive(joined(2, 'b', THERE))
  assert.deepEqual(peer.types, ['ready', 'user_joined', 'room_disbanded'])
})

test('a resync tells the whole room at its version, and later changes go on from there', () => {
  const kit = create()
  const { peer } = take(kit, 1, 'a')
  kit.roster.receive(joined(3, 'c', THERE))
  kit.roster.receive(left(6, 'c'))
  kit.roster.adopt({ epoch: 'e', version: 4, members: [member('a'), member('b', THERE), member('c', THERE)] })
  assert.deepEqual(peer.frames, [{
    type: 'resynced',
    room: 'r',
    version: 4,
    data: { room: 'r', members: ['a', 'b', 'c'].map(id => ({ ...infoOf(id), joined_at: 1000 })) }
  }])
  assert.equal(kit.roster.hasGap, true, '6 still waits for 5')
  kit.roster.receive(left(5, 'b'))
  assert.deepEqual(peer.types, ['resynced', 'user_left', 'user_left'])
  assert.equal(kit.roster.hasGap, false)
  assert.deepEqual([...kit.roster.instances], [])
})

test('a resync seats a joiner that waited, once', () => {
  const kit = create()
  const { peer: a } = take(kit, 1, 'a')
  const b = new RecordingPeer('b')
  let settled = 0
  kit.roster.receive(joined(3, 'b'), new Seat(b, kit.roster, false), () => { settled++ })
  kit.roster.adopt({ epoch: 'e', version: 3, members: [member('a'), member('x', THERE), member('b')] })
  assert.equal(settled, 1)
  assert.deepEqual(a.types, ['resynced'])
  assert.deepEqual(kit.roster.seats.map(({ peer }) => peer.id), ['a', 'b'])
  kit.roster.deliver('x', ['b'], dataFrame('x', 1))
  kit.roster.deliver('x', [], dataFrame('x', 2))
  assert.deepEqual(b.all('data').map(({ data }) => data), [1, 2])
})

test('a change of a former life that waited is not taken for the next one of the new life', () => {
  const kit = create()
  const { peer } = take(kit, 1, 'a')
  kit.roster.receive(joined(4, 'ghost', THERE))
  kit.roster.suspend()
  kit.roster.adopt({ epoch: 'f', version: 3, members: [member('a'), member('b', THERE)] })
  assert.deepEqual(kit.roster.members().map(({ connection_id: id }) => id), ['a', 'b'])
  assert.equal(kit.roster.version, 3)
  kit.roster.receive(joined(4, 'c', THERE))
  assert.deepEqual(peer.frames.slice(1), [{ type: 'ready', data: infoOf('c') }, { type: 'user_joined', room: 'r', version: 4, data: infoOf('c') }])
})

test('what was said by one whose join was lost comes behind the resync that names it', () => {
  const kit = create(1, [member('x', THERE)])
  const { peer } = take(kit, 2, 'a')
  kit.roster.receive(joined(4, 'c', THERE))
  kit.roster.deliver('c', [], dataFrame('c', 'offer'))
  kit.roster.deliver('c', ['a'], dataFrame('c', 'candidate'))
  kit.roster.adopt({ epoch: 'e', version: 4, members: [member('x', THERE), member('a'), member('b', THERE), member('c', THERE)] })
  assert.deepEqual(peer.types, ['resynced', 'data', 'data'])
  assert.deepEqual(peer.all('data').map(({ data }) => data), ['offer', 'candidate'])
})

test('a member that joins once more, as its first answer was lost, is told of by the whole of the room', () => {
  const kit = create()
  const { peer: a } = take(kit, 1, 'a')
  kit.roster.receive(joined(2, 'b', THERE))
  a.clear()
  kit.roster.receive(joined(3, 'b', THERE))
  assert.deepEqual(a.frames, [{ type: 'resynced', room: 'r', version: 3, data: { room: 'r', members: ['a', 'b'].map(id => ({ ...infoOf(id), joined_at: 1000 })) } }])
  kit.roster.receive(left(4, 'b'))
  assert.deepEqual([...kit.roster.instances], [], 'it was counted once')
})

test('one that waits to come in when the life ends is told what was said to it, and of the end', () => {
  const kit = create(1, [member('x', THERE)])
  const b = new RecordingPeer('b')
  const seat = new Seat(b, kit.roster, false)
  let settled = 0
  kit.roster.receive(joined(3, 'b'), seat, () => { settled++ })
  kit.roster.deliver('x', ['b'], dataFrame('x', 1))
  kit.roster.end('user_requested')
  assert.equal(settled, 1)
  assert.deepEqual(b.types, ['data', 'room_disbanded'])
  assert.deepEqual(kit.ended, [[seat]])
})

test('a resync to what is known already changes nothing', () => {
  const kit = create()
  const { peer } = take(kit, 1, 'a')
  kit.roster.adopt({ epoch: 'e', version: 1, members: [member('a')] })
  assert.deepEqual(peer.frames, [])
  assert.equal(kit.roster.members().length, 1)
})

test('the instances of a room are those of its members elsewhere', () => {
  const kit = create(2, [member('x', THERE), member('y', 'third:3')])
  take(kit, 3, 'a')
  assert.deepEqual([...kit.roster.instances].toSorted(), [THERE, 'third:3'])
  kit.roster.receive(joined(4, 'z', THERE))
  kit.roster.receive(left(5, 'x'))
  kit.roster.receive(left(6, 'y'))
  assert.deepEqual([...kit.roster.instances], [THERE])
  assert.equal(kit.roster.isSpread, true)
  kit.roster.receive(left(7, 'z'))
  assert.equal(kit.roster.isSpread, false, 'a room that lives here alone needs no broker')
})

test('to means a connection, or else every connection of a user but the sender\'s', () => {
  const { roster } = create(4, [member('a/1'), member('a/2', THERE), member('a/3'), member('a', THERE, 'somebody else')])
  const ids = (to: string, sender: string): string[] => roster.resolve(to, sender).map(({ connection_id: id }) => id)
  assert.deepEqual(ids('a/2', 'a/1'), ['a/2'])
  assert.deepEqual(ids('a', 'a/1'), ['a'], 'a connection goes before a user of that name')
  assert.deepEqual(ids('somebody else', 'a/1'), ['a'])
  assert.deepEqual(ids('a/1', 'a/1'), [], 'not to oneself')
  assert.deepEqual(ids('nobody', 'a/1'), [])
  const other = create(3, [member('a/1'), member('a/2', THERE), member('b/1')]).roster
  assert.deepEqual(other.resolve('a', 'b/1').map(({ connection_id: id }) => id), ['a/1', 'a/2'])
  assert.deepEqual(other.resolve('a', 'a/1').map(({ connection_id: id }) => id), ['a/2'])
  assert.deepEqual(other.resolve('b', 'b/1'), [])
})

test('members are listed as clients may see them', () => {
  const { roster } = create(2, [member('a'), member('b', THERE)])
  assert.deepEqual(roster.members('a'), [{ connection_id: 'b', user_id: 'b', username: 'Name of b', joined_at: 1000 }])
  assert.equal(roster.members().length, 2)
})

test('a move is told to all but the mover, changes nobody, and what is said to it goes to its new place', () => {
  const kit = create(1, [member('x', THERE)])
  const { peer } = take(kit, 2, 'a')
  kit.roster.receive(moved(3, 'x', 'third:3'))
  assert.deepEqual(peer.frames, [{ type: 'user_resumed', room: 'r', version: 3, data: infoOf('x') }])
  assert.deepEqual([...kit.roster.instances], ['third:3'])
  assert.deepEqual(kit.roster.resolve('x', 'a').map(({ instance }) => instance), ['third:3'])
  assert.deepEqual(kit.roster.members().map(({ connection_id: id }) => id), ['x', 'a'], 'in the order they joined')
  assert.deepEqual(kit.moves, [{ connectionId: 'x', version: 3, from: THERE, to: 'third:3', seat: undefined }])
  kit.roster.deliver('x', ['a'], dataFrame('x', 1))
  kit.roster.receive(left(4, 'x'))
  assert.deepEqual(peer.types, ['user_resumed', 'data', 'user_left'])
  assert.equal(kit.roster.isSpread, false)
})

test('one that moves away has no seat here any more and is told nothing', () => {
  const kit = create()
  const { peer: a } = take(kit, 1, 'a')
  const { peer: b, seat } = take(kit, 2, 'b')
  for (const peer of [a, b]) peer.clear()
  kit.roster.receive(moved(3, 'b', THERE))
  kit.roster.deliver('a', [], dataFrame('a', 1))
  kit.roster.deliver('a', ['b'], dataFrame('a', 2))
  kit.roster.receive(left(4, 'b'))
  assert.deepEqual(b.frames, [])
  assert.deepEqual(a.types, ['user_resumed', 'user_left'])
  assert.deepEqual(kit.moves, [{ connectionId: 'b', version: 3, from: HERE, to: THERE, seat }])
  assert.deepEqual(kit.roster.ours().map(({ connection_id: id }) => id), ['a'])
})

test('one that moves here is seated in its turn, and what is said to it before waits', () => {
  const kit = create(1, [member('x', THERE)])
  const { peer: a } = take(kit, 2, 'a')
  const x = new RecordingPeer('x')
  let settled = 0
  kit.roster.receive(moved(4, 'x'), new Seat(x, kit.roster, false), () => { settled++ })
  kit.roster.deliver('a', ['x'], dataFrame('a', 1))
  assert.deepEqual([settled, kit.roster.isAttended, kit.roster.ours().length], [0, true, 2])
  kit.roster.receive(joined(3, 'b', THERE))
  assert.equal(settled, 1)
  assert.deepEqual(a.types, ['ready', 'user_joined', 'user_resumed'])
  assert.deepEqual(x.types, ['data'])
  assert.deepEqual([...kit.roster.instances], [THERE])
  kit.roster.receive(left(5, 'b'))
  assert.equal(kit.roster.isSpread, false)
  assert.deepEqual(x.types, ['data', 'user_left'])
})

test('a move of one that is not known here tells the whole of the room', () => {
  const kit = create()
  const { peer } = take(kit, 1, 'a')
  kit.roster.receive(moved(2, 'x', THERE))
  assert.deepEqual(peer.types, ['resynced'])
  assert.deepEqual(kit.roster.members().map(({ connection_id: id }) => id), ['a', 'x'])
  assert.deepEqual(kit.moves, [{ connectionId: 'x', version: 2, from: undefined, to: THERE, seat: undefined }])
})

test('a resync takes the seats of those away who sit elsewhere by now, of those too who wait for their turn', () => {
  const kit = create()
  const { peer: a } = take(kit, 1, 'a')
  const { peer: b, seat: seatB } = take(kit, 2, 'b')
  for (const peer of [a, b]) peer.clear()
  const c = new RecordingPeer('c')
  const seatC = new Seat(c, kit.roster, false)
  let settled = 0
  kit.roster.receive(joined(4, 'c'), seatC, () => { settled++ })
  kit.roster.adopt({ epoch: 'e', version: 6, members: [member('a'), member('b', THERE), member('c', THERE)] })
  assert.deepEqual([a.types, b.types, c.types, settled], [['resynced'], [], [], 1])
  assert.deepEqual(kit.moves, [seatB, seatC].map(seat => ({ connectionId: seat.peer.id, version: 6, from: HERE, to: THERE, seat })))
  assert.deepEqual(kit.roster.seats.map(({ peer }) => peer.id), ['a'])
  assert.deepEqual([...kit.roster.instances], [THERE])
  assert.equal(kit.roster.isTaken(seatC), false)
})

test('one whose move waits for its turn is claimed no more, and gives its seat up when the room turns out to be gone', () => {
  const kit = create()
  const { seat } = take(kit, 1, 'a')
  const { peer: b } = take(kit, 2, 'b')
  kit.roster.receive(moved(4, 'a', THERE))
  assert.deepEqual(kit.roster.ours().map(({ connection_id: id }) => id), ['b'])
  assert.equal(kit.roster.seats.length, 2)
  kit.roster.suspend()
  kit.roster.abandon()
  assert.deepEqual(kit.moves, [{ connectionId: 'a', version: 2, from: HERE, to: undefined, seat }])
  assert.deepEqual([kit.roster.seats.map(({ peer }) => peer.id), b.frames], [['b'], []])
})

test('a resync without a member that moved from here and has left since takes its seat away', () => {
  const kit = create()
  const { seat, peer } = take(kit, 1, 'a')
  take(kit, 2, 'b')
  peer.clear()
  kit.roster.receive(moved(4, 'a', THERE))
  kit.roster.adopt({ epoch: 'e', version: 5, members: [member('b')] })
  assert.deepEqual(kit.moves, [{ connectionId: 'a', version: 5, from: HERE, to: undefined, seat }])
  assert.deepEqual([peer.frames, kit.roster.isSpread, kit.roster.seats.length], [[], false, 1])
})

test('of two peers with one connection_id the later one has the seat', () => {
  const kit = create()
  const { seat: former, peer } = take(kit, 1, 'a')
  const { seat, peer: later } = take(kit, 2, 'a')
  peer.clear()
  assert.deepEqual(kit.roster.seats, [seat])
  assert.deepEqual(kit.replaced, [former])
  kit.roster.vacate(former)
  kit.roster.receive(joined(3, 'x', THERE))
  kit.roster.deliver('x', ['a'], dataFrame('x', 1))
  assert.deepEqual(later.types, ['ready', 'user_joined', 'data'])
  assert.deepEqual(peer.frames, [])
  assert.equal(kit.roster.ours().length, 1)
})

test('any order of joins, moves and leaves gives what their versions say, each told once', () => {
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.constantFrom('b', 'c', 'd'), fc.constantFrom(THERE, 'third:3', 'leave')), { minLength: 1, maxLength: 12 }).chain(steps => {
      const places = new Map<string, string>()
      const changes = steps.map(([id, to], i) => {
        const version = i + 2
        const change = !places.has(id) ? joined(version, id, THERE) : to === 'leave' ? left(version, id) : moved(version, id, to)
        if (change.kind === 'left') places.delete(id)
        else places.set(id, change.kind === 'joined' ? THERE : to)
        return change
      })
      return fc.tuple(fc.constant(changes), fc.constant(places), fc.shuffledSubarray([...changes, ...changes], { minLength: 2 * changes.length }))
    }),
    ([changes, places, arriving]) => {
      const kit = create()
      const { peer } = take(kit, 1, 'a')
      for (const change of arriving) kit.roster.receive(change)
      const type = { joined: 'user_joined', moved: 'user_resumed', left: 'user_left', disbanded: '' }
      assert.deepEqual(
        peer.frames.flatMap(frame => 'version' in frame ? [[frame.version, frame.type]] : []),
        changes.map(({ version, kind }) => [version, type[kind]]))
      assert.deepEqual([...kit.roster.instances].toSorted(), [...new Set(places.values())].toSorted())
    }
  ), { numRuns: 300 })
})
