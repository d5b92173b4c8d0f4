import assert from 'node:assert/strict'
import { test } from 'node:test'
import { covering } from './plan.ts'
import { runCalls } from './run.ts'

/** One that is known; `npm run calls` draws others. */
const SEED = 5
const LEASE_MS = 1500
/** `npm run calls` asks for 10 s. Here other tests have the processor too. */
const LIMIT_MS = 25_000
test('whatever is dropped, killed, drained or cut off at any point of their set-up, calls connect, and none that runs ends', async t => {
  const tally = await runCalls({
    seed: SEED,
    leaseMs: LEASE_MS,
    limitMs: LIMIT_MS,
    built: true,
    plan: points => covering(SEED, points),
    tell: line => { t.diagnostic(line) }
  })
  t.diagnostic(tally.summary())
  assert.deepEqual(tally.problems, [])
  assert.ok(tally.missed.length <= tally.points.size / 10, 'some may not come: an answer may carry an ack')
})
