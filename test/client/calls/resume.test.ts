import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { startRedisServer, type RedisServer } from '../../harness/redis-server.ts'
import { startTurnip, type TurnipProcess } from '../../harness/turnip-process.ts'
import { serving } from '../../harness/until.ts'
import { clientFor } from '../recorded.ts'
import { Balancer } from './balancer.ts'
import type { Line } from './line.ts'
import { figures } from './tally.ts'

/** Drops of each kind, each of another client: one that is dropped often takes longer pauses. */
const DROPS = Number(process.env['RESUME_DROPS'] ?? 40)
/** Between two drops, ms: they do not wait for each other. */
const APART_MS = 30
/** First pauses of a client: the library's own, and one that shows what the rest takes, ms. */
const BACKOFFS_MS = [300, 10]

/** The instance of the nth client, before it is dropped: a room of four has two at each. */
const homeOf = (nth: number): number => Math.floor(nth / 2) % 2

let redis: RedisServer
let instances: TurnipProcess[]
let balancer: Balancer
const places = new Map<string, number>()
const lines = new Map<string, Line>()

before(async () => {
  redis = await startRedisServer()
  // On a busy machine everybody may wait long for a turn.
  const env = { REDIS_URL: redis.url, REDIS_TIMEOUT_MS: '5000', RESUME_WINDOW_MS: '60000' }
  instances = await Promise.all([0, 1].map(async () => await serving(await startTurnip({ built: true, env }))))
  balancer = new Balancer({
    instances: () => instances.map(({ url }) => Number(new URL(url).port)),
    place: user => places.get(user) ?? 0,
    passes: line => { lines.set(line.user, line) }
  })
  await balancer.open()
})
after(async () => {
  balancer.close()
  await Promise.all(instances.map(async instance => await instance.stop('SIGKILL')))
  await redis.kill()
})

for (const backoffMs of BACKOFFS_MS) {
  test(`a client that pauses for up to ${backoffMs} ms when its socket is dropped goes on at the same instance and at another, and nobody sees it leave`, async t => {
    const url = await balancer.address()
    const clients = await Promise.all(Array.from({ length: 2 * DROPS }, async (_, i) => {
      const name = `user-${backoffMs}-${i}`
      places.set(name, homeOf(i))
      const recorded = clientFor(t, url, name, { backoffMs })
      await recorded.client.join(`room-${Math.floor(i / 4)}`)
      return { name, recorded }
    }))
    const times = await Promise.all(clients.map(async ({ name, recorded }, i) => {
      await delay(APART_MS * i)
      const { connectionId, instanceId } = recorded.client
      places.set(name, (homeOf(i) + i) % 2)
      const start = performance.now()
      lines.get(name)?.drop()
      await recorded.next('resumed')
      const ms = performance.now() - start
      assert.equal(recorded.client.connectionId, connectionId)
      return { ms, isSame: recorded.client.instanceId === instanceId }
    }))
    for (const [where, isSame] of [['the same', true], ['another', false]] as const) {
      const some = times.filter(time => time.isSame === isSame).map(({ ms }) => ms)
      t.diagnostic(`back at ${where} instance after ${figures(some)}`)
      assert.ok(some.length > DROPS / 2)
    }
    for (const { recorded } of clients) assert.deepEqual(recorded.all('user_left'), [])
  })
}
