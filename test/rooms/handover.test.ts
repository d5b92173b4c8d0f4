/** A session's way from one instance to another when something on it is lost, late or refused. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Frame } from '../../src/protocol/frame.ts'
import type { Arrival } from '../../src/rooms/arrival.ts'
import type { HandoverMessage } from '../../src/rooms/handover-record.ts'
import type { SessionAsk } from '../../src/rooms/handover.ts'
import { encodeRecord, type ChangeRecord } from '../../src/rooms/record.ts'
import { RecordingPeer } from '../harness/recording-peer.ts'
import { createCluster, gate, say, seat, turns, type Cluster, type Instance } from './cluster.ts'

const ask: SessionAsk = { key: 'k', seen: 0, userId: 'a', connectionId: 'a' }

/** An instance gives up a peer as a connection with a session does. */
function serve ({ rooms }: Instance, peer: RecordingPeer): { ended: () => boolean } {
  let isOver = false
  const send = peer.send.bind(peer)
  rooms.handovers.serve({
    isOver: false,
    giveUp: async () => isOver
      ? undefined
      : {
          peer,
          take: (forward: (frame: Frame) => void) => {
            peer.send = forward
            return { username: peer.identity.username, received: 0, isReached: true, view: undefined, missed: [] }
          },
          end: () => {
            if (isOver) return
            isOver = true
            peer.send = send
            void rooms.exit(peer)
          }
        }
  })
  peer.close = () => {}
  return { ended: () => isOver }
}

async function fetched ({ rooms }: Instance, from: string): Promise<Arrival> {
  const arrival = await rooms.handovers.fetch(from, ask)
  assert.ok(typeof arrival === 'object', String(arrival))
  return arrival
}

interface Scene { cluster: Cluster, one: Instance, two: Instance, three: Instance, a: RecordingPeer, b: RecordingPeer, c: RecordingPeer, place: { ended: () => boolean } }

/** `a` and `b` on one, `c` on three; `a` is to go on at two. */
async function create (t: Parameters<typeof createCluster>[0]): Promise<Scene> {
  const cluster = createCluster(t)
  const [one, two, three] = [await cluster.instance('one'), await cluster.instance('two'), await cluster.instance('three')]
  const [a, b, c] = [await seat(one, 'a'), await seat(one, 'b'), await seat(three, 'c')]
  await turns()
  for (const peer of [a, b, c]) peer.clear()
  return { cluster, one, two, three, a, b, c, place: serve(one, a) }
}

/** Changes that one instance brings about are late at another. @returns has them arrive */
function delay ({ broker }: Instance, receiver: string): () => void {
  const late: ChangeRecord[] = []
  broker.passes = (record, to) => {
    if (record.kind === 'data' || to !== receiver) return true
    late.push(record)
    return false
  }
  return () => {
    broker.passes = () => true
    for (const record of late) broker.send(receiver, encodeRecord(record), true)
  }
}

const dataOf = (peer: RecordingPeer): unknown[] => peer.all('data').map(({ data }) => data)

const lost = (kind: HandoverMessage['kind']) => (message: HandoverMessage): boolean => message.kind !== kind

