/** What processes have used, from /proc. */
import { readdirSync, readFileSync } from 'node:fs'

/** Of the clock that /proc/<pid>/stat counts in: 100 on every Linux that Node runs on. */
const TICKS_PER_S = 100

/**
 * CPU time of a process and all its threads, user and system, µs. In nanoseconds from the scheduler where the kernel tells;
 * else in ticks of 10 ms.
 */
function cpuUsOf (pid: number): number {
  try {
    const threads = readdirSync(`/proc/${pid}/task`)
    return threads.reduce((sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]), 0) / 1000
  } catch {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // the name, in brackets, may hold spaces
    return (Number(fields[11]) + Number(fields[12])) * 1_000_000 / TICKS_PER_S
  }
}

export function cpuUs (pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + cpuUsOf(pid), 0)
}

/** Memory that is in use, KB. */
export function residentKb (pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + Number(/^Rss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]), 0)
}
