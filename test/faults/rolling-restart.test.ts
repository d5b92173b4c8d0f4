import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { test } from 'node:test'
import { Caller, type Tally } from './caller.ts'
import { InstanceCluster, quantile } from './instance-cluster.ts'

const INSTANCES = 3
const CALLS_A_MINUTE = 200
/** How long calls come in while instances are restarted, s. */
const SECONDS = Number(process.env.ROLLING_SECONDS ?? 15)
/** How long two talk, ms. */
const HOLD_MS = 3000
/** How long between two restarts, ms. */
const PAUSE_MS = 1500
/** A call that is not set up by then is lost, whatever comes later, ms. */
const CALL_LIMIT_MS = 15_000

test(`Under ${CALLS_A_MINUTE} calls a minute, instances are restarted one after the other, and no call is lost`, { timeout: (SECONDS + 90) * 1000 }, async t => {
  const cluster = await InstanceCluster.open(t)
  const instances = await Promise.all(Array.from({ length: INSTANCES }, () => cluster.start({}, true)))
  const servers = instances.map(({ wsUrl }) => wsUrl)
  const tally: Tally = { away: [], setUp: [], redone: 0, unavailable: 0, refused: 0, dropped: [] }

  const call = async (number: number): Promise<void> => {
    const ends = [new Caller(`call-${number}`, true, servers, tally), new Caller(`call-${number}`, false, servers, tally)]
    const reaches = async (what: string, isSo: (end: Caller) => boolean): Promise<void> => {
      const deadline = Date.now() + CALL_LIMIT_MS
      await Promise.all(ends.map(async end => {
        while (!isSo(end)) {
          assert.ok(Date.now() < deadline, `call ${number} is lost, ${what}: ${ends.map(({ state }) => state).join(' ')}`)
          await end.change(deadline - Date.now())
        }
      }))
    }
    try {
      await reaches('it was never set up', end => end.isConnected)
      await delay(HOLD_MS)
      await reaches('the two do not see each other any more', end => end.seesPeer)
    } finally {
      for (const end of ends) end.hangUp()
    }
  }

  const over = delay(SECONDS * 1000).then(() => true)
  const isOver = async (ms: number): Promise<boolean> => await Promise.race([over, delay(ms).then(() => false)])
  const calls: Array<Promise<unknown>> = []
  const lost: unknown[] = []
  const comeIn = async (): Promise<void> => {
    do calls.push(call(calls.length).catch((error: unknown) => { lost.push(error) }))
    while (!await isOver(60_000 / CALLS_A_MINUTE))
  }
  const ended: number[] = []
  const restart = async (): Promise<void> => {
    while (!await isOver(PAUSE_MS)) {
      const index = ended.length % INSTANCES
      const instance = instances[index] ?? assert.fail()
      const start = performance.now()
      await cluster.stop(instance)
      ended.push(performance.now() - start)
      instances[index] = await cluster.start({ PORT: new URL(instance.url).port }, true)
    }
  }
  await Promise.all([comeIn(), restart()])
  await Promise.all(calls)
  t.diagnostic(`${calls.length} calls, ${ended.length} restarts, ${lost.length} lost; set up, ms: p50 ${quantile(tally.setUp, 0.5)}, p99 ${quantile(tally.setUp, 0.99)}, max ${quantile(tally.setUp, 1)}; ${tally.away.length} times sent away, ${tally.redone} exchanges done anew, in no room for ms: p50 ${quantile(tally.away, 0.5)}, max ${quantile(tally.away, 1)}; ${tally.unavailable} joins unavailable, ${tally.refused} connections refused; an instance ended after ms: p50 ${quantile(ended, 0.5)}, max ${quantile(ended, 1)}`)
  assert.deepEqual(lost, [])
  assert.deepEqual(tally.dropped, [], 'whoever had to go was told so')
  assert.ok(ended.length >= INSTANCES, `${ended.length} restarts`)
  assert.ok(tally.away.length > 0, 'somebody had to go')
  await cluster.stop(...instances)
  await cluster.assertNothingLeft()
})
