import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { Redis } from 'ioredis'
import { isSubscriber, startRedisProxy, type RedisProxy } from './redis-proxy.ts'
import { startRedisServer } from './redis-server.ts'
import { startTcpProxy, type TcpProxy } from './tcp-proxy.ts'
import { until } from './until.ts'

/** A proxy to a server that says everything back. */
async function toEcho (t: TestContext): Promise<TcpProxy> {
  const server = createServer(socket => {
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy = await startTcpProxy((server.address() as AddressInfo).port)
  t.after(async () => { await proxy.close(); server.close() })
  return proxy
}

interface Talker { socket: Socket, heard: () => string, closed: Promise<unknown> }

async function talkTo (t: TestContext, { port }: TcpProxy): Promise<Talker> {
  const socket = connect(port, '127.0.0.1')
  let heard = ''
  socket.on('data', bytes => { heard += bytes.toString() })
  socket.on('error', () => {})
  t.after(() => { socket.destroy() })
  const closed = new Promise(resolve => { socket.once('close', resolve) })
  await once(socket, 'connect')
  return { socket, heard: () => heard, closed }
}

async function hears ({ heard }: Talker, text: string): Promise<void> {
  await until(`"${text.slice(0, 20)}" has come back`, async () => heard() === text)
}

test('a proxy passes bytes both ways, ends connections when it is cut, and refuses new ones until it heals', async t => {
  const proxy = await toEcho(t)
  const talker = await talkTo(t, proxy)
  talker.socket.write('hello')
  await hears(talker, 'hello')
  await proxy.cut()
  await talker.closed
  await assert.rejects(talkTo(t, proxy), { code: 'ECONNREFUSED' })
  await proxy.heal()
  const another = await talkTo(t, proxy)
  another.socket.write('hello again')
  await hears(another, 'hello again')
  proxy.drop()
  await another.closed
  await talkTo(t, proxy)
})

test('a black hole holds what is sent on old and new connections; it flows, or is lost with its connection, when all heals', async t => {
  const proxy = await toEcho(t)
  const old = await talkTo(t, proxy)
  old.socket.write('seen')
  await hears(old, 'seen')
  proxy.blackhole()
  const young = await talkTo(t, proxy)
  for (const { socket } of [old, young]) socket.write('kept')
  await until('both are held', async () => proxy.links(link => link.isHeld).length === 2)
  assert.deepEqual([old.heard(), young.heard()], ['seen', ''])
  await proxy.heal()
  await Promise.all([hears(old, 'seenkept'), hears(young, 'kept')])

  proxy.blackhole(link => link.hasSent('seen'))
  old.socket.write('lost')
  young.socket.write('passed')
  await hears(young, 'keptpassed')
  await proxy.heal({ held: 'discarded' })
  await old.closed
  assert.equal(old.heard(), 'seenkept')
})

test('a throttled proxy passes so many bytes a second, and a slow one passes all of them later', async t => {
  const proxy = await toEcho(t)
  const talker = await talkTo(t, proxy)
  let begin = performance.now()
  proxy.throttle(20_000)
  const text = 'x'.repeat(10_000)
  talker.socket.write(text)
  await hears(talker, text)
  assert.ok(performance.now() - begin > 400, 'half a second, as both ways go on at the same time')
  proxy.throttle(0)
  proxy.delay(100)
  begin = performance.now()
  talker.socket.write('y')
  await hears(talker, `${text}y`)
  assert.ok(performance.now() - begin > 190)
})

test('a proxy ends connections that send a text, in pieces too, before it has gone on', async t => {
  const proxy = await toEcho(t)
  const cut = proxy.cutOn('SECRET', 2)
  for (const pieces of [['a secret'], ['a sec', 'ret']]) {
    const talker = await talkTo(t, proxy)
    for (const piece of pieces) {
      talker.socket.write(piece)
      if (piece !== pieces.at(-1)) await hears(talker, piece)
    }
    await talker.closed
    assert.ok(!talker.heard().includes('ret'))
  }
  await cut
  const talker = await talkTo(t, proxy)
  talker.socket.write('secret')
  await hears(talker, 'secret')
})

async function toRedis (t: TestContext): Promise<{ proxy: RedisProxy, direct: Redis, open: () => Promise<Redis> }> {
  const server = await startRedisServer()
  const proxy = await startRedisProxy(server.port)
  const connections: Redis[] = []
  const open = async (url = proxy.url): Promise<Redis> => {
    const redis = new Redis(url, { maxRetriesPerRequest: 0, commandTimeout: 300, autoResendUnfulfilledCommands: false })
    redis.on('error', () => {})
    connections.push(redis)
    await redis.ping()
    return redis
  }
  t.after(async () => {
    for (const connection of connections) connection.disconnect()
    await proxy.close()
    await server.stop()
  })
  return { proxy, direct: await open(server.url), open }
}

test('the reply to one command is lost after it was carried out, and the replies before it are not', async t => {
  const { proxy, direct, open } = await toRedis(t)
  const redis = await open()
  const lost = proxy.loseReply(([name, key]) => name === 'INCR' && key === 'n', 'cut')
  const answers = await Promise.allSettled([redis.set('text', 'a\r\nb'), redis.hgetall('none'), redis.incr('n'), redis.incr('m')])
  assert.deepEqual(answers.map(({ status }) => status), ['fulfilled', 'fulfilled', 'rejected', 'rejected'])
  await lost
  assert.equal(await direct.get('n'), '1')
  await until('the client is back', async () => redis.status === 'ready')
  assert.equal(await redis.incr('n'), 2)
})

test('a reply that is held comes when all heals, with all later ones', async t => {
  const { proxy, direct, open } = await toRedis(t)
  const redis = await open()
  const lost = proxy.loseReply(([name]) => name === 'INCR', 'hold')
  await assert.rejects(redis.incr('n'), /timed out/)
  const link = await lost
  assert.ok(link.isHeld)
  assert.equal(await direct.get('n'), '1')
  const after = redis.get('n')
  await proxy.heal()
  assert.equal(await after, '1')
})

test('a script that Redis did not know yet was not carried out: the loss waits for the one that is', async t => {
  const { proxy, direct, open } = await toRedis(t)
  const redis = await open() as Redis & { bump (key: string): Promise<number> }
  redis.defineCommand('bump', { lua: "return redis.call('INCR', KEYS[1])", numberOfKeys: 1 })
  const lost = proxy.loseReply(([name, ...words]) => name?.startsWith('EVAL') === true && words.includes('n'), 'cut')
  await assert.rejects(redis.bump('n'))
  await lost
  assert.equal(await direct.get('n'), '1')
})

test('subscribers are told from others, and hear what is published', async t => {
  const { proxy, direct, open } = await toRedis(t)
  const redis = await open()
  assert.deepEqual(proxy.links(isSubscriber), [])
  const heard = once(redis, 'message')
  await redis.subscribe('news')
  assert.equal(proxy.links(isSubscriber).length, 1)
  await direct.publish('news', 'x'.repeat(100_000))
  assert.deepEqual(await heard, ['news', 'x'.repeat(100_000)])
})
