import { parseArgs } from 'node:util'

/**
 * Reads flags: `--name` or `--name value`. `--help` prints the text and ends the process well, a flag that is not known
 * ends it with one line: nobody wants a stack for a typing error.
 *
 * @template {Record<string, { type: 'boolean' | 'string', short?: string }>} [Flags={}]
 * @param {string} help
 * @param {Flags} [flags]
 * @returns {{ [Name in keyof Flags]?: Flags[Name]['type'] extends 'boolean' ? boolean : string }}
 */
export function readFlags (help, flags) {
  /** @type {Partial<Record<string, unknown>>} */
  let values
  try {
    ({ values } = parseArgs({ options: { ...flags, help: { type: 'boolean', short: 'h' } } }))
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exit(1)
  }
  if (values.help) {
    process.stdout.write(help)
    process.exit(0)
  }
  return /** @type {ReturnType<typeof readFlags<Flags>>} */ (values)
}
