import assert from 'node:assert/strict'
import { after, before, suite, test, type TestContext } from 'node:test'
import { startTcpProxy, type TcpProxy } from '../harness/tcp-proxy.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'
import { clientFor } from './recorded.ts'
import { ScriptedServer } from './scripted-server.ts'

await suite('a connection that is lost, without a session', { concurrency: true }, async () => {
  let server: TurnipProcess
  before(async () => { server = await startTurnip({ env: { MAX_ROOM_MEMBERS: '2', PING_INTERVAL_MS: '1000' } }) })
  after(async () => { await server.stop() })

  async function proxied (t: TestContext): Promise<{ proxy: TcpProxy, url: string }> {
    const proxy = await startTcpProxy(Number(new URL(server.url).port))
    t.after(async () => { await proxy.close() })
    return { proxy, url: `http://127.0.0.1:${proxy.port}` }
  }

  await test('is back in well under a second, in its room, and what waited is said', async t => {
    const { proxy, url } = await proxied(t)
    const ada = clientFor(t, url, 'ada', { resume: false })
    const bob = clientFor(t, server.url, 'bob')
    await bob.client.join('drop')
    await ada.client.join('drop')
    const before = ada.client.connectionId
    await bob.next('user_joined')
    const dropped = performance.now()
    proxy.drop()
    const lost = await ada.state('reconnecting')
    assert.equal(lost.cause, 'The connection was lost')
    assert.ok(lost.retryInMs !== undefined && lost.retryInMs <= 300)
    assert.equal(ada.client.room, 'drop', 'it is on its way back')
    assert.equal(ada.client.send('still there?'), true)
    assert.equal(ada.client.send('and you?', bob.client.connectionId), true)
    assert.equal(ada.client.send('you, whoever you are', 'bob'), true)

    const { rejoined, members } = await ada.next('joined', joined => joined.rejoined)
    assert.equal(rejoined, true)
    assert.deepEqual([...members.keys()], [bob.client.connectionId])
    assert.equal((await ada.state('open')).cause, 'Back in the room')
    const ms = performance.now() - dropped
    assert.ok(ms < 5000, `${ms} ms, most often less than 400`)
    assert.notEqual(ada.client.connectionId, before)
    await bob.next('user_left', member => member.connection_id === before)
    await bob.next('user_joined', member => member.connection_id === ada.client.connectionId)
    assert.equal((await bob.next('data')).data, 'still there?')
    assert.equal((await bob.next('data')).data, 'you, whoever you are', 'to a connection, a stranger says nothing of what the old member had begun')
    const { code, request } = await ada.next('error')
    assert.deepEqual([code, request], ['left_out', 'data'])
  })

  await test('in silence: the client notices by itself, as the server does not answer its ping', async t => {
    const { proxy, url } = await proxied(t)
    const ada = clientFor(t, url, 'ada', { resume: false })
    await ada.client.join('hole')
    await ada.replies('pong', 1)
    proxy.blackhole(() => true)
    assert.equal((await ada.state('reconnecting')).cause, 'The server has gone silent')
    assert.equal((await ada.next('joined', ({ rejoined }) => rejoined)).room, 'hole')
  })

  await test('in silence, with a session: what the old line still brings in the end counts no more', async t => {
    const { proxy, url } = await proxied(t)
    const ada = clientFor(t, url, 'ada')
    const bob = clientFor(t, server.url, 'bob')
    await ada.client.join('late')
    await bob.client.join('late')
    await ada.next('user_joined')
    proxy.blackhole(() => true)
    bob.client.send('into the silence')
    await ada.next('resumed')
    assert.equal((await ada.next('data')).data, 'into the silence')
    await proxy.heal()
    bob.client.send('after it')
    assert.equal((await ada.next('data')).data, 'after it')
    const pongs = ada.frames.length
    await until('the old line is over', async () => proxy.links().length === 1 && ada.frames.length > pongs)
    assert.equal(ada.all('data').length, 2)
  })

  await test('while the room fills up: the way back is refused, and told', async t => {
    const { proxy, url } = await proxied(t)
    const ada = clientFor(t, url, 'ada', { resume: false })
    await ada.client.join('full')
    await proxy.cut()
    for (const name of ['bob', 'cleo']) await clientFor(t, server.url, name).client.join('full')
    ada.client.send('anybody?')
    await proxy.heal()
    assert.deepEqual(await ada.next('left'), { room: 'full', reason: 'refused' })
    assert.equal((await ada.next('error')).code, 'room_full')
    assert.equal((await ada.state('open')).cause, 'Connected')
    assert.equal((await ada.next('error')).code, 'left_out')
    assert.equal(ada.client.room, null)
  })

  await test('requests that were made in the meantime are done, in their order', async t => {
    const { proxy, url } = await proxied(t)
    const ada = clientFor(t, url, 'ada', { resume: false })
    await ada.client.join('first')
    await proxy.cut()
    await ada.state('reconnecting')
    const done = [ada.client.leave(), ada.client.join('second'), ada.client.leave(), ada.client.join('third')]
    await proxy.heal()
    await Promise.all(done)
    assert.equal(ada.client.room, 'third')
    assert.deepEqual(ada.all('joined').map(({ room, rejoined }) => [room, rejoined]), [['first', false], ['first', true], ['second', false], ['third', false]])
  })

  await test('close while it is away: nothing comes after that', async t => {
    const { proxy, url } = await proxied(t)
    const ada = clientFor(t, url, 'ada')
    await ada.client.join('gone')
    await proxy.cut()
    await ada.state('reconnecting')
    const leave = ada.client.leave()
    ada.client.close()
    await assert.rejects(leave, { code: 'closed', request: 'leave' })
    const heard = ada.heard.length
    await proxy.heal()
    const bob = clientFor(t, url, 'bob')
    await bob.client.join('gone') // more than long enough for another attempt
    assert.equal(ada.heard.length, heard)
    assert.deepEqual(ada.all('left'), [{ room: 'gone', reason: 'closed' }])
  })

  await test('the network is away for long: it keeps trying, and tells each time when', async t => {
    const { proxy, url } = await proxied(t)
    const ada = clientFor(t, url, 'ada', { resume: false, backoffMs: 10, maxBackoffMs: 50 })
    await ada.client.join('long')
    await proxy.cut()
    await until('several attempts have failed', async () => ada.all('state').length > 6)
    const tries = ada.all('state').slice(2)
    assert.ok(tries.every(({ state, retryInMs = -1 }) => state === 'reconnecting' && retryInMs >= 0 && retryInMs <= 50))
    await proxy.heal()
    await ada.next('joined', ({ rejoined }) => rejoined)
  })
})

