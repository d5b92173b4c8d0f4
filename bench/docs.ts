import { readFileSync, writeFileSync } from 'node:fs'
import type { Results } from './results.ts'
import { summarize } from './summary.ts'
import { conditions, costTable, latencyTable } from './tables.ts'

const PAGE = new URL('../docs/performance.md', import.meta.url)

/** Writes the figures into docs/performance.md, each between `<!-- bench:name -->` and `<!-- /bench:name -->`. */
export function writeDocs (results: Results): void {
  const rows = summarize(results.runs)
  const parts = { conditions: conditions(results), costs: costTable(rows), latencies: latencyTable(rows) }
  let page = readFileSync(PAGE, 'utf8')
  for (const [name, text] of Object.entries(parts)) {
    page = page.replace(new RegExp(`(<!-- bench:${name} -->\n)[^]*?(<!-- /bench:${name} -->)`), (_whole, start: string, end: string) => `${start}\n${text}\n\n${end}`)
  }
  writeFileSync(PAGE, page)
}
