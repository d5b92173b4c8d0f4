import { randomInt } from 'node:crypto'
import { anyWave, everything, type Point, type Wave } from './plan.ts'
import { runCalls } from './run.ts'

const MINUTES = 5
const LIMIT_MS = 10_000

const HELP = `npm run calls [-- minutes [seed]]

Sets up calls between pages of a real browser, over three real instances and a real Redis, while sockets are dropped and
instances killed, drained and cut off at every point of the exchange; each combination in turn (more than ten minutes), then as
chance will have it. What happens follows from the seed.

  minutes    how long it runs, ${MINUTES} by default
  seed       a whole number; without it, another one each time

  LEASE_MS     of the instances, 1500 by default
  CALLS_BUILT  1: the server in dist/ instead of the sources`

if (process.argv.includes('--help')) {
  console.log(HELP)
  process.exit(0)
}

const [minutes = MINUTES, seed = randomInt(2 ** 31), ...surplus] = process.argv.slice(2).map(Number)
const leaseMs = Number(process.env['LEASE_MS'] ?? 1500)
if (!(minutes > 0) || !Number.isInteger(seed) || surplus.length > 0 || !(leaseMs >= 500)) {
  console.error(`That is not how it is called.\n\n${HELP}`)
  process.exit(1)
}

const end = Date.now() + minutes * 60_000

function * plan (points: readonly Point[]): Iterable<Wave> {
  for (const wave of everything(seed, points)) {
    if (Date.now() > end) return
    yield wave
  }
  for (let nth = 0; Date.now() < end; nth++) yield anyWave(seed, points, nth)
}

console.log(`Seed ${seed}, ${minutes} minutes, LEASE_MS=${leaseMs}. The same again: LEASE_MS=${leaseMs} npm run calls -- ${minutes} ${seed}`)
const tally = await runCalls({ seed, leaseMs, limitMs: LIMIT_MS, built: process.env['CALLS_BUILT'] === '1', plan, tell: line => { console.log(line) } })
for (const problem of tally.problems) console.log(`\nPROBLEM ${problem}`)
console.log(`\n${tally.summary()}`)
process.exit(tally.problems.length === 0 ? 0 : 1)
