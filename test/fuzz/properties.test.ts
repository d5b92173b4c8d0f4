import { test } from 'node:test'
import { properties } from './properties.ts'

const CASES = 10_000
/** One that is known; `npm run fuzz` draws others. */
const SEED = 1

for (const { name, check } of properties) test(`${name}: ${CASES} cases`, async () => { await check(CASES, SEED) })
