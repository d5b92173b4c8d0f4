import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { describe, test, type TestContext } from 'node:test'
import { readConfig } from '../../src/config.ts'
import { close, createConnections, eventsOf, type RedisConnections } from '../../src/redis/connections.ts'
import { startProbe } from '../../src/redis/probe.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { until } from '../harness/until.ts'

const DEADLINE_MS = 400
/** Connections are looked at every 5 s. */
const NOTICE_LIMIT_MS = 5000 + DEADLINE_MS + 4000
/** The longest pause between attempts is 2 s; the attempt that meets a frozen server takes the deadline. */
const BACK_LIMIT_MS = 2000 + DEADLINE_MS + 4000
const INBOX = 'turnip:test:0:inbox:probe'

interface Watched {
  /** How often each connection broke, and how often a server took one. */
  broken: { commands: number, subscriber: number }
  taken: { commands: number, subscriber: number }
}

function areReady ({ commands, subscriber }: RedisConnections): boolean {
  return commands.status === 'ready' && subscriber.status === 'ready'
}

async function open (t: TestContext, url: string): Promise<RedisConnections & Watched> {
  const config = readConfig({ ACCESS_SECRET: 'x', REDIS_URL: url, REDIS_TIMEOUT_MS: String(DEADLINE_MS) })
  const connections = createConnections(config, undefined, INBOX)
  const watched: Watched = { broken: { commands: 0, subscriber: 0 }, taken: { commands: 0, subscriber: 0 } }
  for (const name of ['commands', 'subscriber'] as const) {
    const events = eventsOf(connections[name])
    events.on('error', () => {})
    events.on('close', () => { watched.broken[name]++ })
    events.on('connect', () => { watched.taken[name]++ })
    connections[name].connect().catch(() => {})
  }
  const probe = startProbe(connections, DEADLINE_MS)
  t.after(async () => {
    probe.stop()
    await Promise.all([connections.commands, connections.subscriber].map(close))
  })
  await until('both are ready', async () => areReady(connections))
  await connections.subscriber.subscribe('x')
  return { ...connections, ...watched }
}

/** Freezes a server; both connections have to notice, to go on trying, and to come back. */
async function freeze (server: RedisServer, connections: RedisConnections & Watched): Promise<void> {
  const { broken, taken, commands, subscriber } = connections
  server.freeze()
  const frozen = performance.now()
  const early = { ...taken }
  await until('both have noticed', async () => broken.commands > 0 && broken.subscriber > 0)
  const noticed = performance.now() - frozen
  assert.ok(noticed < NOTICE_LIMIT_MS, `noticed after ${noticed} ms`)
  await until('attempts were given up', async () => broken.subscriber >= 3 && broken.commands >= 3)
  // The kernel of a frozen server takes connections: they stand half-way. In a Cluster, its nodes are asked where to go before.
  if (!commands.isCluster) for (const name of ['commands', 'subscriber'] as const) assert.ok(taken[name] >= early[name] + 2, `${name} came half-way`)
  assert.notEqual(commands.status, 'ready')
  assert.notEqual(subscriber.status, 'ready')
  server.thaw()
  const thawed = performance.now()
  await until('both are back', async () => areReady(connections))
  const back = performance.now() - thawed
  assert.ok(back < BACK_LIMIT_MS, `back after ${back} ms`)
  await commands.set('{probe}', '1')
  assert.equal(await commands.get('{probe}'), '1')
  assert.equal(await subscriber.subscribe('x'), 1)
}

void describe('Connections to a Redis that hangs', { concurrency: true }, () => {
  void test('to one server: both are cut, tried anew again and again, and there when it answers', async t => {
    const server = await startRedisServer({ password: 'secret' })
    t.after(() => server.stop())
    await freeze(server, await open(t, `${server.url}/3`))
  })

  void test('to a Cluster: the same', async t => {
    const server = await startRedisServer({ args: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1', '--cluster-port', String(randomInt(12_000, 20_000))] })
    t.after(() => server.stop())
    const connections = await openCluster(t, server)
    await freeze(server, connections)
  })

  void test('are left alone when it was this process that stopped, and the answers are there when it goes on', async t => {
    const server = await startRedisServer()
    t.after(() => server.stop())
    const { subscriber, commands, broken } = await open(t, server.url)
    const stop = (): void => { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3 * DEADLINE_MS) }
    let stops = 0
    for (const client of [subscriber, commands]) {
      const send = client.ping.bind(client)
      t.mock.method(client, 'ping', async () => {
        const answer = send()
        if (stops++ === 0) setImmediate(stop)
        return await answer
      })
    }
    await until('both were looked at', async () => stops >= 2)
    await until('a later command is answered', async () => await commands.get('x').then(answer => answer === null, () => false))
    await new Promise(resolve => { setTimeout(resolve, 2 * DEADLINE_MS) })
    assert.deepEqual(broken, { commands: 0, subscriber: 0 })
  })
})

/** A Cluster of one node. */
async function openCluster (t: TestContext, server: RedisServer): Promise<RedisConnections & Watched> {
  const config = readConfig({ ACCESS_SECRET: 'x', REDIS_URL: server.url })
  const { commands } = createConnections(config, undefined, INBOX)
  await commands.connect()
  await commands.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
  await until('the cluster stands', async () => String(await commands.call('CLUSTER', 'INFO')).includes('cluster_state:ok'))
  commands.disconnect()
  return await open(t, server.url.replace('redis:', 'redis+cluster:'))
}
