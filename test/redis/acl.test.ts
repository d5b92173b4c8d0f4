import { test } from 'node:test'
import { Redis } from 'ioredis'
import { startRedisServer } from '../harness/redis-server.ts'
import { until } from '../harness/until.ts'
import { Pair } from './pair.ts'
import { assertNothingRefused, grant } from './rights.ts'

void test('A user with no rights but those that the README names is enough: for rooms and watchers, for leases, for reaping and for the end', async t => {
  const server = await startRedisServer({ password: 'of somebody else' })
  const redis = new Redis(server.url)
  t.after(async () => {
    redis.disconnect()
    await server.kill()
  })
  await grant(redis, 'server', 'database')
  const pair = await Pair.start(t, { REDIS_URL: `redis://turnip@${server.host}:${server.port}/3`, REDIS_PASSWORD: 'password', LEASE_MS: '1500' })
  await pair.play('short')
  const [ana, ben, cleo] = await pair.gather('long')
  pair.instances[0]?.signal('SIGKILL')
  const gone = new Set([ana.id, ben.id])
  await cleo.upTo(frame => frame.type === 'user_left' && gone.delete(frame.data.connection_id) && gone.size === 0)
  await until('connections were probed', async () => (await redis.info('commandstats')).includes('cmdstat_ping:'))
  await pair.instances[1]?.stop()
  await assertNothingRefused(redis)
})
