/** Writes the tables of docs/scaling.md, so that nobody writes figures by hand. */
import { readFileSync, writeFileSync } from 'node:fs'
import { needsOf, readInstanceCosts, standingOf } from './capacity.ts'
import { readRedisCosts } from './redis-costs.ts'
import { simulate, type RunOptions } from './run.ts'
import { beatsTable, burstsTable, growthTable, instanceCostsTable, needsTable, partsTable, redisCostsTable, saturationTable } from './tables.ts'
import type { Workload } from './workload.ts'

export const PAGE = new URL('../../docs/scaling.md', import.meta.url)
const CLIENTS = [10_000, 1_000_000, 100_000_000]
const INSTANCES = [10, 100, 1000, 10_000]

/** All tables of the page, by the names of their markers. */
export async function allTables (options: Omit<RunOptions, 'onProgress'>, onProgress: (what: string) => void): Promise<Map<string, string>> {
  const { workload } = options
  const [redis, instance] = [readRedisCosts(), readInstanceCosts()]
  const run = async (over: Partial<Workload>): Promise<{ workload: Workload, run: Awaited<ReturnType<typeof simulate>> }> => {
    const changed = { ...workload, ...over }
    onProgress(`${changed.instances} instances${changed.sticky === 1 ? ', sticky' : ''}`)
    return { workload: changed, run: await simulate({ ...options, workload: changed }) }
  }
  const needs = []
  for (const clients of CLIENTS) {
    for (const sticky of [0, 1]) {
      onProgress(`what ${clients} clients need${sticky === 1 ? ', sticky' : ''}`)
      needs.push(await needsOf({ ...options, workload: { ...workload, clients, sticky }, redis, instance }))
    }
  }
  const grown = []
  for (const sticky of [0, 1]) for (const instances of INSTANCES) grown.push(await run({ instances, sticky }))
  const any = await run({ instances: 100, sticky: 0 })
  const standings = needs.filter(one => one.workload.sticky === 0).map(({ standing }) => standing)
  const wide = grown.filter(one => one.workload.sticky === 0).map(one => standingOf(one.workload, one.run, 1))
  return new Map([
    ['parts', partsTable(any.workload, any.run)],
    ['growth', await growthTable(grown)],
    ['beats', await beatsTable(standings)],
    ['bursts', burstsTable(wide, redis)],
    ['redis-costs', redisCostsTable(redis)],
    ['instance-costs', instanceCostsTable(instance)],
    ['needs', needsTable(needs)],
    ['saturation', saturationTable(needs.filter(({ workload: { clients } }) => clients === CLIENTS[1]))]
  ])
}

/** Puts each table between its markers. @throws Error where the page lacks one, or has one too many */
export function writeTables (tables: ReadonlyMap<string, string>): void {
  const found = new Set<string>()
  const text = readFileSync(PAGE, 'utf8').replace(/(<!-- simulate:([\w-]+) -->)[^]*?(<!-- \/simulate -->)/g, (_all, begin: string, name: string, end: string) => {
    found.add(name)
    return `${begin}\n\n${tables.get(name) ?? ''}\n\n${end}`
  })
  const missing = [...tables.keys()].filter(name => !found.has(name))
  const unknown = [...found].filter(name => !tables.has(name))
  if (missing.length > 0 || unknown.length > 0) throw new Error(`docs/scaling.md: no place for ${missing.join(', ') || 'nothing'}, no table for ${unknown.join(', ') || 'nothing'}`)
  writeFileSync(PAGE, text)
}
