/** `npm run simulate`: the routing of many instances, message by message. */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { readInstanceCosts, standingOf } from './capacity.ts'
import { allTables, writeTables } from './docs.ts'
import { COSTS_FILE, measureRedisCosts, readRedisCosts } from './redis-costs.ts'
import { simulate } from './run.ts'
import { beatsTable, burstsTable, growthTable, partsTable, redisCostsTable } from './tables.ts'
import type { Workload } from './workload.ts'

const HELP = `Usage: npm run simulate -- [options]

Calls over up to 10,000 instances, in one process and in simulated time. Rooms, rosters, records, batches and what is asked
of Redis are the real code's; Redis itself is a stand-in that counts. Shows messages and bytes through each part.

  --clients n          connected at a time (1000000)
  --instances n[,n]    how many instances, several for a comparison (10,100,1000,10000)
  --room-size s        members of a room; "2:0.8,4:0.2" for sizes with weights (2)
  --calls-per-hour n   calls that a client takes part in (2)
  --call-minutes n     how long a room stands (10)
  --candidates n       ICE candidates of each side of a pair (10)
  --sdp-bytes n        size of an offer and of an answer (2400)
  --candidate-bytes n  size of a candidate (140)
  --sticky x           share of rooms whose members all come to one instance; the others' come to any (0)
  --shards n           nodes of a Redis Cluster, for what runs by the clock (1)
  --turn-ms n          what comes to an instance within it is one turn of its event loop (1)
  --calls n            calls that are simulated; figures are scaled to the clients (2000)
  --seed x             the same seed gives the same figures (1)
  --measure            measures what commands cost a real Redis, into bench/simulate/redis-costs.json
  --docs               writes the tables of docs/scaling.md; --clients, --instances, --sticky and --shards do not matter then
`

const options = {
  clients: '1000000',
  instances: '10,100,1000,10000',
  'room-size': '2',
  'calls-per-hour': '2',
  'call-minutes': '10',
  candidates: '10',
  'sdp-bytes': '2400',
  'candidate-bytes': '140',
  sticky: '0',
  shards: '1',
  'turn-ms': '1',
  calls: '2000',
  seed: '1'
}

function readOptions (): { workload: Workload, instances: number[], shards: number, calls: number, seed: string, turnMs: number, measure: boolean, docs: boolean } {
  const { values } = parseArgs({
    options: {
      ...Object.fromEntries(Object.entries(options).map(([name, fallback]) => [name, { type: 'string' as const, default: fallback }])),
      measure: { type: 'boolean', default: false },
      docs: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false }
    }
  })
  const given = values as Record<string, string | boolean>
  if (given['help'] === true) {
    process.stdout.write(HELP)
    process.exit(0)
  }
  const number = (name: string, least: number, most: number, text = String(given[name])): number => {
    const value = Number(text)
    if (text === '' || !(value >= least && value <= most)) throw new RangeError(`--${name} is "${text}"; it takes a number from ${least} to ${most}`)
    return value
  }
  const whole = (name: string, least: number, most: number, text?: string): number => Math.floor(number(name, least, most, text))
  const sizes = new Map(String(given['room-size']).split(',').map(part => {
    const [size = '', weight = '1'] = part.split(':')
    return [whole('room-size', 1, 100, size), number('room-size', 0, 1e6, weight)]
  }))
  const instances = String(given['instances']).split(',').map(one => whole('instances', 1, 10_000, one))
  return {
    workload: {
      clients: whole('clients', 2, 1e9),
      instances: instances[0] ?? 1,
      sizes,
      callsPerHour: number('calls-per-hour', 0.001, 3600),
      callMinutes: number('call-minutes', 0, 1440),
      candidates: whole('candidates', 0, 100),
      sdpBytes: whole('sdp-bytes', 1, 60_000),
      candidateBytes: whole('candidate-bytes', 1, 60_000),
      sticky: number('sticky', 0, 1)
    },
    instances,
    shards: whole('shards', 1, 16_384),
    calls: whole('calls', 1, 1e6),
    seed: String(given['seed']),
    turnMs: number('turn-ms', 0.01, 1000),
    measure: given['measure'] === true,
    docs: given['docs'] === true
  }
}

function progress (text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

async function main (): Promise<void> {
  const { workload, instances, shards, measure, docs, ...run } = readOptions()
  if (measure) {
    const costs = await measureRedisCosts(progress)
    writeFileSync(COSTS_FILE, `${JSON.stringify(costs, null, 2)}\n`)
    progress('')
    console.log(redisCostsTable(costs))
    return
  }
  if (readRedisCosts() === undefined) console.error('What Redis\' work costs is not known: npm run simulate -- --measure')
  if (docs) {
    if (readInstanceCosts() === undefined) console.error('bench/results.json is missing, or lacks a work: what instances need stays open. Run npm run bench, then this again.')
    writeTables(await allTables({ workload, ...run }, progress))
    progress('')
    console.log('docs/scaling.md is written.')
    return
  }
  const runs = []
  for (const count of instances) {
    const changed = { ...workload, instances: count }
    runs.push({ workload: changed, run: await simulate({ workload: changed, ...run, onProgress: (done, of) => { if (done % 50 === 0) progress(`${count} instances: ${done} of ${of} calls`) } }) })
  }
  progress('')
  for (const one of runs) console.log(`${one.workload.clients} clients, ${one.workload.instances} instances: through each part\n\n${partsTable(one.workload, one.run)}\n`)
  const standings = runs.map(one => standingOf(one.workload, one.run, shards))
  console.log(`With the number of instances\n\n${await growthTable(runs)}\n\nBy the clock\n\n${await beatsTable(standings)}\n\nAll at once\n\n${burstsTable(standings, readRedisCosts())}`)
}

try {
  await main()
} catch (error) {
  console.error(error instanceof RangeError || (error instanceof TypeError && 'code' in error) ? error.message : error)
  process.exitCode = 1
}
