/** What a running instance holds, seen from outside. */
import { readdir } from 'node:fs/promises'
import { get } from 'node:http'
import { text } from 'node:stream/consumers'
import type { TurnipProcess } from '../harness/turnip-process.ts'

export interface Figures { readonly connections: number, readonly rooms: number, readonly descriptors: number }

/** Asks an instance; the connection it takes to ask is closed, and not counted. */
export async function figuresOf ({ url, pid }: TurnipProcess): Promise<Figures> {
  const { connections, rooms } = await new Promise<{ connections: number, rooms: number }>((resolve, reject) => {
    get(`${url}/info`, { agent: false, headers: { connection: 'close' } }, response => {
      text(response).then(body => { resolve(JSON.parse(body) as { connections: number, rooms: number }) }, reject)
    }).on('error', reject)
  })
  return { connections, rooms, descriptors: await descriptorsOf(pid) }
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
