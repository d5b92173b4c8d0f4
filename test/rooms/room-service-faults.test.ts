import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { NotDone } from '../../src/presence/presence.ts'
import { encodeRecord } from '../../src/rooms/record.ts'
import { identityOf, RecordingPeer } from '../harness/recording-peer.ts'
import { createCluster, gate, say, seat, turns, type Instance } from './cluster.ts'

const refused = (code: string): object => ({ name: 'Refusal', code })

/** Answers a call of the store with a failure, as often as said, then lets it through. */
function failing (name: string, times: number, kind: 'before' | 'after', { presence }: Instance): () => number {
  let left = times
  presence[kind] = called => {
    if (name.split(' or ').includes(called) && left > 0) {
      left--
      throw new Error('the store is away')
    }
  }
  return () => left
}

// Repairs and retries take a second by design: these tests run at once.
describe('rooms when changes are late or lost, or the store is away', { concurrency: true }, () => {
  test('changes of three instances that overtake each other are told in order, each once', async t => {
    const cluster = createCluster(t)
    const instances = [await cluster.instance('one'), await cluster.instance('two'), await cluster.instance('three')]
    const [one, two, three] = instances as [Instance, Instance, Instance]
    const a = await seat(one, 'a')
    for (let round = 0; round < 10; round++) {
      const peers = await Promise.all([two, three, one, two, three].map(async (instance, i) => await seat(instance, `p${round}.${i}`)))
      await Promise.all(peers.map(async (peer, i) => { await [two, three, one, two, three][i]?.rooms.leave(peer) }))
    }
    await turns()
    const told = a.frames.flatMap(frame => frame.type === 'user_joined' || frame.type === 'user_left' ? [frame.version] : [])
    assert.deepEqual(told, Array.from({ length: 100 }, (_, i) => i + 2))
    assert.equal(a.all('resynced').length, 0)
  })

  test('data comes after its sender\'s user_joined, even where the join overtakes another', async t => {
    const cluster = createCluster(t)
    const [one, two, three] = [await cluster.instance('one'), await cluster.instance('two'), await cluster.instance('three')]
    const a = await seat(one, 'a')
    const held: Array<() => void> = []
    two.broker.passes = (record, to) => {
      if (record.kind !== 'change' || to !== 'one') return true
      held.push(() => { two.broker.passes = () => true; two.broker.send('one', encodeRecord(record)) })
      return false
    }
    await seat(two, 'b') // version 2, on its way to instance one for a while
    const c = await seat(three, 'c')
    say(three, c, 'early')
    await turns()
    assert.deepEqual(a.types, ['joined'])
    for (const deliver of held) deliver()
    await a.next('data')
    assert.deepEqual(a.types, ['joined', 'ready', 'user_joined', 'ready', 'user_joined', 'data'])
    assert.equal(a.all('data')[0]?.from.connection_id, 'c')
  })

  test('a change that is lost is made up for by the whole of the room', async t => {
    const cluster = createCluster(t)
    const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
    const a = await seat(one, 'a')
    two.broker.passes = record => !(record.kind === 'change' && record.change.kind === 'joined' && record.change.member.connection_id === 'b')
    const b = await seat(two, 'b') // nobody here hears of it
    const c = await seat(two, 'c')
    const d = new RecordingPeer('d')
    const joining = one.rooms.join(d, { room: 'r' }) // its turn comes with the repair
    const { version, data } = await a.next('resynced')
    await joining
    assert.equal(version, 4)
    assert.deepEqual(data.members.map(({ connection_id: id }) => id), ['a', 'b', 'c', 'd'])
    assert.deepEqual(a.types, ['joined', 'resynced'])
    assert.deepEqual(d.types, ['joined'])
    assert.equal(d.all('joined')[0]?.version, 4)
    say(two, b, 'hello')
    say(two, c, 'hello', 'd')
    await turns()
    assert.deepEqual(a.all('data').map(({ from }) => from.connection_id), ['b'])
    assert.deepEqual(d.all('data').map(({ from }) => from.connection_id), ['b', 'c'])
    await two.rooms.leave(c)
    await turns()
    assert.equal(a.all('user_left')[0]?.version, 5)
  })

  for (const [event, when] of [['onRestored', 'it is heard again'], ['onMissed', 'it is told that it missed something']] as const) {
    test(`an instance that knows of nobody elsewhere in a room finds out when ${when}`, async t => {
      const cluster = createCluster(t)
      const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
      const a = await seat(one, 'a')
      two.broker.passes = () => false
      await seat(two, 'b')
      two.broker.passes = () => true
      one.broker.handlers?.[event]()
      const { version, data: { members } } = await a.next('resynced')
      assert.deepEqual([version, members.map(({ connection_id: id }) => id)], [2, ['a', 'b']])
    })
  }

  test('a join does not wait for ever for a change that is lost, though the store answers no repair', async t => {
    const cluster = createCluster(t)
    const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
    const a = await seat(one, 'a')
    failing('reconcile', Infinity, 'before', one)
    two.broker.passes = ({ kind }) => kind !== 'change'
    await seat(two, 'b')
    const d = new RecordingPeer('d')
    const joining = one.rooms.join(d, { room: 'r' })
    assert.deepEqual((await d.next('joined')).data.members.map(({ connection_id: id }) => id), ['a', 'b'])
    await joining
    assert.equal((await a.next('resynced')).version, 3)
  })

  test('a repair that the store does not answer is tried again', async t => {
    const cluster = createCluster(t)
    const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
    const a = await seat(one, 'a')
    const left = failing('reconcile', 1, 'before', one)
    two.broker.passes = ({ kind }) => kind !== 'change'
    await seat(two, 'b')
    two.broker.passes = () => true
    await seat(two, 'c')
    assert.equal((await a.next('resynced')).version, 3)
    assert.equal(left(), 0)
  })

  test('a gap in a life that has ended meanwhile ends it here too', async t => {
    const cluster = createCluster(t)
    const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
    const a = await seat(one, 'a')
    let dropped = 0
    two.broker.passes = ({ kind }) => kind !== 'change' || ++dropped !== 1 // the first is lost
    await seat(two, 'b')
    await seat(two, 'c')
    two.broker.passes = ({ kind }) => kind !== 'change' // and so is the end
    await two.rooms.disbandRoom('r')
    assert.deepEqual((await a.next('room_disbanded')).data, { room: 'r', reason: 'user_requested' })
    assert.equal(a.seat, undefined)
    assert.equal(one.rooms.roomCount, 0)
  })

  test('the end of an old life and the beginning of a new one of its name do not mix', async t => {
    const cluster = createCluster(t)
    const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
    const [a, b] = [await seat(one, 'a'), await seat(two, 'b')]
    await turns()
    const late: Array<() => void> = []
    two.broker.passes = (record, to) => {
      if (record.kind !== 'change' || record.change.kind !== 'disbanded') return true
      late.push(() => { two.broker.passes = () => true; two.broker.send(to, encodeRecord(record)) })
      return false
    }
    await two.rooms.disband(b)
    await two.rooms.join(b, { room: 'r' }) // the next life, while `a` sits in the old one
    const c = await seat(one, 'c')
    assert.deepEqual(c.all('joined')[0]?.data.members.map(({ connection_id: id }) => id), ['b'])
    assert.equal(one.rooms.roomCount, 1)
    say(one, a, 'to the dead')
    say(one, c, 'to the living')
    await turns()
    assert.deepEqual(b.all('data').map(({ data }) => data), ['to the living'])
    assert.equal(a.all('data').length, 0)
    for (const deliver of late) deliver()
    await a.next('room_disbanded')
    assert.equal(c.all('room_disbanded').length, 0)
    assert.equal(one.rooms.roomCount, 1)
    assert.equal(a.seat, undefined)
    await one.rooms.join(a, { room: 'r' })
    assert.deepEqual(c.all('user_joined').map(({ data }) => data.connection_id), ['a'])
  })

  test('a leave that the store does not take is answered at once and made good later', async t => {
    const cluster = createCluster(t)
    const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
    const [a, b] = [await seat(one, 'a'), await seat(two, 'b')]
    await turns()
    const left = failing('leave or reconcile', 2, 'before', one)
    await one.rooms.leave(a)
    assert.deepEqual(a.types.slice(-1), ['left'])
    assert.equal(a.seat, undefined)
    assert.equal(b.all('user_left').length, 0)
    assert.equal((await b.next('user_left')).data.connection_id, 'a')
    assert.equal(left(), 0)
    assert.ok(one.warnings.length > 0)
  })

  test('leaves that are owed are made good before an instance goes away', async t => {
    const cluster = createCluster(t)
    const one = await cluster.instance('one')
    const [a, b] = [await seat(one, 'a'), await seat(one, 'b', 's')]
    failing('leave', 2, 'before', one)
    await Promise.all([one.rooms.exit(a, Promise.resolve()), one.rooms.leave(b)])
    assert.ok(await cluster.store.snapshot('r'))
    await one.rooms.close()
    assert.equal(await cluster.store.snapshot('r'), undefined)
    assert.equal(await cluster.store.snapshot('s'), undefined)
  })

  test('an instance gives its lease up when it goes away, unless the store has members of it left for others to take out', async t => {
    const cluster = createCluster(t)
    const resigned: string[] = []
    for (const nonce of ['well', 'cut off']) {
      const instance = await cluster.instance(nonce, {
        leases: {
          leaseMs: 60_000,
          renew: async () => ({ since: 'kept', instances: 1, restored: 0, nextEndMs: Infinity, reap: [] }),
          roomsOf: async () => [],
          evict: async () => undefined,
          forget: async () => {},
          resign: async () => { resigned.push(nonce) }
        }
      })
      const a = await seat(instance, 'a', `of ${nonce}`.replaceAll(' ', '-'))
      if (nonce === 'cut off') failing('leave or reconcile', Infinity, 'before', instance)
      await instance.rooms.exit(a)
      await instance.rooms.close()
    }
    assert.deepEqual(resigned, ['well'])
  })

  test('closing waits for the leaves that are under way', async t => {
    const cluster = createCluster(t)
    const one = await cluster.instance('one')
    const a = await seat(one, 'a')
    const leaving = gate()
    one.presence.before = name => name === 'leave' ? leaving.opened : undefined
    const gone = one.rooms.exit(a, Promise.resolve())
    let closed = false
    const closing = one.rooms.close().then(() => { closed = true })
    await turns()
    assert.equal(closed, false)
    leaving.open()
    await Promise.all([gone, closing])
    assert.equal(await cluster.store.snapshot('r'), undefined)
  })

  test('one who comes back before its leave was made good stays, and takes part', async t => {
    const cluster = createCluster(t)
    const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
    const [a, b, c] = [await seat(one, 'a'), await seat(one, 'b'), await seat(two, 'c')]
    failing('leave', 1, 'before', one)
    await one.rooms.leave(a)
    await one.rooms.join(a, { room: 'r' })
    await turns()
    for (const peer of [a, b, c]) peer.clear()
    say(one, b, 'hello')
    say(two, c, 'hello')
    say(one, a, 'hello')
    await turns()
    assert.deepEqual([a, b, c].map(peer => peer.all('data').map(({ from }) => from.connection_id).toSorted()), [['b', 'c'], ['a', 'c'], ['a', 'b']])
    // What was owed is settled at the latest when the instance closes; a leave made good then would be one too many.
    const d = await seat(one, 'd', 's')
    failing('leave', 1, 'before', one)
    await one.rooms.leave(d)
    await two.rooms.watch(Object.assign(c, { identity: identityOf('c', { role: 'admin' }) }), true)
    await c.next('room_disbanded') // of s: all that was owed has been settled
    assert.deepEqual((await cluster.store.snapshot('r'))?.members.map(({ connection_id: id }) => id).toSorted(), ['a', 'b', 'c'])
  })

  test('a join whose answer was lost leaves no ghost', async t => {
    const cluster = createCluster(t)
    const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
    const b = await seat(two, 'b')
    failing('join', 1, 'after', one)
    await assert.rejects(one.rooms.join(new RecordingPeer('a'), { room: 'r' }), refused('unavailable'))
    assert.equal((await cluster.store.snapshot('r'))?.members.length, 2, 'the store knows it')
    const { data } = await b.next('resynced').catch(async () => assert.fail('the others hear nothing'))
    assert.ok(data.members.every(({ connection_id: id }) => id !== 'a'))
    assert.equal((await cluster.store.snapshot('r'))?.members.length, 1)
  })

  test('a join whose answer was lost can be tried again, while others join', async t => {
    const cluster = createCluster(t)
    const [one, two] = [await cluster.instance('one'), await cluster.instance('two')]
    const b = await seat(one, 'b')
    const a = new RecordingPeer('a')
    failing('join', 1, 'after', two)
    await assert.rejects(two.rooms.join(a, { room: 'r' }), refused('unavailable'))
    const c = new RecordingPeer('c')
    const seated = one.rooms.join(c, { room: 'r' }) // waits for the change that nobody was told of
    await turns()
    await two.rooms.join(a, { room: 'r' })
    await c.next('joined')
    await seated
    for (const peer of [a, b, c]) peer.clear()
    say(two, a, 'hello')
    say(one, b, 'hello')
    say(one, c, 'hello')
    await turns()
    assert.deepEqual([a, b, c].map(peer => peer.all('data').map(({ from }) => from.connection_id).toSorted()), [['b', 'c'], ['a', 'c'], ['a', 'b']])
  })

  test('one that comes back while its leave is being made good comes in after that', async t => {
    const cluster = createCluster(t)
    const one = await cluster.instance('one')
    const [a] = [await seat(one, 'a'), await seat(one, 'b')]
    failing('leave', 1, 'before', one)
    await one.rooms.leave(a)
    const [settling, answered] = [gate(), gate()]
    const calls: string[] = []
    one.presence.before = name => { calls.push(`${name} asked`) }
    one.presence.after = async name => {
      if (name === 'reconcile') {
        settling.open()
        await answered.opened
      }
      calls.push(`${name} answered`)
    }
    await settling.opened
    const back = one.rooms.join(a, { room: 'r' })
    await turns()
    answered.open()
    await back
    assert.deepEqual(calls, ['reconcile asked', 'reconcile answered', 'join asked', 'join answered'])
  })

  test('the last one out is told of the end when its leave is made good', async t => {
    const one = await createCluster(t).instance('one')
    const a = await seat(one, 'a')
    failing('leave', 1, 'before', one)
    await one.rooms.leave(a)
    assert.deepEqual(a.types, ['joined', 'left'])
    assert.deepEqual((await a.next('room_disbanded')).data, { room: 'r', reason: 'last_member_left' })
  })

  test('joins that surely did not happen leave nothing to be made good, and nothing in the log', async t => {
    const one = await createCluster(t).instance('one')
    const peer = new RecordingPeer('a')
    const asked: string[] = []
    one.presence.before = name => {
      asked.push(name)
      throw new NotDone(new Error('There is no connection to Redis'))
    }
    for (let i = 0; i < 100; i++) await assert.rejects(one.rooms.join(peer, { room: `r${i}` }), refused('unavailable'))
    await one.rooms.close() // what is owed is tried once more
    assert.deepEqual(asked.filter(name => name !== 'join'), [])
    assert.deepEqual(one.warnings, [])
  })

  test('however many rooms are in doubt, one line says so', async t => {
    const one = await createCluster(t).instance('one')
    const peer = new RecordingPeer('a')
    let attempts = 0
    one.presence.before = name => {
      if (name === 'reconcile') attempts++
      throw new Error('Command timed out')
    }
    for (let i = 0; i < 100; i++) await assert.rejects(one.rooms.join(peer, { room: `r${i}` }), refused('unavailable'))
    await one.rooms.close()
    assert.ok(attempts >= 100)
    assert.equal(one.warnings.length, 1)
  })
})
