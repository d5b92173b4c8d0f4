import assert from 'node:assert/strict'
import { test } from 'node:test'
import { faultKinds } from './plan.ts'
import { runChaos } from './run.ts'

const MINUTES = 0.5
const LEASE_MS = 1500
/** One that is known; `npm run chaos` draws others. */
const SEED = 102

void test('Whatever fails, clients are told what is true, in order and once, and all agree again soon', async t => {
  const again = `LEASE_MS=${LEASE_MS} npm run chaos -- ${MINUTES} ${SEED}`
  t.diagnostic(`The same again: ${again}`)
  const { failure, summary } = await runChaos({ seed: SEED, minutes: MINUTES, leaseMs: LEASE_MS, kinds: faultKinds, built: false, again, out: process.stderr })
  t.diagnostic(summary)
  assert.equal(failure, undefined, failure)
})
