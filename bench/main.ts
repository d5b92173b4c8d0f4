/** `npm run bench`: measures Turnip beside the others, from the command line. */
import { HELP, readOptions, UsageError, type Options } from './options.ts'
import { runAll } from './run.ts'

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

const runs = await runAll({ ...options, onProgress: line => { console.error(line) } })
console.log(runs.length)
