/** From the rounds to figures: medians with their spread, and ratios of figures of the same round. */
import { stepOf, workNames, type Step, type WorkName } from './plan.ts'
import { figureOf, type Run } from './run.ts'
import { serverNames, type ServerName } from './subjects.ts'

export interface Figure { readonly median: number, readonly min: number, readonly max: number }

export interface Row {
  readonly work: WorkName
  readonly title: string
  readonly unit: Step['unit']
  /** Of each server that was measured. */
  readonly figures: ReadonlyMap<ServerName, Figure>
  readonly latencies: ReadonlyMap<ServerName, { readonly p50Ms: number, readonly p99Ms: number }>
  /** Turnip's figure by what it is held against. */
  readonly ratio?: Figure
  readonly goal?: number
}

export function summarize (runs: readonly Run[]): Row[] {
  return workNames.filter(work => runs.some(run => run.work === work)).map(work => {
    const { title, unit, goal } = stepOf(work)
    const measured = serverNames.map(server => ({ server, list: runs.filter(run => run.work === work && run.server === server) })).filter(({ list }) => list.length > 0)
    const ratio = ratioOf(runs, work)
    return {
      work,
      title,
      unit,
      figures: new Map(measured.map(({ server, list }) => [server, spread(list.map(figureOf))])),
      latencies: new Map(measured.filter(({ list }) => list[0]?.p50Ms !== undefined).map(({ server, list }) => [server, {
        p50Ms: median(list.map(({ p50Ms }) => p50Ms ?? NaN)), p99Ms: median(list.map(({ p99Ms }) => p99Ms ?? NaN))
      }])),
      ...(ratio !== undefined && { ratio }),
      ...(goal !== undefined && { goal: goal.atMost })
    }
  })
}

/** Turnip's figure against that of the goal, or else of the bare relay, round by round. */
function ratioOf (runs: readonly Run[], work: WorkName): Figure | undefined {
  const { goal, servers } = stepOf(work)
  const reference = { work: goal?.work ?? work, server: goal?.server ?? (goal === undefined ? 'ws' : 'turnip') }
  if (reference.work === work && !servers.includes(reference.server)) return undefined
  const ratios = runs.filter(run => run.work === work && run.server === 'turnip').flatMap(run => {
    const other = runs.find(({ round, work, server }) => round === run.round && work === reference.work && server === reference.server)
    return other === undefined ? [] : [figureOf(run) / figureOf(other)]
  })
  return ratios.length === 0 ? undefined : spread(ratios)
}

/** @param values one or more */
export function spread (values: readonly number[]): Figure {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) }
}

function median (values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? NaN) + (sorted[Math.floor(middle)] ?? NaN)) / 2
}
