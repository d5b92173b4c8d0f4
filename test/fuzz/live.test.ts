import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runLive } from './live.ts'

const CASES = 1500
/** One that is known; `npm run fuzz` draws others. */
const SEED = 1

void test('Whatever bytes hostile clients send, each is answered or closed, and the others notice nothing', async t => {
  const { failure, summary } = await runLive({ seed: SEED, first: 0, cases: CASES })
  t.diagnostic(summary)
  if (failure !== undefined) assert.fail(failure)
})
