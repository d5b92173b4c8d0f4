import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test, type TestContext } from 'node:test'
import type WebSocket from 'ws'
import { Connections } from '../../src/routes/connections.ts'
import { Client } from '../harness/client.ts'
import { startRedisServer } from '../harness/redis-server.ts'
import { tokenFor } from '../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving } from '../harness/until.ts'
import { heardUntil, joinOf } from './scene.ts'

const QUICK = { PING_INTERVAL_MS: '1000', PONG_TIMEOUT_MS: '1000' }

async function open (t: TestContext, env: Record<string, string>): Promise<TurnipProcess> {
  const instance = await startTurnip({ env })
  t.after(() => instance.stop())
  return await serving(instance)
}

async function enter (t: TestContext, { wsUrl }: TurnipProcess, userId: string, options: WebSocket.ClientOptions = {}): Promise<Client> {
  const client = await Client.openWith(`${wsUrl}?token=${tokenFor(userId)}`, [], options)
  t.after(() => { client.socket.terminate() })
  return client
}

/** Waits until a client has been asked so often whether it is there. */
async function pinged ({ socket }: Client, times: number): Promise<void> {
  for (let i = 0; i < times; i++) await once(socket, 'ping')
}

void describe('The heartbeat', { concurrency: true, timeout: 40_000 }, () => {
  void test('closes a client that does not answer with 4408, and leaves one that does alone', async t => {
    const instance = await open(t, QUICK)
    const [ana, ben] = [await enter(t, instance, 'ana'), await enter(t, instance, 'ben')]
    const silent = await enter(t, instance, 'silent', { autoPong: false })
    await ana.join('room')
    await ben.join('room')
    await joinOf(ana, ben)
    await silent.join('room')
    const { code, reason } = await silent.closed
    assert.equal(code, 4408)
    assert.ok(reason.length > 0)
    assert.equal((await ben.next('user_left')).data.connection_id, silent.id)
    await Promise.all([pinged(ana, 2), pinged(ben, 2)])
    await heardUntil(ben, ana)
    await heardUntil(ana, ben)
  })

  void test('does not count the time in which a client waits for its join, as it is not read meanwhile', async t => {
    const redis = await startRedisServer()
    t.after(() => redis.kill())
    const instance = await open(t, { ...QUICK, REDIS_URL: redis.url, REDIS_TIMEOUT_MS: '20000' })
    const [ana, witness] = [await enter(t, instance, 'ana'), await enter(t, instance, 'witness')]
    const [silent, hasty] = [await enter(t, instance, 'silent', { autoPong: false }), await enter(t, instance, 'hasty')]
    redis.freeze()
    ana.send({ type: 'join', room: 'room', id: 1 })
    hasty.send({ type: 'join', room: 'another' })
    for (let i = 0; i < 600; i++) hasty.send({ type: 'data', data: 'x'.repeat(50_000) }) // more than kernels keep
    await Promise.all([silent.closed, pinged(witness, 3)])
    assert.ok(hasty.socket.bufferedAmount > 10_000_000, `${hasty.socket.bufferedAmount} bytes wait`)
    hasty.socket.terminate()
    redis.thaw()
    assert.equal((await ana.next('joined')).id, 1)
    await pinged(ana, 1)
    assert.equal((await ana.fence()).length, 0)
  })

  void test('closes nobody for the time in which the server itself was stopped', async t => {
    const [clock, instance] = await Promise.all([open(t, QUICK), open(t, { PING_INTERVAL_MS: '1000', PONG_TIMEOUT_MS: '4000' })])
    const witness = await enter(t, clock, 'witness')
    const [ana, ben] = [await enter(t, instance, 'ana'), await enter(t, instance, 'ben', { autoPong: false })]
    await ana.join('room')
    await ben.join('room')
    await joinOf(ana, ben)
    await pinged(ben, 1) // and its answer takes longer than the stop
    instance.signal('SIGSTOP')
    await pinged(witness, 5)
    ben.send({ type: 'ping', id: 'awake' })
    instance.signal('SIGCONT')
    await ben.next('pong')
    ben.socket.pong()
    ben.socket.on('ping', () => { ben.socket.pong() })
    await Promise.all([pinged(ana, 1), pinged(ben, 1)])
    await heardUntil(ben, ana)
    await heardUntil(ana, ben)
  })
})

void test('the clock that clients are measured by moves on by two sweeps at most, however long the process stood still', t => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  let time = performance.now()
  t.mock.method(performance, 'now', () => time)
  const connections = new Connections()
  const beats: number[] = []
  const tended = { send: () => {}, beat: (now: number) => { beats.push(now) }, goAway: async () => {}, terminate: () => {}, end: () => {} }
  connections.add(tended)
  t.after(() => { connections.delete(tended) })
  for (const passed of [1000, 1000, 60_000, 1000, 1500]) {
    time += passed
    t.mock.timers.tick(1000)
  }
  const [first = 0] = beats
  assert.deepEqual(beats.map(now => Math.round(now - first)), [0, 1000, 3000, 4000, 5500])
})
