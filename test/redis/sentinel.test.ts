import { describe, test } from 'node:test'
import { startSentinels, type RedisSentinels } from '../harness/redis-sentinels.ts'
import { until } from '../harness/until.ts'
import { leaveOf } from '../protocol/scene.ts'
import { assertNobodyLeft, assertTalk, knows, Pair } from './pair.ts'

void describe('While sentinels make a replica the master, members go on talking; then all is as before, and nobody was said to have left', { concurrency: true }, () => {
  const losses: Record<string, (redis: RedisSentinels) => Promise<unknown> | undefined> = {
    'The master dies': async ({ servers }) => await servers[0]?.kill(),
    'The master hangs, and holds its connections': async ({ servers }) => { servers[0]?.freeze() }
  }
  for (const [name, lose] of Object.entries(losses)) {
    void test(name, async t => {
      const redis = await startSentinels()
      t.after(() => redis.stop())
      const pair = await Pair.start(t, { REDIS_URL: redis.url, REDIS_TIMEOUT_MS: '1000' })
      const [ana, ben, cleo] = await pair.gather('call')
      await assertTalk(ana, cleo)

      const before = await redis.masterPort()
      await lose(redis)
      await assertTalk(ana, ben)
      await until('another server is the master', async () => await redis.masterPort() !== before)
      await assertTalk(ana, ben)
      const dora = await pair.joinAgain(0, 'dora', 'call')
      const eve = await pair.joinAgain(1, 'eve', 'call')
      for (const member of [ana, ben, cleo]) await knows(member, eve)
      await knows(dora, eve)
      await pair.health('healthy')
      assertNobodyLeft(ana, ben, cleo, dora, eve)
      for (const [one, two] of [[ana, cleo], [dora, eve], [ben, eve]] as const) await assertTalk(one, two)
      dora.send({ type: 'leave' })
      for (const member of [ana, cleo, eve]) await leaveOf(member, dora)
      await pair.play('afterwards')
    })
  }
})
