/** What happens between a call of the store and its answer, or between two records that belong together. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { NotDone } from '../../src/presence/presence.ts'
import { encodeRecord, type ChangeRecord, type DataRecord } from '../../src/rooms/record.ts'
import { RecordingPeer } from '../harness/recording-peer.ts'
import { createCluster, gate, say, seat, turns, type Cluster, type Instance } from './cluster.ts'

/** More than a MiB, in frames that none of them is. */
const FLOOD = Array.from({ length: 20 }, () => 'x'.repeat(64 * 1024))

const unavailable = { name: 'Refusal', code: 'unavailable' }

type Call = 'join' | 'leave' | 'disband' | 'reconcile'

/** The next such call of the store fails without having had an effect. */
function failOnce ({ presence }: Instance, call: Call, error: Error): void {
  presence.before = called => {
    if (called !== call) return
    presence.before = () => {}
    throw error
  }
}

/** Holds up some of what an instance tells another, until it is let go in the order in which it was said. */
function holdUp ({ broker }: Instance, instance: string, isHeld: (record: DataRecord | ChangeRecord) => boolean = () => true): () => void {
  const held: Buffer[] = []
  broker.passes = (record, to) => {
    if (to !== instance || !isHeld(record)) return true
    held.push(encodeRecord(record))
    return false
  }
  return () => {
    broker.passes = () => true
    for (const bytes of held) broker.send(instance, bytes, true)
  }
}

async function three (cluster: Cluster): Promise<[Instance, Instance, Instance]> {
  return [await cluster.instance('one'), await cluster.instance('two'), await cluster.instance('three')]
}

async function memberIds ({ store }: Cluster, room = 'r'): Promise<string[]> {
  return (await store.snapshot(room))?.members.map(member => member.connection_id).toSorted() ?? []
}

function said (peer: RecordingPeer): unknown[] {
  return peer.all('data').map(({ data }) => data)
}

function joiners (peer: RecordingPeer): string[] {
  return peer.all('user_joined').map(({ data }) => data.connection_id)
}

// Repairs and retries take a second by design: these tests run at once.
void describe('leaves that the store did not take', { concurrency: true }, () => {
  void test('one that comes back, but is refused for want of a connection, is taken out after all', async t => {
    const cluster = createCluster(t)
    const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
    const [a, b] = [await seat(one, 'a'), await seat(two, 'b')]
    failOnce(one, 'leave', new Error('away'))
    await one.rooms.leave(a)
    failOnce(one, 'join', new NotDone(new Error('There is no connection')))
    await assert.rejects(one.rooms.join(a, { room: 'r' }), unavailable)
    assert.equal((await b.next('user_left')).data.connection_id, 'a')
    assert.deepEqual(await memberIds(cluster), ['b'])
  })

  void test('joins that the store refused bring no room into doubt', async t => {
    const cluster = createCluster(t)
    const one = await cluster.instance('one')
    const [a, b] = [new RecordingPeer('a'), await seat(one, 'b', 's')]
    const doubted: string[] = []
    one.presence.after = (name, room) => { if (name === 'reconcile') doubted.push(room) }
    for (const room of ['r', 'q']) {
      failOnce(one, 'join', new NotDone(new Error('There is no connection')))
      await assert.rejects(one.rooms.join(a, { room }), unavailable)
    }
    failOnce(one, 'leave', new Error('away'))
    await one.rooms.leave(b)
    await b.next('room_disbanded') // all that was owed has been tried again
    await turns()
    assert.deepEqual(doubted, ['s'])
  })

  void test('a watcher that comes back after the end of its room is told of that end once', async t => {
    const cluster = createCluster(t)
    const one = await cluster.instance('one')
    const w = await seat(one, 'w', 'r', { role: 'admin' })
    await one.rooms.watch(w, true)
    failOnce(one, 'leave', new Error('away'))
    await one.rooms.leave(w)
    assert.equal(await one.rooms.disbandRoom('r'), false, 'its end is made good first')
    await one.rooms.join(w, { room: 'r' })
    await turns()
    assert.deepEqual(w.all('room_disbanded').map(({ data }) => data), [{ room: 'r', reason: 'last_member_left' }])
  })

  void test('a room that nobody here sits in is forgotten at once, and found as it is by the next one', async t => {
    const cluster = createCluster(t)
    const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
    const [a] = [await seat(one, 'a'), await seat(two, 'b')]
    one.presence.after = name => {
      one.presence.after = () => {}
      if (name === 'leave') throw new Error('Command timed out') // it took effect all the same
    }
    await one.rooms.leave(a)
    assert.equal(one.rooms.roomCount, 0)
    await seat(two, 'c') // nobody tells the first instance
    const d = await seat(one, 'd')
    assert.deepEqual(d.all('joined')[0]?.data.members.map(member => member.connection_id), ['b', 'c'])
    assert.deepEqual(one.warnings, [])
  })
})

