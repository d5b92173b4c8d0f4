/** Sessions while something is the matter: three instances, each behind a line to Redis that can be slow or fail. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, before, describe, test, type TestContext } from 'node:test'
import { Client } from '../harness/client.ts'
import { startTcpProxy } from '../harness/tcp-proxy.ts'
import { tokenFor } from '../harness/token.ts'
import { until } from '../harness/until.ts'
import { LinkedCluster } from '../faults/linked-cluster.ts'
import { SessionClient } from './session-client.ts'

/** How long a line that is slow takes each way, ms. */
const SLOW_MS = 100

let cluster: LinkedCluster
before(async () => { cluster = await LinkedCluster.start({ instances: 3, env: { RESUME_WINDOW_MS: '5000', MESSAGES_PER_SECOND: '0' } }) })
after(async () => { await cluster.stop() })

function at (n: number): string { return cluster.instance(n).turnip.wsUrl }

/** Ana with a session at the first instance, Ben without one at the third. */
async function pair (t: TestContext, room: string): Promise<{ ana: SessionClient, ben: Client }> {
  const ana = await SessionClient.open(at(0), `ana-${room}`)
  ana.say({ type: 'join', room })
  await ana.client.next('joined')
  const ben = await Client.open(at(2), `ben-${room}`)
  t.after(async () => { await Promise.all([ana.client.close(), ben.close()]) })
  await ben.join(room)
  await ana.client.next('user_joined')
  return { ana, ben }
}

/** How many connections each instance has. */
async function connections (): Promise<number[]> {
  return await Promise.all(cluster.instances.map(async ({ turnip: { url } }) => (await (await fetch(`${url}/info`)).json() as { connections: number }).connections))
}

