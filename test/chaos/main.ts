/** `npm run chaos`: a cluster under faults, from the command line. */
import { randomInt } from 'node:crypto'
import { faultKinds, type FaultKind } from './plan.ts'
import { runChaos } from './run.ts'

const MINUTES = 2

const HELP = `Usage: npm run chaos -- [minutes] [seed]

Three instances on one Redis, clients that come, go and talk, and faults: ${faultKinds.join(', ')}.
Everything is drawn from the seed (a new one where none is given). What clients are told is checked all the time;
the first thing that is wrong ends the run with exit code 1.

  minutes   how long, ${MINUTES} by default; fractions are fine
  seed      a number that an earlier run has printed

  LEASE_MS      lease of the instances, 1500 by default
  CHAOS_FAULTS  faults to choose from, separated by commas; "none" for none
  CHAOS_BUILT   1: the server in dist/ instead of the sources`

if (process.argv.includes('--help')) {
  console.log(HELP)
  process.exit(0)
}

const [minutes = MINUTES, seed = randomInt(2 ** 31), ...surplus] = process.argv.slice(2).map(Number)
const names = process.env['CHAOS_FAULTS']?.split(',').filter(name => name !== 'none') ?? faultKinds
const unknown = names.filter(name => !(faultKinds as readonly string[]).includes(name))
const leaseMs = Number(process.env['LEASE_MS'] ?? 1500)
if (!(minutes > 0) || !Number.isInteger(seed) || surplus.length > 0 || unknown.length > 0 || !(leaseMs >= 500)) {
  console.error(unknown.length > 0 ? `There are no such faults: ${unknown.join(', ')}\n` : 'That is not how it is called.\n')
  console.error(HELP)
  process.exit(1)
}

const settings = ['LEASE_MS', 'CHAOS_FAULTS', 'CHAOS_BUILT'].flatMap(name => process.env[name] === undefined ? [] : `${name}=${process.env[name]} `).join('')
const again = `${settings}npm run chaos -- ${minutes} ${seed}`
console.log(`Seed ${seed}, ${minutes} minutes, LEASE_MS=${leaseMs}. The same again: ${again}`)
const { failure, summary } = await runChaos({
  seed, minutes, leaseMs, kinds: names as FaultKind[], built: process.env['CHAOS_BUILT'] === '1', again, out: process.stdout
})
console.log(summary)
console.log(failure ?? 'Nothing went wrong.')
process.exit(failure === undefined ? 0 : 1)
