import assert from 'node:assert/strict'
import { startRedisServer } from '../harness/redis-server.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving } from '../harness/until.ts'

/** The most members of a room in these tests. */
export const MAX_ROOM_MEMBERS = 6
/** The most bytes of a message in these tests. */
export const MAX_PAYLOAD_BYTES = 65536
/** The one origin whose pages may connect in these tests. */
export const ORIGIN = 'https://app.example.com'

/** Settings of the servers that the cases are played on. */
export const settings = { MAX_ROOM_MEMBERS: String(MAX_ROOM_MEMBERS), MAX_PAYLOAD_BYTES: String(MAX_PAYLOAD_BYTES), ALLOWED_ORIGINS: ORIGIN }

/** Where clients connect: two instances, or one that is both. */
export interface Cluster {
  readonly first: TurnipProcess
  readonly second: TurnipProcess
  stop (): Promise<void>
}

/** One instance that keeps what it knows to itself. */
export async function alone (start: (options: { env: typeof settings }) => Promise<TurnipProcess>): Promise<Cluster> {
  const instance = await start({ env: settings })
  return {
    first: instance,
    second: instance,
    stop: async () => { assert.deepEqual(await instance.stop(), { code: 0, signal: null }, instance.logs.join('\n')) }
  }
}

/** Instances on a Redis of their own. */
export async function onRedis (instances: 1 | 2): Promise<Cluster> {
  const redis = await startRedisServer()
  const env = { ...settings, REDIS_URL: redis.url }
  const first = await serving(await startTurnip({ env }))
  const second = instances === 1 ? first : await serving(await startTurnip({ env }))
  return {
    first,
    second,
    stop: async () => {
      const exits = await Promise.all(Array.from(new Set([first, second]), instance => instance.stop()))
      await redis.stop()
      for (const exit of exits) assert.deepEqual(exit, { code: 0, signal: null }, first.logs.concat(second.logs).join('\n'))
    }
  }
}