void describe('a session under faults', () => {
  for (const { what, asks, answer } of [
    { what: 'leave', asks: { type: 'leave' }, answer: 'left' },
    { what: 'go elsewhere', asks: { type: 'join', room: 'another' }, answer: 'joined' }
  ] as const) {
    test(`a client may ${what} before another instance knows where it is: it hears all of its room before, and nothing after`, async t => {
      const { ana, ben } = await pair(t, `unknown-${what.replace(' ', '-')}`)
      const { link } = cluster.instance(2)
      t.after(() => { link.delay(0) })
      link.delay(SLOW_MS)
      await ana.back(at(1))
      ana.client.send(asks)
      for (let n = 0; n < 50; n++) ben.send({ type: 'data', data: n })
      await ana.client.next(answer)
      await ben.next('user_left')
      await ana.client.fence()
      const types = ana.client.frames.map(({ type }) => type)
      assert.deepEqual(types.slice(types.lastIndexOf('left') + 1).filter(type => !['room_disbanded', 'joined', 'pong'].includes(type)), [])
      assert.deepEqual(types.filter(type => type === 'user_resumed' || type === 'left'), ['user_resumed', 'left'])
      assert.deepEqual(ben.all('user_resumed').length, 1)
    })
  }

  test('shown many times at once, here and elsewhere, it goes on over one socket, and no other stays', async t => {
    const { ana, ben } = await pair(t, 'stampede')
    const { link } = cluster.instance(0)
    t.after(() => { link.delay(0) })
    const before = await connections()
    for (const delayMs of [0, 50]) {
      link.delay(delayMs) // the first holder has others wait before it gives the session up
      const { offer: { session }, seen, client: own } = ana
      const shown = await Promise.all(Array.from({ length: 60 }, async (_, n) => await Client.openWith(`${at(n % 2)}?token=${tokenFor(ana.userId)}&session=${session}&seen=${seen}`)))
      await own.closed
      // The others are clients of their own.
      const [last, ...more] = shown.filter(({ opening }) => opening?.type === 'resumed')
      assert.ok(last?.opening?.data.session !== undefined && more.length === 0, `${more.length + 1} of 60`)
      for (const other of shown) if (other !== last) await other.close()
      await last.fence()
      last.send({ type: 'data', data: `after ${delayMs}` })
      await ben.upTo(frame => frame.type === 'data' && frame.data === `after ${delayMs}`)
      ben.send({ type: 'data', data: 'heard' })
      await last.next('data')
      ana.client = last
      ana.offer = { session: last.opening.data.session, resume_window_ms: 5000 }
      assert.deepEqual(ben.all('user_left'), [])
    }
    await until('no socket is left behind', async () => (await connections()).reduce((sum, n) => sum + n) === before.reduce((sum, n) => sum + n))
  })

  test('where `resumed` never arrives, the client goes on at a third instance, and a fourth time at the first', async t => {
    const { ana, ben } = await pair(t, 'unheard')
    const { id, offer: { session }, seen } = ana
    const heard = []
    for (const n of [1, 2, 0]) {
      ben.send({ type: 'data', data: n })
      await ben.fence()
      const opening = await ana.back(at(n), { session, seen })
      assert.equal(opening.type, 'resumed', `at ${n}`)
      assert.equal(ana.id, id)
      ana.cut()
      await once(ana.client.socket, 'close')
    }
    const opening = await ana.back(at(1), { session, seen })
    assert.equal(opening.type, 'resumed')
    ben.send({ type: 'data', data: 'last' })
    while (heard.at(-1) !== 'last') heard.push((await ana.client.next('data')).data)
    assert.deepEqual(heard, [1, 2, 0, 'last'])
    assert.deepEqual(ben.all('user_left'), [])
    assert.equal(opening.type === 'resumed' && opening.data.received, 1)
  })

  test('an attempt that its client has given up, and that arrives late, takes the session from nobody', async t => {
    const { ana } = await pair(t, 'late')
    const { offer: { session }, seen, id } = ana
    const { hostname, port } = new URL(at(0))
    const proxy = await startTcpProxy(Number(port))
    t.after(() => proxy.close())
    proxy.blackhole()
    const early = connect(proxy.port, hostname)
    await once(early, 'connect')
    const request = `GET /ws?token=${tokenFor(ana.userId)}&session=${session}&seen=${seen} HTTP/1.1\r\nHost: turnip\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${Buffer.alloc(16).toString('base64')}\r\n\r\n`
    await new Promise(resolve => { early.write(request, resolve) })
    early.destroy()
    await ana.back(at(1))
    await ana.client.next('user_resumed')
    const [link] = proxy.links()
    await proxy.heal()
    await link?.closed
    const next = await SessionClient.open(at(1), 'next')
    await next.resume(at(0)) // whatever was asked before is done by then
    await Promise.all([ana.client.fence(), next.client.close()])
    assert.deepEqual([ana.client.opening?.type, ana.id], ['resumed', id])
  })

  test('where the `welcome` of a client whose instance has died never arrives, it still keeps its connection_id', async t => {
    const { turnip: doomed } = await cluster.add()
    const ana = await SessionClient.open(doomed.wsUrl, 'ana-unwelcome')
    t.after(() => ana.client.close())
    await doomed.stop('SIGKILL')
    const { id, offer: { session } } = ana
    for (const n of [1, 1, 2]) {
      assert.equal((await ana.startAnew(at(n), { session, seen: 0 })).connection_id, id)
      ana.cut()
    }
    await ana.startAnew(at(2), { session, seen: 0 })
    await ana.client.fence()
    assert.notEqual((await ana.startAnew(at(2), { session, seen: 0 })).connection_id, id, 'it has said something as the one that it became')
  })

  test('who comes back while Redis is away is told no more of that than it knows, and all when it is back', async t => {
    const { ana } = await pair(t, 'redis-away')
    const { link } = cluster.instance(0)
    t.after(() => link.heal())
    await link.cut()
    await ana.client.next('degraded')
    ana.cut()
    await ana.resume(at(0))
    await ana.client.fence()
    assert.deepEqual(ana.client.all('degraded'), [])
    ana.cut()
    await link.heal()
    await until('the instance has its Redis back', async () => (await cluster.health(0)).status === 'healthy')
    const { missed } = await ana.resume(at(0))
    assert.deepEqual(missed.filter(({ type }) => type === 'degraded'), [{ type: 'degraded', data: { redis: 'up' } }])
  })
})
