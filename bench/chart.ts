/** The chart of docs/performance.md: what each server takes, as a multiple of the bare relay. */
import { servers, serverNames, type ServerName } from './subjects.ts'
import type { Row } from './summary.ts'

const WIDTH = 920
const LEFT = 120
const RIGHT = 160
const TOP = 84
const BAR = 16
const STEP = 22
const HEAD = 34
const GAP = 14

const STYLE = `
    .page { fill: #ffffff } .ink { fill: #2b2430 } .soft { fill: #6a6072 } .strong { font-weight: 600 }
    text { stroke: #ffffff; stroke-width: 5px; stroke-linejoin: round; paint-order: stroke } /* keeps the line off the words */
    .bar { fill: #b9aec4 } .turnip { fill: #a3238e } .line { stroke: #8a7f94; stroke-width: 1.4; stroke-dasharray: 4 4 }
    @media (prefers-color-scheme: dark) {
      .page { fill: #17131b } text { stroke: #17131b } .ink { fill: #f1ecf5 } .soft { fill: #b3a7bd }
      .bar { fill: #5d5068 } .turnip { fill: #ef7fdc } .line { stroke: #8d8098 }
    }`

/** @returns an SVG that reads well on light and on dark pages; the works without a bare relay beside them are left out */
export function chart (rows: readonly Row[]): string {
  // What is held against Turnip itself are no comparisons of servers.
  const groups = rows.filter(({ figures, work }) => figures.has('ws') && figures.size > 1 && !/^(idle|rooms|across-3)/.test(work))
  const ratios = groups.flatMap(({ figures }) => Array.from(figures.values(), ({ median }) => median / bareOf(figures)))
  const scale = (WIDTH - LEFT - RIGHT) / Math.max(1, ...ratios)
  const bars: string[] = []
  const words: string[] = []
  let y = TOP
  for (const { title, unit, figures } of groups) {
    words.push(`<text class="ink strong" x="24" y="${y + 16}">${escape(title)}</text>`)
    y += HEAD - 10
    for (const name of serverNames) {
      const figure = figures.get(name)
      if (figure === undefined) continue
      const ratio = figure.median / bareOf(figures)
      const length = Math.max(1, ratio * scale)
      const value = `${figure.median >= 100 ? figure.median.toFixed(0) : figure.median.toFixed(1)} ${unit.split(' ').slice(0, -2).pop() ?? ''}`
      bars.push(`<rect class="${name === 'turnip' ? 'turnip' : 'bar'}" x="${LEFT}" y="${y}" width="${length.toFixed(1)}" height="${BAR}" rx="3"/>`)
      words.push(
        `<text class="${name === 'turnip' ? 'ink strong' : 'soft'}" x="${LEFT - 10}" y="${y + 13}" text-anchor="end">${servers[name].title}</text>`,
        `<text class="${name === 'turnip' ? 'ink strong' : 'soft'}" x="${(LEFT + length + 8).toFixed(1)}" y="${y + 13}">${ratio.toFixed(2)} ×  (${value})</text>`
      )
      y += STEP
    }
    y += GAP
  }
  const one = (LEFT + scale).toFixed(1)
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 8}" font-family="system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif" font-size="13" role="img" aria-labelledby="title desc">
  <title id="title">What each server takes, as a multiple of a bare ws relay</title>
  <desc id="desc">${escape(groups.map(({ title, figures }) => `${title}: ${[...figures].map(([name, { median }]) => `${servers[name].title} ${(median / bareOf(figures)).toFixed(2)}`).join(', ')}`).join('. '))}.</desc>
  <style>${STYLE}
  </style>
  <rect class="page" width="${WIDTH}" height="${y + 8}" rx="12"/>
  <text class="ink strong" x="24" y="36" font-size="17">CPU time and memory as a multiple of a bare ws relay</text>
  <text class="soft" x="24" y="58">less is better; Turnip with tokens, rooms, limits, metrics and logs on; the bare relay has none of them</text>
  ${bars.join('\n  ')}
  <path class="line" d="M${one} ${TOP}V${y - GAP}"/>
  ${words.join('\n  ')}
</svg>
`
}

function bareOf (figures: Row['figures']): number {
  return figures.get('ws' satisfies ServerName)?.median ?? NaN
}

function escape (text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
