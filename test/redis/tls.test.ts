import { test } from 'node:test'
import assert from 'node:assert/strict'
import { startRedisServer } from '../harness/redis-server.ts'
import { startTurnip } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'
import { makeCertificates } from './certificates.ts'
import { Pair } from './pair.ts'

void test('Over TLS, with a certificate of a CA of one\'s own, rooms work across instances; without that CA no instance trusts the server', async t => {
  const { cert, key, ca } = await makeCertificates(t)
  const redis = await startRedisServer({ password: 'of/@:the server', tls: { cert, key, ca } })
  t.after(() => redis.stop())
  await Promise.all([
    (async () => {
      const pair = await Pair.start(t, { REDIS_URL: redis.url, NODE_EXTRA_CA_CERTS: ca })
      await pair.play('secret')
    })(),
    (async () => {
      const stranger = await startTurnip({ env: { REDIS_URL: redis.url } })
      t.after(() => stranger.stop())
      await until('it says why it cannot reach Redis', async () => stranger.logs.some(line => /certificate/.test(line)))
      assert.equal((await fetch(`${stranger.url}/health`)).status, 503)
    })()
  ])
})
