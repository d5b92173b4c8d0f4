/** `npm run bench:guard`: has Turnip become dearer than bench/guard.json says? A look, not a measurement. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { startDriver } from './driver/driver.ts'
import type { Work } from './driver/job.ts'
import { figureOf } from './run.ts'
import { startSubject } from './subjects.ts'
import { spread, type Figure } from './summary.ts'

const HELP = `Usage: npm run bench:guard -- [options]

Has Turnip and the bare ws relay do the same for some 20 seconds, in turn, and compares the ratio of their CPU times with the one
in bench/guard.json. More than 15 % above it is reported as a regression. The exit code is 0 all the same.

  --quick    half as long
  --strict   exit code 1 for a regression, and when nothing could be measured
  --write    keep the ratios of this run in bench/guard.json, for this major version of Node
  --help     this
`

/** What a ratio may be above the one that is kept. */
const TOLERANCE = 0.15

const FILE = new URL('guard.json', import.meta.url)
const NO_IDLE = { connections: 0, roomSize: 1 }
const works = {
  exchange: { kind: 'exchange', pairs: 100, rounds: 10, warmUp: 5, idle: NO_IDLE },
  'fan-out-50': { kind: 'fan-out', rooms: 4, size: 50, messages: 250, warmUp: 100, bytes: 200, idle: NO_IDLE }
} as const satisfies Record<string, Work>
type GuardedWork = keyof typeof works
const guarded = Object.keys(works) as GuardedWork[]

/** Ratios by major version of Node: compilers differ. */
type Kept = Record<string, Partial<Record<GuardedWork, number>>>

// What was started ends with this process, however it ends.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => { process.exit(130) })

const { values: options } = parseArgs({ options: { quick: { type: 'boolean' }, strict: { type: 'boolean' }, write: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } })
if (options.help) {
  process.stdout.write(HELP)
  process.exit(0)
}

try {
  const ratios = await measure(options.quick ? { rounds: 2, limitMs: 9000 } : { rounds: 6, limitMs: 19_000 })
  const isRegression = options.write ? keep(ratios) : compare(ratios)
  if (isRegression && options.strict) process.exitCode = 1
} catch (error) {
  console.log(`The guard could not measure: ${(error as Error).message}`)
  if (options.strict) process.exitCode = 1
}

/** Both servers stand all the time and are driven in turn: what disturbs this machine disturbs both. */
async function measure ({ rounds, limitMs }: { rounds: number, limitMs: number }): Promise<Map<GuardedWork, Figure>> {
  const start = performance.now()
  const driver = startDriver()
  const deployment = { instances: 1, redis: false }
  const subjects = { turnip: await startSubject('turnip', deployment), ws: await startSubject('ws', deployment) }
  const figure = async (server: 'turnip' | 'ws', work: GuardedWork): Promise<number> => {
    const { protocol, ports, pids } = subjects[server]
    return figureOf(await driver.run({ protocol, ports, pids, work: works[work], limitMs: 30_000 }))
  }
  try {
    const ratios = new Map<GuardedWork, number[]>(guarded.map(work => [work, []]))
    for (let round = 0; round < rounds && (round < 2 || performance.now() - start < limitMs); round++) {
      for (const work of guarded) {
        const bare = await figure('ws', work)
        ratios.get(work)?.push(await figure('turnip', work) / bare)
      }
    }
    return new Map(Array.from(ratios, ([work, list]) => [work, spread(list)]))
  } finally {
    driver.stop()
    await Promise.all([subjects.turnip.stop(), subjects.ws.stop()])
  }
}

/** Says how the ratios stand to those that are kept. @returns whether one is a regression */
function compare (ratios: ReadonlyMap<GuardedWork, Figure>): boolean {
  const [major = ''] = process.versions.node.split('.')
  const kept = readKept()[major] ?? {}
  let isRegression = false
  for (const [work, { median: ratio, min, max }] of ratios) {
    const before = kept[work]
    const now = `${work}: Turnip takes ${ratio.toFixed(2)} times the CPU of the bare relay (${min.toFixed(2)} to ${max.toFixed(2)})`
    if (before === undefined) {
      console.log(`${now}. bench/guard.json keeps nothing for Node ${major}: "npm run bench:guard -- --write" does.`)
    } else if (ratio > before * (1 + TOLERANCE)) {
      isRegression = true
      console.log(`REGRESSION: ${now}, ${((ratio / before - 1) * 100).toFixed(0)} % more than the ${before.toFixed(2)} in bench/guard.json. "npm run bench -- --only ${work}" measures it well.`)
    } else {
      console.log(`${now}; bench/guard.json has ${before.toFixed(2)}.`)
    }
  }
  const [load = 0] = loadavg()
  if (isRegression && load > 2 * availableParallelism()) console.log(`This machine is busy (load ${load.toFixed(1)}): look again when it is not.`)
  return isRegression
}

function keep (ratios: ReadonlyMap<GuardedWork, Figure>): false {
  const [major = ''] = process.versions.node.split('.')
  const rounded = Object.fromEntries(Array.from(ratios, ([work, { median }]) => [work, Number(median.toFixed(3))]))
  writeFileSync(FILE, `${JSON.stringify({ ...readKept(), [major]: rounded }, null, 2)}\n`)
  console.log(`Written to bench/guard.json for Node ${major}: ${JSON.stringify(rounded)}`)
  return false
}

function readKept (): Kept {
  return existsSync(FILE) ? JSON.parse(readFileSync(FILE, 'utf8')) as Kept : {}
}
