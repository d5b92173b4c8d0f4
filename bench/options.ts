import { parseArgs } from 'node:util'
import { stepOf, workNames, type Size, type WorkName } from './plan.ts'
import { serverNames, type ServerName } from './subjects.ts'

export interface Options {
  readonly works: readonly WorkName[]
  readonly servers: readonly ServerName[]
  readonly rounds: number
  readonly size: Size
  readonly nodeFlags: readonly string[]
  /** Where the results go; undefined for nowhere. */
  readonly out: string | undefined
  /** Measure nothing: write the tables of docs/performance.md from the results there are. */
  readonly docs: boolean
}

/** What the command line asks for, and cannot be done. */
export class UsageError extends Error {}

export const HELP = `Usage: npm run bench -- [options]

Measures Turnip beside a bare ws relay, PeerJS server and Socket.IO on this machine: the CPU time of a message or a call, the
memory of a connection, how long messages take. Prints a table, and writes bench/results.json and bench/results.svg.

  --quick             two minutes: fewer works, smaller, one round; writes nothing
  --only a,b          these works alone, and those that they are held against: ${workNames.join(', ')}
  --servers a,b       these servers alone: ${serverNames.join(', ')}
  --rounds n          5 by default, 1 with --quick; the figures are medians of the rounds
  --out file          where the results go, and beside it the chart
  --write             write results also when not everything was measured
  --node-flags f,g    flags of node for all servers under test, such as --cpu-prof,--cpu-prof-dir=/tmp/profiles
  --docs              measure nothing; write the tables of docs/performance.md from the results
  --help              this

Redis comes from the PATH. Figures are worth most on a machine that does nothing else.
`

/** Where a whole run leaves its results; `npm run` starts in the project's root. */
export const RESULTS = 'bench/results.json'

/** @throws UsageError */
export function readOptions (args: readonly string[]): Options | 'help' {
  const { quick, only, servers, rounds, out, write, docs, help, size: given, 'node-flags': flags } = parse(args)
  if (help) return 'help'
  const size = given ?? (quick ? 'quick' : 'full')
  if (size !== 'full' && size !== 'quick' && size !== 'tiny') throw new UsageError('--size: full, quick or tiny')
  const isPart = quick === true || only !== undefined || servers !== undefined || given !== undefined
  const count = Number(rounds ?? (size === 'full' ? 5 : 1))
  if (!Number.isInteger(count) || count < 1) throw new UsageError('--rounds takes a number, 1 or more')
  const works = only === undefined ? workNames.filter(name => size === 'full' || stepOf(name).isLong !== true) : withReferences(chosen('--only', only, workNames))
  return {
    works,
    servers: servers === undefined ? serverNames : chosen('--servers', servers, serverNames),
    rounds: count,
    size,
    nodeFlags: flags?.split(',') ?? [],
    out: out ?? (isPart && write !== true && docs !== true ? undefined : RESULTS),
    docs: docs ?? false
  }
}

function parse (args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        quick: { type: 'boolean' },
        only: { type: 'string' },
        servers: { type: 'string' },
        rounds: { type: 'string' },
        out: { type: 'string' },
        write: { type: 'boolean' },
        docs: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
        'node-flags': { type: 'string' },
        size: { type: 'string' } // for tests of this benchmark
      }
    }).values
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

function chosen<Name extends string> (option: string, list: string, all: readonly Name[]): Name[] {
  const asked = list.split(',')
  const unknown = asked.filter(name => !(all as readonly string[]).includes(name))
  if (unknown.length > 0) throw new UsageError(`${option}: there is no ${unknown.join(', ')}; there are ${all.join(', ')}`)
  return all.filter(name => asked.includes(name))
}

/** A ratio needs both of its figures from one round. */
function withReferences (works: readonly WorkName[]): WorkName[] {
  return workNames.filter(name => works.includes(name) || works.some(work => stepOf(work).goal?.work === name))
}
