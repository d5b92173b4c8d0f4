import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { describe, test, type TestContext } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import { Cluster, Redis } from 'ioredis'
import turnip from '../../src/app.ts'
import type { RedisClient } from '../../src/redis/connections.ts'
import type { Client } from '../harness/client.ts'
import { startRedisCluster } from '../harness/redis-cluster.ts'
import { NAME, PASSWORD, SENTINEL_PASSWORD, startSentinels } from '../harness/redis-sentinels.ts'
import { ACCESS_SECRET, type TurnipProcess } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'
import { makeCertificates } from './certificates.ts'
import { assertNobodyLeft, assertTalk, knows, Pair, startInstance } from './pair.ts'
import { gatherOn, mastersOf, roomOn } from './slots.ts'

const TIMEOUT_MS = 1000
/** What an API may want for its own commands. */
const OWN_WAYS = { keyPrefix: 'api:', stringNumbers: true, enableAutoPipelining: true }

void describe('Over TLS, an instance that REDIS_URL leads to its Redis, and one inside an API that has its own client of it', { concurrency: true }, () => {
  void test('hold a call through a failover by sentinels; the API\'s client is never closed', async t => {
    const tls = await makeCertificates(t)
    const redis = await startSentinels({ tls })
    t.after(() => redis.stop())
    const ca = { ca: await readFile(tls.ca) }
    const client = new Redis({
      ...OWN_WAYS,
      sentinels: redis.sentinels.map(({ port }) => ({ host: '127.0.0.1', port })),
      name: NAME,
      password: PASSWORD,
      sentinelPassword: SENTINEL_PASSWORD,
      sentinelTLS: ca,
      tls: ca,
      enableTLSForSentinelMode: true
    })
    const mixed = await start(t, { REDIS_URL: redis.url, NODE_EXTRA_CA_CERTS: tls.ca }, client)
    await mixed.pair.play('before')
    const members = await mixed.pair.gather('call')
    const before = await redis.masterPort()
    await redis.servers[0]?.kill()
    await until('another server is the master', async () => await redis.masterPort() !== before)
    await goOn(mixed, 'call', members)
  })

  void test('hold a call through the death of a Cluster\'s master of leases and inboxes; the API\'s client is never closed', async t => {
    const tls = await makeCertificates(t)
    const cluster = await startRedisCluster({ replica: true, tls })
    t.after(() => cluster.stop())
    const [first, second] = mastersOf(cluster)
    const { host, port } = second.server
    const client = new Cluster([{ host, port }], { redisOptions: { ...OWN_WAYS, tls: { ca: await readFile(tls.ca) } } })
    const mixed = await start(t, { REDIS_URL: cluster.url, NODE_EXTRA_CA_CERTS: tls.ca }, client)
    await mixed.pair.play('before')
    await gatherOn(cluster, first)
    const room = await roomOn(cluster, first, 'call')
    const members = await mixed.pair.gather(room)
    await first.server.kill()
    await goOn(mixed, room, members)
  })
})

interface Mixed {
  readonly pair: Pair<Pick<TurnipProcess, 'url' | 'wsUrl'>>
  readonly app: FastifyInstance
  readonly client: RedisClient
}

async function start (t: TestContext, env: Record<string, string>, client: RedisClient): Promise<Mixed> {
  client.on('error', () => {}) // a test takes its servers away
  const app = Fastify()
  t.after(async () => {
    client.disconnect()
    await app.close()
  })
  await app.register(turnip, { accessSecret: ACCESS_SECRET, redis: { client }, redisTimeoutMs: TIMEOUT_MS, drainTimeoutMs: 2000 })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const pair = new Pair(t, [await startInstance(t, { REDIS_TIMEOUT_MS: String(TIMEOUT_MS), ...env }), { url, wsUrl: url.replace('http', 'ws') + '/ws' }])
  await pair.health('healthy')
  return { pair, app, client }
}

/** All is as before, and nobody was said to have left. In the end the API's client is as good as ever. */
async function goOn ({ pair, app, client }: Mixed, room: string, [ana, ben, cleo]: readonly [Client, Client, Client]): Promise<void> {
  await assertTalk(ana, ben)
  const dora = await pair.joinAgain(0, 'dora', room)
  const eve = await pair.joinAgain(1, 'eve', room)
  for (const member of [ana, ben, cleo, dora]) await knows(member, eve)
  await pair.health('healthy')
  for (const [one, two] of [[ana, cleo], [dora, eve], [ben, eve]] as const) await assertTalk(one, two)
  assertNobodyLeft(ana, ben, cleo, dora, eve)
  await pair.play('afterwards')
  let ends = 0
  client.on('end', () => { ends++ })
  await app.close()
  await client.set('of the API', 'still there')
  assert.equal(await client.get('of the API'), 'still there')
  assert.equal(ends, 0)
}
