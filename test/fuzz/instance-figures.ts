/** What a running instance holds, seen from outside. */
import { readdir } from 'node:fs/promises'
import { get } from 'node:http'
import { text } from 'node:stream/consumers'
import type { TurnipProcess } from '../harness/turnip-process.ts'

export interface Figures { readonly connections: number, readonly rooms: number, readonly descriptors: number }

/** GETs an address over a connection of its own, which is closed then. @returns the body */
export async function askOnce (url: string): Promise<string> {
  return await new Promise((resolve, reject) => {
    get(url, { agent: false, headers: { connection: 'close' } }, response => { text(response).then(resolve, reject) }).on('error', reject)
  })
}

/** Asks an instance; the connection it takes to ask is not counted. */
export async function figuresOf ({ url, pid }: Pick<TurnipProcess, 'url' | 'pid'>): Promise<Figures> {
  const { connections, rooms } = JSON.parse(await askOnce(`${url}/info`)) as { connections: number, rooms: number }
  return { connections, rooms, descriptors: await descriptorsOf(pid) }
}

/** The event loop's delay since it was asked for the last time, ms: what 99 of 100 turns stayed below, and the longest. */
export async function loopDelayOf ({ metricsUrl = '' }: Pick<TurnipProcess, 'metricsUrl'>): Promise<{ p99: number, max: number }> {
  const metrics = await askOnce(`${metricsUrl}/metrics`)
  const read = (name: string): number => Math.round(1000 * Number(new RegExp(`^nodejs_eventloop_lag_${name}_seconds.* (\\S+)$`, 'm').exec(metrics)?.[1]))
  return { p99: read('p99'), max: read('max') }
}

/** Open file descriptors; 0 where the system does not tell (no /proc). */
export async function descriptorsOf (pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`).catch(() => [])).length
}

/** Lines of a log that tell of an error of ours, or are no log at all: what the runtime prints when it dies, and its warnings. */
export function findingsOf (logs: readonly string[], allowed = /^$/): string[] {
  return logs.filter(line => {
    try {
      const { level, msg } = JSON.parse(line) as { level: number, msg: string }
      return level >= 50 && !allowed.test(msg)
    } catch {
      return line.trim() !== ''
    }
  })
}
