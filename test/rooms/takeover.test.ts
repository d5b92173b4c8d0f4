/** A member that goes on over another connection: on another instance, or on the same one. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { encodeRecord } from '../../src/rooms/record.ts'
import { RecordingPeer } from '../harness/recording-peer.ts'
import { createCluster, gate, say, seat, turns, type Cluster, type Instance } from './cluster.ts'

const infoOf = (id: string): object => ({ connection_id: id, user_id: id, username: `Name of ${id}` })
const unavailable = { name: 'Refusal', code: 'unavailable' }

async function pair (cluster: Cluster): Promise<[Instance, Instance]> {
  return [await cluster.instance('one'), await cluster.instance('two')]
}

async function placesIn ({ store }: Cluster, room = 'r'): Promise<string[]> {
  return (await store.snapshot(room))?.members.map(({ connection_id: id, instance }) => `${id} on ${instance}`) ?? []
}

function epochOf ({ seat }: RecordingPeer): string {
  return seat?.roster.epoch ?? assert.fail('it sits nowhere')
}

void describe('a member that goes on over another connection', { concurrency: true }, () => {
  void test('one that joins again over another instance has never left for the others, and its former connection is done', async t => {
    const cluster = createCluster(t)
    const [one, two] = await pair(cluster)
    const [a, b, c] = [await seat(one, 'a'), await seat(two, 'b'), await seat(one, 'c')]
    await turns()
    for (const peer of [a, b, c]) peer.clear()
    const again = await seat(two, 'a')
    await turns()
    const { type, version, data } = again.all('joined')[0] ?? assert.fail('no joined')
    assert.deepEqual([type, version, data.members.map(({ connection_id: id }) => id)], ['joined', 4, ['b', 'c']])
    for (const peer of [b, c]) assert.deepEqual(peer.frames, [{ type: 'user_resumed', room: 'r', version: 4, data: infoOf('a') }])
    assert.deepEqual([a.frames, a.closes, a.seat], [[], [4409], undefined])
    await one.rooms.exit(a)
    await turns()
    assert.deepEqual(await placesIn(cluster), ['a on two', 'b on two', 'c on one'])
    assert.deepEqual([one.rooms.counts.leaves, two.rooms.counts.leaves], [0, 0])
    say(one, c, 'to all')
    say(one, c, 'to one', 'a')
    say(two, again, 'from it')
    await turns()
    assert.deepEqual(again.all('data').map(({ data }) => data), ['to all', 'to one'])
    assert.deepEqual(c.all('data').map(({ data }) => data), ['from it'])
    assert.deepEqual(a.frames, [])
  })

  void test('the instance that held it hears of that although nobody else sits there', async t => {
    const cluster = createCluster(t)
    const [one, two] = await pair(cluster)
    const a = await seat(one, 'a')
    await seat(two, 'a')
    await turns()
    assert.deepEqual([a.closes, a.seat, one.rooms.roomCount, two.rooms.roomCount], [[4409], undefined, 0, 1])
  })

  void test('a leave of the former connection that comes too late takes nobody out', async t => {
    const cluster = createCluster(t)
    const [one, two] = await pair(cluster)
    const [a, b] = [await seat(one, 'a'), await seat(two, 'b')]
    two.broker.passes = (_record, to) => to !== 'one'
    const again = await seat(two, 'a')
    await one.rooms.leave(a) // it has not heard of it
    await turns()
    assert.deepEqual(await placesIn(cluster), ['a on two', 'b on two'])
    assert.deepEqual(b.types.slice(1), ['user_resumed'])
    assert.equal(again.seat?.roster.isTaken(again.seat), true)
  })

  void test('what its former instance has it say afterwards, as it knows no better, reaches nobody elsewhere', async t => {
    const cluster = createCluster(t)
    const [one, two] = await pair(cluster)
    const [a, b, c] = [await seat(one, 'a'), await seat(one, 'b'), await seat(two, 'c')]
    await turns()
    two.broker.passes = (_record, to) => to !== 'one'
    const again = await seat(two, 'a')
    say(two, again, 'now')
    say(one, a, 'late')
    say(one, a, 'late', 'c')
    say(one, b, 'of another')
    await turns()
    assert.deepEqual(c.all('data').map(({ data }) => data), ['now', 'of another'])
  })

  void test('one that is handed over is sent what its room said since, and no word of the move', async t => {
    const cluster = createCluster(t)
    const [one, two] = await pair(cluster)
    const [a, b, c] = [await seat(one, 'a'), await seat(one, 'b'), await seat(two, 'c')]
    await turns()
    for (const peer of [a, b, c]) peer.clear()
    const again = new RecordingPeer('a')
    const moved = await two.rooms.move(again, { room: 'r', epoch: epochOf(a) })
    await turns()
    assert.ok(moved)
    assert.deepEqual([moved.version, again.seat, moved.seat.roster.members('a').map(({ connection_id: id }) => id)], [4, moved.seat, ['b', 'c']])
    await seat(one, 'd')
    say(one, b, 'hello', 'a')
    await turns()
    assert.deepEqual(again.frames, [])
    moved.seat.release()
    assert.deepEqual(again.types, ['ready', 'user_joined', 'data'])
    assert.equal(again.all('user_joined')[0]?.version, 5)
    assert.deepEqual([b.types.slice(0, 1), c.types.slice(0, 1)], [['user_resumed'], ['user_resumed']])
    assert.deepEqual([a.frames, a.closes, a.seat], [[], [4409], undefined])
    assert.deepEqual(await placesIn(cluster), ['a on two', 'b on one', 'c on two', 'd on one'])
    assert.deepEqual([one.rooms.counts, two.rooms.counts], [{ joins: 3, leaves: 0 }, { joins: 1, leaves: 0 }])
    await two.rooms.leave(again)
    await turns()
    assert.equal(b.all('user_left').length, 1)
  })

  void test('one that is no member any more, or of a life that has ended, is handed over to nobody', async t => {
    const cluster = createCluster(t)
    const [one, two] = await pair(cluster)
    const [a, b] = [await seat(one, 'a'), await seat(one, 'b')]
    const life = { room: 'r', epoch: epochOf(a) }
    await one.rooms.leave(a)
    const again = new RecordingPeer('a')
    assert.equal(await two.rooms.move(again, life), undefined)
    await one.rooms.disband(b)
    await seat(one, 'a')
    assert.equal(await two.rooms.move(again, life), undefined)
    assert.deepEqual([again.seat, again.frames, two.rooms.roomCount], [undefined, [], 0])
    assert.deepEqual(await placesIn(cluster), ['a on one'])
  })

  void test('a hand-over that surely did not happen leaves the member where it was; one of which nobody knows is taken back', async t => {
    const cluster = createCluster(t)
    const [one, two] = await pair(cluster)
    const [a, b] = [await seat(one, 'a'), await seat(two, 'b')]
    const again = new RecordingPeer('a')
    const life = { room: 'r', epoch: epochOf(a) }
    two.presence.after = name => {
      if (name !== 'move') return
      two.presence.after = () => {}
      throw new Error('the answer was lost')
    }
    await assert.rejects(two.rooms.move(again, life), unavailable)
    assert.equal(again.seat, undefined)
    const { data } = await b.next('resynced') // nobody knows who is to sit there
    assert.deepEqual(data.members.map(({ connection_id: id }) => id), ['b'])
    assert.deepEqual(await placesIn(cluster), ['b on two'])
  })

  void test('an instance that missed the move gives its claim up when the room is set right', async t => {
    const cluster = createCluster(t)
    const [one, two] = await pair(cluster)
    const [a, b] = [await seat(one, 'a'), await seat(one, 'b')]
    two.broker.passes = () => false
    const again = await seat(two, 'a')
    two.broker.passes = () => true
    await seat(two, 'c') // shows that something is missing
    await b.next('resynced')
    assert.deepEqual([a.closes, a.seat, a.all('resynced')], [[4409], undefined, []])
    assert.deepEqual(await placesIn(cluster), ['a on two', 'b on one', 'c on two'])
    say(one, b, 'hello', 'a')
    await turns()
    assert.deepEqual(again.all('data').map(({ data }) => data), ['hello'])
  })

  void test('one that was moved before its own join was answered does not sit here', async t => {
    const cluster = createCluster(t)
    const [one, two] = await pair(cluster)
    const b = await seat(two, 'b')
    const answered = gate()
    one.presence.after = async name => { if (name === 'join') await answered.opened }
    const a = new RecordingPeer('a', { role: 'admin' })
    await one.rooms.watch(a, true)
    const joining = one.rooms.join(a, { room: 'r' })
    await turns()
    const rejoining = seat(two, 'a')
    await turns()
    answered.open()
    const [again] = await Promise.all([rejoining, joining])
    await turns()
    assert.deepEqual([a.seat, a.closes, again.seat !== undefined, one.rooms.roomCount], [undefined, [4409], true, 0])
    assert.deepEqual(await placesIn(cluster), ['b on two', 'a on two'])
    await one.rooms.exit(a)
    assert.deepEqual(b.types.slice(1), ['ready', 'user_joined', 'user_resumed'])
  })

  void test('one that went on elsewhere and left there is not brought back by the claim of its former instance', async t => {
    const cluster = createCluster(t)
    const [one, two] = await pair(cluster)
    const [a, b] = [await seat(one, 'a'), await seat(one, 'b')]
    const held: Buffer[] = []
    two.broker.passes = (record, to) => {
      if (to === 'one') held.push(encodeRecord(record))
      return to !== 'one'
    }
    const again = await seat(two, 'a')
    await two.rooms.leave(again)
    const answered = gate()
    one.presence.after = async name => { if (name === 'reconcile') await answered.opened }
    one.presence.before = name => {
      if (name !== 'leave') return
      one.presence.before = () => {}
      throw new Error('away')
    }
    await one.rooms.leave(b) // has the room reconciled, with a as a member of ours
    await turns()
    assert.deepEqual(await placesIn(cluster), ['a on one'])
    two.broker.passes = () => true
    for (const bytes of held) two.broker.send('one', bytes, true)
    await turns()
    answered.open()
    while ((await placesIn(cluster)).length > 0) await turns()
    assert.deepEqual([a.closes, a.seat], [[4409], undefined])
  })

  void test('of two connections of one instance with one connection_id the later one goes on', async t => {
    const cluster = createCluster(t)
    const one = await cluster.instance('one')
    const [b, a] = [await seat(one, 'b'), await seat(one, 'a', 'r', { role: 'admin' })]
    await one.rooms.watch(a, true)
    const again = await seat(one, 'a')
    assert.deepEqual([a.closes, a.seat, again.closes], [[4409], undefined, []])
    await one.rooms.exit(a)
    say(one, b, 'hello', 'a')
    assert.deepEqual(again.all('data').map(({ data }) => data), ['hello'])
    assert.equal(a.all('data').length, 0)
    assert.deepEqual(await placesIn(cluster), ['b on one', 'a on one'])
    await one.rooms.leave(again)
    assert.deepEqual(b.types.slice(-1), ['user_left'])
    assert.equal(one.rooms.counts.leaves, 1)
  })
})
