import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runSoak } from './soak.ts'

const MS = 20_000
/** One that is known; `npm run soak` draws others. */
const SEED = 1

void test('After churn nothing is left of anybody: no descriptor, listener, timer, memory or key', async t => {
  const { failure, summary } = await runSoak({ ms: MS, seed: SEED, built: false })
  t.diagnostic(summary)
  if (failure !== undefined) assert.fail(`${failure}\n${summary}`)
})
