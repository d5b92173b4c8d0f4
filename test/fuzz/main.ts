/** `npm run fuzz`: hostile input from the command line. */
import { randomInt } from 'node:crypto'
import { runLive } from './live.ts'
import { properties } from './properties.ts'

const CASES = 20_000

const HELP = `Usage: npm run fuzz -- [cases] [seed] [first]

Checks what holds of whatever reaches a decoder, and sends broken and mutated bytes (HTTP requests, WebSocket frames, batches
over Redis) to two real instances, while well-behaved clients go on there. Everything is drawn from the seed (a new one where
none is given). The first thing that is wrong ends the run with exit code 1, the input that did it and how to send it again.

  cases   how many of each, ${CASES} by default
  seed    a number that an earlier run has printed
  first   number of the first case that is sent to the instances: then those alone are, and no decoder is checked

  FUZZ_BUILT  1: the server in dist/ instead of the sources`

if (process.argv.includes('--help')) {
  console.log(HELP)
  process.exit(0)
}

const [cases = CASES, seed = randomInt(2 ** 31), first, ...surplus] = process.argv.slice(2).map(Number)
if (![cases, seed, first ?? 0].every(number => Number.isSafeInteger(number) && number >= 0) || cases === 0 || surplus.length > 0) {
  console.error(`That is not how it is called.\n\n${HELP}`)
  process.exit(1)
}

console.log(`Seed ${seed}, ${cases} cases. The same again: npm run fuzz -- ${cases} ${seed}`)
try {
  for (const { name, check } of first === undefined ? properties : []) {
    const start = performance.now()
    await check(cases, seed)
    console.log(`${cases} cases in ${((performance.now() - start) / 1000).toFixed(1)} s: ${name}`)
  }
} catch (error) {
  console.error((error as Error).message)
  process.exit(1)
}

const { isTTY } = process.stdout
const step = isTTY ? 100 : Math.max(1000, Math.round(cases / 20))
const { failure, summary } = await runLive({
  seed,
  first: first ?? 0,
  cases,
  built: process.env['FUZZ_BUILT'] === '1',
  onProgress: done => { if (done % step === 0) process.stdout.write(isTTY ? `\r${done} cases sent` : `${done} cases sent\n`) }
})
if (isTTY) process.stdout.write('\n')
console.log(summary)
console.log(failure ?? 'Nothing went wrong.')
process.exit(failure === undefined ? 0 : 1)