await suite('what the server says when it closes', async () => {
  const cases: Array<{ code: number, then: 'comes back' | 'stays away', error?: string, leastMs?: number, reason?: string }> = [
    { code: 1000, then: 'stays away', error: 'close_1000' },
    { code: 1001, then: 'comes back' },
    { code: 1002, then: 'stays away', error: 'close_1002' },
    { code: 1003, then: 'stays away', error: 'close_1003' },
    { code: 1007, then: 'stays away', error: 'close_1007' },
    { code: 1008, then: 'comes back', leastMs: 5000, reason: 'you send too much' },
    { code: 1009, then: 'stays away', error: 'close_1009' },
    { code: 1011, then: 'comes back' },
    { code: 1012, then: 'comes back' },
    { code: 1013, then: 'comes back' },
    { code: 4401, then: 'comes back' },
    { code: 4403, then: 'stays away', error: 'close_4403', reason: 'removed' },
    { code: 4408, then: 'comes back' },
    { code: 4409, then: 'stays away', error: 'close_4409' },
    { code: 4999, then: 'comes back', reason: 'made up' }
  ]
  for (const { code, then, error, leastMs = 0, reason } of cases) {
    await test(`${code}: the client ${then}`, async t => {
      const server = await ScriptedServer.start(t)
      const recorded = clientFor(t, server.url, 'ada')
      const joined = recorded.client.join('tea')
      const connection = await server.next()
      connection.welcome()
      await connection.letIn()
      await joined
      connection.close(code, reason)
      const { state, cause, retryInMs = -1, error: why } = await recorded.next('state', change => change.state !== 'connecting' && change.state !== 'open')
      assert.ok(cause.includes(`(${code})`) || cause.endsWith(`: ${code}`), cause)
      if (reason !== undefined) assert.ok(cause.includes(reason), cause)
      assert.equal(state, then === 'comes back' ? 'reconnecting' : 'closed')
      assert.equal(why?.code, error)
      if (then === 'comes back') assert.ok(retryInMs >= leastMs && retryInMs <= leastMs + 300, String(retryInMs))
      else assert.deepEqual(recorded.all('left'), [{ room: 'tea', reason: 'closed' }])
    })
  }
})

