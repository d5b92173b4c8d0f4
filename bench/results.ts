/** What a run of the benchmark leaves: every measurement, and on what it was made. */
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { findRedisServer, redisVersion } from '../scripts/services.js'
import type { Size } from './plan.ts'
import type { Run } from './run.ts'

export interface Results {
  readonly date: string
  readonly size: Size
  readonly rounds: number
  readonly machine: { readonly cpu: string, readonly cores: number, readonly memory_gb: number, readonly kernel: string }
  /** Of Node, Redis and the packages that were measured. */
  readonly versions: Readonly<Record<string, string>>
  readonly runs: readonly Run[]
}

const PACKAGES = ['ws', 'peer', 'socket.io', '@socket.io/redis-adapter', 'ioredis']

export function resultsOf (runs: readonly Run[], size: Size, rounds: number): Results {
  const processors = cpus()
  const redis = findRedisServer()
  return {
    date: new Date().toISOString(),
    size,
    rounds,
    machine: { cpu: processors[0]?.model.trim() ?? 'unknown', cores: processors.length, memory_gb: Math.round(totalmem() / 2 ** 30), kernel: release() },
    versions: {
      node: process.versions.node,
      turnip: versionIn('../package.json'),
      ...Object.fromEntries(PACKAGES.map(name => [name, versionIn(`../node_modules/${name}/package.json`)])),
      redis: (redis && redisVersion(redis)) ?? 'none'
    },
    runs
  }
}

function versionIn (path: string): string {
  return (JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as { version: string }).version
}

/** One line a measurement, so that two files can be compared. */
export function writeResults (path: string, { runs, ...rest }: Results): void {
  const lines = runs.map(run => `    ${JSON.stringify(run, (_key, value: unknown) => typeof value === 'number' ? Number(value.toFixed(3)) : value)}`)
  writeFileSync(path, `${JSON.stringify(rest, null, 2).slice(0, -2)},\n  "runs": [\n${lines.join(',\n')}\n  ]\n}\n`)
}

export function readResults (path: string): Results {
  return JSON.parse(readFileSync(path, 'utf8')) as Results
}
