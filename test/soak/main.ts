/** `npm run soak`: a long churn from the command line. */
import { randomInt } from 'node:crypto'
import { runSoak } from './soak.ts'

const MINUTES = 5

const HELP = `Usage: npm run soak -- [minutes] [seed]

Clients come, join, talk and go in every way there is, on two instances and one Redis. At the end nothing may be left of
them: file descriptors, heap after collection, listeners, timers, handles and keys in Redis are what they were after a short
warm-up. Exit code 1 when they are not.

  minutes   of churn, ${MINUTES} by default; fractions are fine. Warming up and coming to rest take half a minute more
  seed      a number that an earlier run has printed

  SOAK_BUILT  1: the server in dist/ instead of the sources`

if (process.argv.includes('--help')) {
  console.log(HELP)
  process.exit(0)
}

const [minutes = MINUTES, seed = randomInt(2 ** 31), ...surplus] = process.argv.slice(2).map(Number)
if (!(minutes > 0) || !Number.isSafeInteger(seed) || surplus.length > 0) {
  console.error(`That is not how it is called.\n\n${HELP}`)
  process.exit(1)
}

console.log(`Seed ${seed}, ${minutes} minutes. The same again: npm run soak -- ${minutes} ${seed}`)
const { failure, summary } = await runSoak({ ms: minutes * 60_000, seed, built: process.env['SOAK_BUILT'] === '1', onProgress: line => { console.log(line) } })
console.log(summary)
console.log(failure ?? 'Nothing is left over.')
process.exit(failure === undefined ? 0 : 1)
