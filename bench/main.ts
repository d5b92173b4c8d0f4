/** `npm run bench`: measures Turnip beside the others, from the command line. */
import { writeFileSync } from 'node:fs'
import { chart } from './chart.ts'
import { writeDocs } from './docs.ts'
import { HELP, readOptions, RESULTS, UsageError, type Options } from './options.ts'
import { readResults, resultsOf, writeResults } from './results.ts'
import { runAll } from './run.ts'
import { summarize } from './summary.ts'
import { conditions, costTable, latencyTable } from './tables.ts'

// What was started ends with this process, however it ends.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => { process.exit(130) })

let options: Options | 'help'
try {
  options = readOptions(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof UsageError)) throw error
  console.error(`${error.message}\n\n${HELP}`)
  process.exit(1)
}
if (options === 'help') {
  process.stdout.write(HELP)
  process.exit(0)
}

if (options.docs) {
  writeDocs(readResults(options.out ?? RESULTS))
  process.exit(0)
}

try {
  await bench(options)
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}

async function bench (options: Options): Promise<void> {
  const { size, rounds, out } = options
  const runs = await runAll({ ...options, onProgress: line => { console.error(line) } })
  const results = resultsOf(runs, size, rounds)
  const rows = summarize(runs)
  console.log(`\n${costTable(rows)}\n\n${latencyTable(rows)}\n\n${conditions(results)}`)
  if (out === undefined) return
  const picture = out.replace(/(\.json)?$/, '.svg')
  writeResults(out, results)
  writeFileSync(picture, chart(rows))
  console.log(`Written: ${out}, ${picture}`)
}
