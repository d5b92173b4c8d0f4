/** Sessions that go on at the instance that gave them. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, describe, test } from 'node:test'
import WebSocket from 'ws'
import { SessionTokens } from '../../src/routes/session-token.ts'
import { Client } from '../harness/client.ts'
import { tokenFor } from '../harness/token.ts'
import { ACCESS_SECRET, startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { SessionClient } from './session-client.ts'

let instance: TurnipProcess
before(async () => { instance = await startTurnip({ env: { REDIS_URL: 'memory:', RESUME_WINDOW_MS: '3000', MAX_CONNECTIONS_PER_USER: '3' } }) })
after(async () => { await instance.stop() })

/** Two in a room, the first with a session. */
async function pair (room: string): Promise<{ ana: SessionClient, ben: Client }> {
  const ana = await SessionClient.open(instance.wsUrl, `ana-${room}`)
  await ana.client.join(room)
  const ben = await Client.open(instance.wsUrl, `ben-${room}`)
  await ben.join(room)
  await ana.client.next('user_joined')
  return { ana, ben }
}

void describe('a session at the instance that gave it', { concurrency: true }, () => {
  void test('a client that asks for none is offered none', async () => {
    const client = await Client.open(instance.wsUrl, 'plain')
    assert.ok(client.opening !== undefined && !('session' in client.opening.data) && !('resume_window_ms' in client.opening.data))
    await client.close()
  })

  void test('what a client missed while its socket was gone comes in order, and nobody saw it leave', async () => {
    const { ana, ben } = await pair('missed')
    ana.cut()
    await once(ana.client.socket, 'close')
    for (let n = 0; n < 50; n++) ben.send({ type: 'data', to: ana.id, data: n })
    const cleo = await Client.open(instance.wsUrl, 'cleo')
    const { data: { members } } = await cleo.join('missed')
    assert.deepEqual(members.map(({ connection_id: id }) => id), [ana.id, ben.id], 'it is still a member')
    await ben.next('user_joined')
    const { id } = ana
    const { data, missed } = await ana.resume(instance.wsUrl)
    assert.equal(data.connection_id, id)
    assert.deepEqual([data.room, data.version, data.members.map(({ user_id: user }) => user)], ['missed', 2, ['ben-missed']])
    assert.equal(data.received, 1, 'its join')
    assert.deepEqual(missed.map(frame => frame.type === 'data' ? frame.data : frame.type), [...Array.from({ length: 50 }, (_, n) => n), 'ready', 'user_joined'])
    ben.send({ type: 'data', data: 'after' })
    assert.equal((await ana.client.next('data')).data, 'after')
    ana.client.send({ type: 'data', data: 'from me' })
    assert.deepEqual((await ben.next('data')).from.connection_id, id)
    assert.deepEqual((await ben.fence()), [], 'nothing else')
    await Promise.all([ana.client.close(), ben.close(), cleo.close()])
  })

  void test('frames that were on their way into a dead socket are sent again', async () => {
    const { ana, ben } = await pair('dying')
    ana.client.socket.pause() // it reads nothing any more, and the server does not know
    for (let n = 0; n < 20; n++) ben.send({ type: 'data', data: n })
    await ben.fence()
    const old = ana.client
    const { missed } = await ana.resume(instance.wsUrl)
    assert.deepEqual(missed.map(frame => frame.type === 'data' && frame.data), Array.from({ length: 20 }, (_, n) => n))
    old.socket.resume()
    assert.equal((await old.closed).code, 4409, 'the new socket wins')
    await Promise.all([ana.client.close(), ben.close()])
  })

  void test('the client learns what of its own was handled, by pong and on its return', async () => {
    const { ana, ben } = await pair('own')
    ana.client.send({ type: 'data', data: 1 })
    ana.client.send({ type: 'nonsense' })
    ana.client.send({ type: 'ping', seen: ana.seen })
    assert.equal((await ana.client.next('pong')).received, 4, 'its join too, and the ping itself')
    ana.client.send({ type: 'data', data: 2 })
    await ben.next('data')
    await ben.next('data')
    ana.cut()
    const first = await ana.resume(instance.wsUrl)
    assert.equal(first.data.received, 5)
    ana.client.send({ type: 'data', data: 3 })
    await ben.next('data')
    ana.cut()
    const second = await ana.resume(instance.wsUrl)
    assert.equal(second.data.received, 1, 'counted anew with each session')
    await Promise.all([ana.client.close(), ben.close()])
  })

  void test('a pong that did not arrive says nothing of what was handled: that would be of the session before', async () => {
    const { ana, ben } = await pair('pong')
    ana.client.socket.pause()
    ana.client.send({ type: 'ping', id: 1 })
    ana.client.send({ type: 'data', data: 'after it' })
    await ben.next('data')
    const { data, missed } = await ana.resume(instance.wsUrl)
    assert.deepEqual([data.received, missed], [3, [{ type: 'pong', id: 1 }]])
    await Promise.all([ana.client.close(), ben.close()])
  })

  void test('a `resumed` that never arrived: the session before it still counts, until the client has said something', async () => {
    const { ana, ben } = await pair('unheard')
    const { offer: { session }, seen } = ana
    ana.cut()
    ben.send({ type: 'data', data: 'missed' })
    await ben.fence()
    await ana.resume(instance.wsUrl)
    ana.cut()
    const again = await ana.back(instance.wsUrl, { session, seen })
    assert.equal(again.type, 'resumed')
    assert.equal((await ana.client.next('data')).data, 'missed')
    ana.client.send({ type: 'ping' })
    await ana.client.next('pong')
    const { connection_id: other } = await ana.startAnew(instance.wsUrl, { session, seen })
    assert.notEqual(other, again.type === 'resumed' && again.data.connection_id, 'now it is spent')
    await Promise.all([ana.client.close(), ben.close()])
  })

  void test('an attempt that comes late, and is looked into while its client goes on, takes nothing from it', async () => {
    const { ana, ben } = await pair('looked-into')
    const { offer: { session }, seen, userId } = ana
    ana.cut()
    await ana.resume(instance.wsUrl)
    ana.client.socket.pause() // it says nothing, and its network goes now
    const late = new WebSocket(`${instance.wsUrl}?token=${tokenFor(userId)}&session=${session}&seen=${seen}`)
    const told = once(late, 'message')
    await once(late, 'open') // its old socket is asked whether its client is there
    const { data: { connection_id: id } } = await ana.resume(instance.wsUrl)
    const [opening] = await told as [Buffer]
    assert.match(opening.toString(), /^\{"type":"welcome".*"resumed":false/)
    await ana.client.fence()
    assert.equal(ana.id, id)
    assert.deepEqual(ben.all('user_left'), [])
    late.close()
    await Promise.all([ana.client.close(), ben.close()])
  })

  void test('when the window has passed, it has left, and comes back as another', async () => {
    const { ana, ben } = await pair('window')
    const { id } = ana
    ana.cut()
    assert.equal((await ben.next('user_left')).data.connection_id, id)
    const data = await ana.startAnew(instance.wsUrl)
    assert.notEqual(data.connection_id, id)
    await Promise.all([ana.client.close(), ben.close()])
  })

  for (const [how, close] of [['1000', 1000], ['1001', 1001], ['no code', undefined]] as const) {
    void test(`a Close with ${how} is a leave, at once`, async () => {
      const { ana, ben } = await pair(`close-${how.replace(' ', '-')}`)
      ana.client.socket.close(close)
      await ana.client.closed
      await ana.startAnew(instance.wsUrl) // long before the window has passed
      await ben.next('user_left')
      await Promise.all([ana.client.close(), ben.close()])
    })
  }

  void test('forged, stolen, spent and misshapen sessions are none, all of them alike, and do their owner no harm', async () => {
    const { ana, ben } = await pair('forged')
    const { offer: { session }, seen, id } = ana
    ana.cut()
    await once(ana.client.socket, 'close')
    const [text = '', mac = ''] = session.split('.')
    const thief = await SessionClient.open(instance.wsUrl, 'thief')
    const { session: spent } = thief.offer
    await thief.resume(instance.wsUrl)
    await thief.client.fence()
    const { session: ended } = thief.offer
    await thief.client.close()
    const claim = { key: Buffer.alloc(16).toString('base64url'), instance: 'two', connectionId: id }
    const answers = new Set<string>()
    for (const shown of [
      session, spent, ended, `${text}.${mac.slice(0, -2)}AA`, `${text}x.${mac}`, session.slice(0, -20), text, '.', '', 'x'.repeat(5000), `${Buffer.from('["a","b","c"]').toString('base64url')}.${mac}`,
      new SessionTokens(['another secret'], 'development').issue(claim, 'thief'), new SessionTokens([ACCESS_SECRET], 'another realm').issue(claim, 'thief')
    ]) {
      const { connection_id: other, session: offered, ...data } = await thief.startAnew(instance.wsUrl, { session: shown, seen })
      assert.ok(other !== id && offered !== undefined)
      answers.add(JSON.stringify(data))
      await thief.client.close()
    }
    assert.equal(answers.size, 1, [...answers].join('\n'))
    const { data } = await ana.resume(instance.wsUrl)
    assert.equal(data.connection_id, id)
    await Promise.all([ana.client.close(), ben.close()])
  })

  void test('a client that says it has seen what was never sent, or that has seen too little, starts anew, and its place is given up', async () => {
    for (const [room, count, seen] of [['ahead', 1, 1000], ['behind', 300, 0], ['none', 1, -1], ['nan', 1, NaN]] as const) {
      const { ana, ben } = await pair(room)
      ana.cut()
      for (let n = 0; n < count; n++) ben.send({ type: 'data', data: n })
      await ben.fence()
      const { id } = ana
      await ana.startAnew(instance.wsUrl, { seen })
      assert.equal((await ben.next('user_left')).data.connection_id, id)
      await Promise.all([ana.client.close(), ben.close()])
    }
  })

  void test('a token that does not open the room goes on with no session in it', async () => {
    const { ana, ben } = await pair('closed')
    const { id, userId, offer: { session }, seen } = ana
    const other = await Client.openWith(`${instance.wsUrl}?token=${tokenFor(userId, { rooms: ['another'] })}&session=${session}&seen=${seen}`)
    assert.deepEqual([other.opening?.type, other.id === id], ['welcome', false])
    assert.equal((await ben.next('user_left')).data.connection_id, id)
    await Promise.all([other.close(), ben.close()])
  })

  void test('what is asked for in the last moment is done, and answered after the return', async () => {
    const ana = await SessionClient.open(instance.wsUrl, 'late')
    ana.client.together(() => {
      ana.client.send({ type: 'join', room: 'late', id: 7 })
      ana.client.send({ type: 'watch' })
    })
    ana.client.socket.terminate()
    const { data, missed } = await ana.resume(instance.wsUrl)
    const asked = ['join', 'watch'].slice(data.received)
    for (const type of asked) ana.client.send(type === 'join' ? { type, room: 'late', id: 7 } : { type })
    const joined = missed.find(({ type }) => type === 'joined') ?? await ana.client.next('joined')
    assert.equal(joined.type === 'joined' && joined.id, 7)
    await ana.client.close()
  })

  void test('one user cannot have more places kept than connections open', async () => {
    const clients = []
    for (let n = 0; n < 6; n++) {
      const client = await SessionClient.open(instance.wsUrl, 'greedy')
      await client.client.join(`greedy-${n}`)
      client.cut()
      await once(client.client.socket, 'close')
      clients.push(client)
    }
    const ends = []
    for (const client of clients) {
      ends.push((await client.back(instance.wsUrl)).type)
      await client.client.close()
    }
    assert.deepEqual(ends, ['resumed', 'resumed', 'resumed', 'welcome', 'welcome', 'welcome'])
  })
  void test('many at once with sessions that are none are no more than a user may have connections', async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 30 }, async () => await Client.openWith(`${instance.wsUrl}?token=${tokenFor('crowd')}&session=none&seen=0`)))
    const open = outcomes.flatMap(outcome => outcome.status === 'fulfilled' ? [outcome.value] : [])
    assert.equal(open.length, 3)
    await Promise.all(open.map(client => client.close()))
  })

  void test('a client that comes back is not kept out by its own old socket, and nobody else gets its place', async () => {
    const ana = await SessionClient.open(instance.wsUrl, 'full')
    await ana.client.join('full')
    const others = [await Client.open(instance.wsUrl, 'full'), await Client.open(instance.wsUrl, 'full')]
    const { id, offer: { session }, seen, client: old } = ana
    const comeBack = async (shown: string): Promise<Client> => await Client.openWith(`${instance.wsUrl}?token=${tokenFor('full')}&session=${shown}&seen=${seen}`)
    await assert.rejects(comeBack(`${session.slice(0, -2)}AA`), /429/)
    await assert.rejects(Client.open(instance.wsUrl, 'full'), /429/)
    await ana.client.fence()
    old.socket.pause() // as if its network were gone: it answers no Close
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, async () => await comeBack(session)))
    const [back, ...more] = outcomes.flatMap(outcome => outcome.status === 'fulfilled' ? [outcome.value] : [])
    assert.ok(back !== undefined && more.length === 0, `${more.length} more`)
    assert.deepEqual([back.opening?.type, back.id], ['resumed', id])
    await assert.rejects(comeBack(session), /429/, 'an attempt that is late makes no room')
    await Promise.all([back, ...others].map(client => client.fence()))
    old.socket.terminate()
    await Promise.all([back, ...others].map(client => client.close()))
  })
})
