/** Sessions over real instances: two of them on one Redis, and lines that break. */
import assert from 'node:assert/strict'
import { after, before, suite, test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import WebSocket from 'ws'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { startTcpProxy, type TcpProxy } from '../harness/tcp-proxy.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'
import { clientFor, type Recorded } from './recorded.ts'

/** How many times a line breaks while its client talks. */
const BREAKS = 15

await suite('a client whose line breaks', { concurrency: true }, async () => {
  let redis: RedisServer
  let instances: TurnipProcess[]
  before(async () => {
    redis = await startRedisServer()
    const env = { REDIS_URL: redis.url, LEASE_MS: '1500', MESSAGES_PER_SECOND: '0' }
    instances = await Promise.all([1, 2].map(async () => await serving(await startTurnip({ env }))))
  })
  after(async () => {
    await Promise.all(instances.map(instance => instance.stop('SIGKILL')))
    await redis.stop()
  })

  /** A client behind lines of its own to these instances, which it takes in turn. */
  async function rover (t: TestContext, userId: string, targets: TurnipProcess[]): Promise<{ recorded: Recorded, lines: TcpProxy[] }> {
    const lines = await Promise.all(targets.map(({ url }) => startTcpProxy(Number(new URL(url).port))))
    let attempt = 0
    class Balanced extends WebSocket {
      constructor (url: string, protocols: string[]) {
        const to = new URL(url)
        to.port = String(lines[attempt++ % lines.length]?.port)
        super(to, protocols)
      }
    }
    const recorded = clientFor(t, `http://127.0.0.1:${lines[0]?.port ?? 0}`, userId, { WebSocket: Balanced, backoffMs: 20, maxBackoffMs: 100 })
    t.after(async () => { await Promise.all(lines.map(line => line.close())) })
    return { recorded, lines }
  }

  for (const [where, count] of [['at one instance', 1], ['at two in turn', 2]] as const) {
    await test(`${where}: all that both sides say arrives, once and in order, and nobody sees it leave`, async t => {
      const room = `talk-${count}`
      const bob = clientFor(t, instances[0]?.url ?? '', 'bob')
      await bob.client.join(room)
      const { recorded: ada, lines } = await rover(t, 'ada', instances.slice(0, count))
      await ada.client.join(room)
      const { connectionId } = ada.client
      await bob.next('user_joined')
      let said = 0
      const talking = setInterval(() => {
        assert.ok(ada.client.send(said), `${ada.client.cause}; ${JSON.stringify(ada.heard.slice(-5))}`)
        bob.client.send(said++, connectionId)
      }, 2)
      const times: number[] = []
      for (let i = 0; i < BREAKS; i++) {
        await sleep(Math.random() * 40)
        const resumptions = ada.all('resumed').length
        const broken = performance.now()
        if (i % 3 === 0) { // what is under way at this moment reaches nobody, and neither side knows
          for (const line of lines) line.blackhole(() => true)
          await sleep(10)
          for (const line of lines) await line.heal({ held: 'discarded' })
        } else for (const line of lines) line.drop()
        await until('it is back', async () => ada.all('resumed').length > resumptions && ada.client.state === 'open')
        times.push(performance.now() - broken)
      }
      clearInterval(talking)
      const all = Array.from({ length: said }, (_, n) => n)
      for (const one of [ada, bob]) {
        await until('all has come', async () => one.all('data').length >= said)
        assert.deepEqual(one.all('data').map(({ data }) => data), all)
      }
      assert.equal(ada.client.connectionId, connectionId)
      assert.equal(ada.all('joined').length, 1)
      assert.deepEqual([...bob.all('user_left'), ...bob.all('error'), ...ada.all('error')], [])
      times.sort((a, b) => a - b)
      t.diagnostic(`back after ${times[times.length >> 1]?.toFixed()} ms (half of ${times.length}), at most ${times.at(-1)?.toFixed()} ms`)
    })
  }

  await test('requests are answered though their answers went down with the line', async t => {
    const { recorded: ada, lines } = await rover(t, 'ada', instances)
    await ada.client.join('ask-0')
    for (let i = 1; i <= 10; i++) {
      const joining = ada.client.join(`ask-${i}`)
      await sleep(Math.random() * 6)
      for (const line of lines) line.drop()
      assert.equal((await joining).room, `ask-${i}`)
      assert.equal(ada.client.room, `ask-${i}`)
    }
    await ada.client.leave()
    assert.equal(ada.client.room, null)
    assert.deepEqual(ada.all('error'), [])
  })

  await test('for longer than its place is held comes back as a new member', async t => {
    const patient = await startTurnip({ env: { RESUME_WINDOW_MS: '1000' } })
    t.after(async () => { await patient.stop() })
    const bob = clientFor(t, patient.url, 'bob')
    await bob.client.join('late')
    const { recorded: ada, lines } = await rover(t, 'ada', [patient])
    await ada.client.join('late')
    const { connectionId } = ada.client
    await lines[0]?.cut()
    await bob.next('user_left')
    await lines[0]?.heal()
    assert.deepEqual([...(await ada.next('joined', ({ rejoined }) => rejoined)).members.keys()], [bob.client.connectionId])
    assert.notEqual(ada.client.connectionId, connectionId)
    assert.deepEqual(ada.all('left'), [], 'it never left by its own account')
  })

  await test('because its instance is killed comes back at another one, as the same member', async t => {
    const doomed = await serving(await startTurnip({ env: { REDIS_URL: redis.url, LEASE_MS: '1500' } }))
    const { recorded: ada } = await rover(t, 'ada', [doomed, ...instances])
    await ada.client.join('killed')
    const bob = clientFor(t, instances[0]?.url ?? '', 'bob')
    await bob.client.join('killed')
    const { connectionId } = ada.client
    await doomed.stop('SIGKILL')
    await ada.state('reconnecting')
    ada.client.send('hello again', bob.client.connectionId)
    await ada.next('joined', ({ rejoined }) => rejoined)
    assert.equal(ada.client.connectionId, connectionId)
    assert.equal((await bob.next('data')).data, 'hello again')
    assert.deepEqual(bob.all('user_left'), [])
  })

  await test('because its instance goes away comes when it was told to, and goes on at another one', async t => {
    const leaving = await serving(await startTurnip({ env: { REDIS_URL: redis.url } }))
    const { recorded: ada } = await rover(t, 'ada', [leaving, ...instances])
    const bob = clientFor(t, instances[1]?.url ?? '', 'bob')
    await bob.client.join('drained')
    await ada.client.join('drained')
    const ended = leaving.stop()
    const { reconnect_after_ms: pause } = await ada.next('goaway')
    const { cause, retryInMs = 0 } = await ada.state('reconnecting')
    assert.equal(cause, 'The server closed the connection: this instance goes away (1012)')
    assert.ok(retryInMs >= pause && retryInMs <= pause + 20, `${retryInMs} after ${pause}`)
    await ada.next('resumed')
    ada.client.send('here I am')
    assert.equal((await bob.next('data')).data, 'here I am')
    assert.deepEqual(bob.all('user_left'), [])
    assert.deepEqual(await ended, { code: 0, signal: null })
  })
})