void describe('a join that waits for an earlier change', { concurrency: true }, () => {
  void test('is let in as the store answered it, although the store does not answer any more', async t => {
    const [one, two] = await three(createCluster(t))
    const a = await seat(one, 'a')
    two.broker.passes = () => false // lost
    await seat(two, 'b')
    one.presence.before = name => { if (name === 'snapshot') throw new Error('away') }
    const d = new RecordingPeer('d')
    const joining = one.rooms.join(d, { room: 'r' })
    assert.deepEqual((await d.next('joined')).data.members.map(member => member.connection_id), ['a', 'b'])
    await joining
    assert.equal(d.seat?.roster.room, 'r')
    assert.deepEqual((await a.next('resynced')).data.members.map(member => member.connection_id), ['a', 'b', 'd'])
  })

  void test('hears of the end of the room that it waited for', async t => {
    const [one, two] = await three(createCluster(t))
    await seat(one, 'a')
    two.broker.passes = record => record.kind === 'change' && record.change.version === 3 // the second is lost, as is the end
    await seat(two, 'b')
    await seat(two, 'c')
    await turns() // the first instance knows what it has missed before the next one joins
    const d = new RecordingPeer('d')
    const joining = one.rooms.join(d, { room: 'r' })
    await turns()
    await two.rooms.disbandRoom('r')
    assert.deepEqual((await d.next('room_disbanded')).data, { room: 'r', reason: 'user_requested' })
    await joining
    assert.deepEqual(d.types, ['joined', 'room_disbanded'])
    assert.equal(d.seat, undefined)
  })

  void test('loses no last words of one that leaves before it', async t => {
    const [one, two] = await three(createCluster(t))
    const [a, b] = [await seat(one, 'a'), await seat(two, 'b')]
    await turns()
    const letGo = holdUp(two, 'one')
    say(two, b, 'good bye')
    await two.rooms.leave(b)
    const d = new RecordingPeer('d')
    const joining = one.rooms.join(d, { room: 'r' })
    await turns()
    a.clear()
    letGo()
    await joining
    assert.deepEqual(a.types, ['data', 'user_left', 'ready', 'user_joined'])
    assert.deepEqual([said(a), said(d)], [['good bye'], []])
  })

  void test('has nothing overtake what the same sender said before', async t => {
    const [one, two, other] = await three(createCluster(t))
    const [a, b] = [await seat(one, 'a'), await seat(two, 'b')]
    await turns()
    const letGo = holdUp(other, 'one')
    await seat(other, 'c')
    const d = new RecordingPeer('d')
    const joining = one.rooms.join(d, { room: 'r' })
    await turns()
    say(two, b, 'first, to all')
    say(two, b, 'then, to one', 'a')
    await turns()
    letGo()
    await joining
    await turns()
    assert.deepEqual(said(a), ['first, to all', 'then, to one'])
    assert.deepEqual(said(d), ['first, to all'])
  })

  void test('loses nothing that is said to it by those who know it already', async t => {
    const [one, two, other] = await three(createCluster(t))
    const [a, b] = [await seat(one, 'a'), await seat(two, 'b')]
    await turns()
    const letGo = holdUp(other, 'one')
    await seat(other, 'c')
    const d = new RecordingPeer('d')
    const joining = one.rooms.join(d, { room: 'r' })
    await turns()
    assert.deepEqual(joiners(b), ['c', 'd'])
    say(two, b, 'welcome', 'd')
    say(two, b, 'to everybody')
    await turns()
    assert.deepEqual([a.all('data'), d.frames], [[], []])
    letGo()
    await joining
    await turns()
    assert.deepEqual(d.types, ['joined', 'data', 'data'])
    assert.deepEqual([said(a), said(d)], [['to everybody'], ['welcome', 'to everybody']])
  })
})

void describe('a flood while somebody joins', () => {
  void test('loses no change of the room, whatever it loses of the data', async t => {
    const [one, two, other] = await three(createCluster(t))
    await seat(two, 'a')
    const [asked, answering] = [gate(), gate()]
    one.presence.after = async name => {
      if (name !== 'join') return
      asked.open()
      await answering.opened
    }
    const d = new RecordingPeer('d')
    const joining = one.rooms.join(d, { room: 'r' })
    await asked.opened
    const c = await seat(other, 'c') // learns of the joiner from the store
    for (const data of FLOOD) say(other, c, data)
    await seat(other, 'b')
    await turns()
    answering.open()
    await joining
    await turns()
    assert.deepEqual(joiners(d), ['c', 'b'])
  })

  void test('is bounded for one that is still on its way out of another room: it has to come again', async t => {
    const one = await createCluster(t).instance('one')
    const [a, b] = [await seat(one, 'a', 'old'), await seat(one, 'b', 'new')]
    const [asked, leaving] = [gate(), gate()]
    one.presence.before = name => {
      if (name !== 'leave') return
      asked.open()
      return leaving.opened
    }
    const moving = one.rooms.join(a, { room: 'new' })
    await asked.opened
    for (const data of FLOOD.slice(0, 10)) say(one, b, data)
    assert.deepEqual(a.closes, [])
    for (const data of FLOOD.slice(10)) say(one, b, data)
    assert.equal(a.closes[0], 1013)
    leaving.open()
    await moving
    assert.deepEqual(a.types.slice(0, 3), ['joined', 'left', 'room_disbanded'])
  })

  void test('leaves one that sits where it is alone', async t => {
    const one = await createCluster(t).instance('one')
    const [a, b] = [await seat(one, 'a'), await seat(one, 'b')]
    for (const data of FLOOD) say(one, b, data)
    assert.deepEqual([a.closes, a.all('data').length], [[], FLOOD.length])
  })
})

void describe('a disband that failed', () => {
  void test('leaves no id behind for the answer to somebody else\'s', async t => {
    const one = await createCluster(t).instance('one')
    const [a, b] = [await seat(one, 'a'), await seat(one, 'b')]
    failOnce(one, 'disband', new Error('away'))
    await assert.rejects(one.rooms.disband(a, 'mine'), unavailable)
    await one.rooms.disband(b, 'another')
    const data = { room: 'r', reason: 'user_requested' }
    assert.deepEqual(a.all('room_disbanded'), [{ type: 'room_disbanded', data }])
    assert.deepEqual(b.all('room_disbanded'), [{ type: 'room_disbanded', data, id: 'another' }])
  })
})
