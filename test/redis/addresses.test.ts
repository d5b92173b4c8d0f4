import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import Fastify from 'fastify'
import { Cluster } from 'ioredis'
import turnip from '../../src/app.ts'
import { lookInto, startRedisServer } from '../harness/redis-server.ts'
import { ACCESS_SECRET, startTurnip } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'

/** Of a net for documentation: nobody is there. */
const ELSEWHERE = '192.0.2.1'

void test('A Cluster\'s node that does not know its own address is named in the log, and served from when it does; a natMap of the host\'s says where it really is', async t => {
  const server = await startRedisServer({ args: ['--cluster-enabled', 'yes', '--cluster-port', String(randomInt(12_000, 20_000))] })
  const redis = await lookInto(server)
  const { host, port } = server
  const address = `${host}:${port}`
  const instance = await startTurnip({ env: { REDIS_URL: `redis+cluster://${address}` } })
  const client = new Cluster([{ host, port }], { lazyConnect: true, natMap: { [`${ELSEWHERE}:${port}`]: { host, port } } })
  const app = Fastify()
  t.after(async () => {
    await app.close()
    await instance.stop()
    redis.disconnect()
    await server.kill()
  })
  await redis.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
  await until('it says what to do', async () => instance.logs.some(line => line.includes('set cluster-announce-ip')))
  await redis.config('SET', 'cluster-announce-ip', host)
  await serving(instance)

  await redis.config('SET', 'cluster-announce-ip', ELSEWHERE)
  await app.register(turnip, { accessSecret: ACCESS_SECRET, redis: { client } })
  await until('it serves inside a host', async () => (await app.inject('/health')).statusCode === 200)
})
