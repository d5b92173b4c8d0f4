/** The figures as tables: Markdown whose columns stand in line, for a terminal and for docs/performance.md. */
import type { Results } from './results.ts'
import { servers, serverNames } from './subjects.ts'
import type { Figure, Row } from './summary.ts'

/** One CPU time or memory of each server a work, and Turnip's ratio beside its goal. */
export function costTable (rows: readonly Row[]): string {
  const shown = serverNames.filter(name => rows.some(({ figures }) => figures.has(name)))
  return table([
    ['work', 'unit', ...shown.map(name => servers[name].title), 'ratio', 'spread', 'goal', ''],
    ...rows.map(({ title, unit, figures, ratio, goal }) => [
      title, unit, ...shown.map(name => figureText(figures.get(name))),
      ratio?.median.toFixed(2) ?? '', ratio === undefined ? '' : `${ratio.min.toFixed(2)}–${ratio.max.toFixed(2)}`,
      goal === undefined ? '' : `≤ ${goal.toFixed(2)}`, ratio === undefined || goal === undefined ? '' : ratio.median <= goal ? 'ok' : 'missed'
    ])
  ])
}

/** How long messages are on their way, p50 and p99, ms. */
export function latencyTable (rows: readonly Row[]): string {
  const timed = rows.filter(({ latencies }) => latencies.size > 0)
  const shown = serverNames.filter(name => timed.some(({ latencies }) => latencies.has(name)))
  return table([
    ['ms, p50 / p99', ...shown.map(name => servers[name].title)],
    ...timed.map(({ title, latencies }) => [title, ...shown.map(name => {
      const latency = latencies.get(name)
      return latency === undefined ? '' : `${latency.p50Ms.toFixed(1)} / ${latency.p99Ms.toFixed(1)}`
    })])
  ])
}

/** On what and when, in a sentence. */
export function conditions ({ date, rounds, size, machine, versions }: Results): string {
  const packages = Object.entries(versions).filter(([name]) => name !== 'turnip').map(([name, version]) => `${name} ${version}`).join(', ')
  return `${date.slice(0, 10)}, ${machine.cores} × ${machine.cpu}, ${machine.memory_gb} GB, Linux ${machine.kernel}, ${packages}; ` +
    `medians of ${rounds} ${rounds === 1 ? 'round' : 'interleaved rounds'}${size === 'full' ? '' : ` (${size})`}.`
}

function figureText (figure: Figure | undefined): string {
  if (figure === undefined) return ''
  return figure.median >= 100 ? figure.median.toFixed(0) : figure.median.toFixed(1)
}

function table (rows: readonly string[][]): string {
  const [head = []] = rows
  const widths = head.map((_, column) => Math.max(3, ...rows.map(row => row[column]?.length ?? 0)))
  const line = (row: readonly string[]): string => `| ${widths.map((width, column) => (row[column] ?? '').padEnd(width)).join(' | ')} |`
  return [line(head), `|${widths.map(width => '-'.repeat(width + 2)).join('|')}|`, ...rows.slice(1).map(line)].join('\n')
}