void describe('a hand-over', { concurrency: true }, () => {
  void test('words of instances that do not know of it yet come over the former holder, and those of the others are not sent twice', async t => {
    const { one, two, three, b, c } = await create(t)
    const d = await seat(two, 'd')
    await turns()
    three.broker.isDeaf = true // it does not hear of the move
    const arrival = await fetched(two, 'one')
    const a = new RecordingPeer('a')
    assert.equal(await arrival.settle(a), true)
    arrival.begin()
    for (let n = 0; n < 3; n++) {
      say(three, c, n)
      await turns()
    }
    assert.deepEqual(a.all('data').map(({ data }) => data), [0, 1, 2], 'over the former holder')
    say(one, b, 'b')
    say(two, d, 'd')
    await turns()
    assert.deepEqual(a.all('data').map(({ data }) => data), [0, 1, 2], 'what is sent straight to here waits until all is there')
    three.broker.isDeaf = false
    await turns()
    assert.deepEqual(a.all('data').map(({ data }) => data).toSorted(), [0, 1, 2, 'b', 'd'])
    assert.deepEqual(a.types.filter(type => type !== 'data'), ['user_resumed'])
    say(three, c, 3)
    await turns()
    assert.equal(a.all('data').at(-1)?.data, 3)
    assert.deepEqual(d.all('data').map(({ data }) => data).toSorted(), [0, 1, 2, 3, 'b'])
  })

  void test('words that wait at the new holder for a change that is late are heard once each, whichever way they took', async t => {
    const { one, two, three, b, c } = await create(t)
    const d = await seat(two, 'd')
    const arrive = delay(three, 'two')
    await seat(three, 'e')
    await turns()
    three.broker.isDeaf = true // it does not hear of the move
    const arrival = await fetched(two, 'one')
    const a = new RecordingPeer('a')
    const settled = arrival.settle(a)
    await turns()
    say(three, c, 'c before')
    say(two, d, 'd before')
    await turns()
    three.broker.isDeaf = false
    await turns()
    say(one, b, 'b')
    say(three, c, 'c after')
    say(three, c, 'c after, to one', 'a')
    await turns()
    arrive()
    assert.equal(await settled, true)
    say(two, d, 'd after')
    arrival.begin()
    await turns()
    const heard = dataOf(a)
    assert.deepEqual(heard.toSorted(), ['b', 'c after', 'c after, to one', 'c before', 'd after', 'd before'])
    assert.deepEqual(heard.filter(data => String(data).startsWith('c')), ['c before', 'c after', 'c after, to one'])
    assert.deepEqual(heard.filter(data => String(data).startsWith('d')), ['d before', 'd after'])
    assert.equal(a.all('user_resumed').length, 1)
    assert.deepEqual(dataOf(d).toSorted(), ['b', 'c after', 'c before'])
  })

  void test('words that wait at the former holder for a change that is late are heard once each, before those that come straight', async t => {
    const { one, two, three, b, c } = await create(t)
    const d = await seat(two, 'd')
    const arrive = delay(three, 'one')
    await seat(three, 'e')
    await turns()
    three.broker.isDeaf = true // it does not hear of the move
    const arrival = await fetched(two, 'one')
    const a = new RecordingPeer('a')
    assert.equal(await arrival.settle(a), true)
    arrival.begin()
    const joined = seat(one, 'f')
    await turns()
    say(one, b, 'b before')
    say(three, c, 'c before')
    say(two, d, 'd')
    await turns()
    three.broker.isDeaf = false
    await turns()
    say(three, c, 'c after')
    await turns()
    arrive()
    await joined
    await turns()
    say(one, b, 'b after')
    await turns()
    const heard = dataOf(a)
    assert.deepEqual(heard.toSorted(), ['b after', 'b before', 'c after', 'c before', 'd'])
    assert.deepEqual(heard.filter(data => String(data).startsWith('c')), ['c before', 'c after'])
    assert.deepEqual(heard.filter(data => String(data).startsWith('b')), ['b before', 'b after'])
    assert.deepEqual(a.types.filter(type => type.startsWith('user')), ['user_joined', 'user_resumed', 'user_joined'])
  })

  void test('when the former holder says no more, its client is told the whole of its room, and goes on', async t => {
    const { one, two, b } = await create(t)
    one.broker.passesHandover = lost('done')
    const arrival = await fetched(two, 'one')
    const a = new RecordingPeer('a')
    assert.equal(await arrival.settle(a), true)
    arrival.begin()
    say(one, b, 'over it')
    const { version, data: { members } } = await a.next('resynced')
    assert.deepEqual([version, members.map(({ connection_id: id }) => id)], [4, ['a', 'b', 'c']])
    say(one, b, 'straight')
    await turns()
    assert.deepEqual(a.all('data').map(({ data }) => data), ['over it', 'straight'])
  })

  void test('a client that the new holder cannot take in leaves the former one', async t => {
    const { cluster, two, place } = await create(t)
    two.presence.before = name => { if (name === 'move') throw new Error('the store is away') }
    const arrival = await fetched(two, 'one')
    assert.equal(await arrival.settle(new RecordingPeer('a')), false)
    await turns()
    assert.equal(place.ended(), true)
    assert.deepEqual((await cluster.store.snapshot('r'))?.members.map(({ connection_id: id }) => id), ['b', 'c'])
  })

  void test('who goes on elsewhere once more before that is all told leaves nothing of the first time behind', async t => {
    const { one, two, three, place } = await create(t)
    for (const { broker } of [two, three]) broker.passesHandover = lost('passed')
    const there = new RecordingPeer('a')
    const first = await fetched(two, 'one')
    assert.equal(await first.settle(there), true)
    first.begin()
    await first.finished
    const { ended } = serve(two, there)
    const back = await fetched(one, 'two')
    const here = new RecordingPeer('a')
    assert.equal(await back.settle(here), true)
    back.begin()
    await back.finished
    assert.equal(ended() || place.ended(), false, 'both go on forwarding')
    const last = serve(one, here)
    await fetched(three, 'one')
    assert.deepEqual([place.ended(), last.ended()], [true, false])
  })

  void test('who goes on elsewhere once more while something is late finds its session', async t => {
    const { two, three } = await create(t)
    three.broker.passesHandover = lost('passed')
    const first = await fetched(two, 'one')
    const there = new RecordingPeer('a')
    assert.equal(await first.settle(there), true)
    first.begin()
    serve(two, there)
    const next = await fetched(three, 'two')
    assert.deepEqual(there.types, ['resynced'])
    const a = new RecordingPeer('a')
    assert.equal(await next.settle(a), true)
    next.begin()
    await next.finished
  })

  void test('an instance that is not there is gone at once, and one that does not answer after two seconds', async t => {
    const { two, one } = await create(t)
    assert.equal(await two.rooms.handovers.fetch('nobody', ask), 'gone')
    one.broker.passesHandover = lost('given')
    assert.equal(await two.rooms.handovers.fetch('one', ask), 'gone')
    one.broker.passesHandover = () => true
    one.rooms.handovers.serve({ isOver: false, giveUp: async () => undefined })
    assert.equal(await two.rooms.handovers.fetch('one', ask), 'refused')
  })

  void test('a room that ends while its member is on the way is told so', async t => {
    const { one, two, b } = await create(t)
    const arrival = await fetched(two, 'one')
    const held = gate()
    two.presence.before = async name => { if (name === 'move') await held.opened }
    const a = new RecordingPeer('a')
    const settled = arrival.settle(a)
    await one.rooms.disband(b)
    held.open()
    assert.equal(await settled, false, 'there is no place to take over')
  })
})