await suite('the pauses between attempts', async () => {
  await test('a time that the server asked for counts once', async t => {
    const server = await ScriptedServer.start(t)
    const recorded = clientFor(t, server.url, 'ada', { backoffMs: 1 })
    void recorded.client.connect().catch(() => {})
    const first = await server.next()
    first.welcome()
    first.send({ type: 'goaway', data: { reason: 'restart', reconnect_after_ms: 50 } })
    first.terminate()
    assert.ok(((await recorded.state('reconnecting')).retryInMs ?? 0) >= 50)
    const second = await server.next()
    second.welcome()
    await recorded.state('open')
    second.terminate()
    assert.ok(((await recorded.state('reconnecting')).retryInMs ?? 50) < 50)
  })

  await test('a strange answer to one who was in before is that of a proxy whose server is away', async t => {
    const server = await ScriptedServer.start(t)
    const recorded = clientFor(t, server.url, 'ada', { backoffMs: 1 })
    void recorded.client.connect().catch(() => {})
    const line = await server.next()
    line.welcome()
    await recorded.state('open')
    server.isOpen = false
    server.answer = response => { response.writeHead(404).end() }
    line.terminate()
    const { state } = await recorded.next('state', ({ cause }) => cause.includes('answers 404'))
    assert.equal(state, 'reconnecting')
    server.isOpen = true
    ;(await server.next()).welcome()
    await recorded.state('open')
  })

  await test('grow up to twice as long each time, up to a limit, with chance in them', async t => {
    const server = await ScriptedServer.start(t)
    server.isOpen = false
    t.mock.method(Math, 'random', () => 1)
    const recorded = clientFor(t, server.url, 'ada', { backoffMs: 4, maxBackoffMs: 20 })
    void recorded.client.connect().catch(() => {})
    await until('six have failed', async () => recorded.all('state').length > 6)
    assert.deepEqual(recorded.all('state').slice(1, 7).map(({ retryInMs }) => retryInMs), [4, 8, 16, 20, 20, 20])
  })

  await test('after a connection that failed at once they go on growing', async t => {
    const server = await ScriptedServer.start(t)
    t.mock.method(Math, 'random', () => 1)
    const recorded = clientFor(t, server.url, 'ada', { backoffMs: 4 })
    void recorded.client.connect().catch(() => {})
    for (let i = 0; i < 3; i++) {
      const connection = await server.next()
      connection.welcome()
      await recorded.state('open')
      connection.terminate()
    }
    await until('the third has failed', async () => recorded.all('state').filter(({ retryInMs }) => retryInMs !== undefined).length === 3)
    assert.deepEqual(recorded.all('state').flatMap(({ retryInMs }) => retryInMs ?? []), [4, 8, 16])
  })
})
