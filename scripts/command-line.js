import { parseArgs } from 'node:util'

/**
 * Reads flags (there are no other options in these scripts). `--help` prints the text and ends the process well, a flag
 * that is not known ends it with one line: nobody wants a stack for a typing error.
 *
 * @template {string} [Name=never]
 * @param {string} help
 * @param {Record<Name, { type: 'boolean', short: string }>} [flags]
 * @returns {Partial<Record<Name | 'help', boolean>>}
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
  return /** @type {Partial<Record<Name | 'help', boolean>>} */ (values)
}
