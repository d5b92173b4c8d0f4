/** Runs the plan: all servers in turn for each work, and all works again in every round. */
import { startDriver } from './driver/driver.ts'
import type { Measure } from './driver/job.ts'
import { stepOf, type Size, type WorkName } from './plan.ts'
import { startSubject, type ServerName } from './subjects.ts'

/** One measurement. */
export interface Run extends Measure {
  readonly round: number
  readonly work: WorkName
  readonly server: ServerName
}

export interface RunOptions {
  readonly works: readonly WorkName[]
  readonly servers: readonly ServerName[]
  readonly rounds: number
  readonly size: Size
  /** Flags of node for all servers, as for profiles. */
  readonly nodeFlags: readonly string[]
  /** Told one line for each measurement. */
  readonly onProgress: (line: string) => void
}

/** A work takes a few seconds; the slowest, with thousands of connections on a busy machine, about ten. */
const LIMIT_MS = 120_000

export async function runAll ({ works, servers, rounds, size, nodeFlags, onProgress }: RunOptions): Promise<Run[]> {
  const perRound = works.flatMap(work => stepOf(work).servers.filter(server => servers.includes(server)).map(server => ({ work, server })))
  const total = rounds * perRound.length
  const start = performance.now()
  const runs: Run[] = []
  for (let round = 1; round <= rounds; round++) {
    // Every other round the other way round: what runs first in a work is not always the same.
    for (const { work, server } of round % 2 === 1 ? perRound : perRound.toReversed()) {
      const measure = await measureOnce(work, server, size, nodeFlags)
      runs.push({ round, work, server, ...measure })
      const minutes = (performance.now() - start) / 60_000 * (total / runs.length - 1)
      onProgress(`${runs.length}/${total}  round ${round}  ${work.padEnd(11)}  ${server.padEnd(8)}  ${describe(measure)}  (${minutes.toFixed(1)} min left)`)
    }
  }
  return runs
}

async function measureOnce (work: WorkName, server: ServerName, size: Size, nodeFlags: readonly string[]): Promise<Measure> {
  const step = stepOf(work)
  const subject = await startSubject(server, { ...step.deployment, nodeFlags })
  const driver = startDriver()
  try {
    return await driver.run({ protocol: subject.protocol, ports: subject.ports, pids: subject.pids, work: step.work(size), limitMs: LIMIT_MS })
  } catch (error) {
    const words = subject.lastWords()
    throw new Error(`${work}, ${server}: ${(error as Error).message}${words === '' ? '' : `\nThe server's last words:\n${words}`}`, { cause: error })
  } finally {
    driver.stop()
    await subject.stop()
  }
}

/** The figure that a work is about. */
export function figureOf ({ kb, cpuUs }: Measure): number {
  return kb ?? cpuUs.server + cpuUs.redis
}

function describe (measure: Measure): string {
  const { kb, cpuUs, seconds, p50Ms, p99Ms } = measure
  const figure = `${figureOf(measure).toFixed(1)} ${kb === undefined ? 'µs' : 'KB'}`.padStart(10)
  const redis = cpuUs.redis === 0 ? '' : `  Redis ${cpuUs.redis.toFixed(1)} µs of it`
  const latency = p50Ms === undefined || p99Ms === undefined ? '' : `  p50 ${p50Ms.toFixed(1)} ms  p99 ${p99Ms.toFixed(1)} ms`
  return `${figure}${redis}${latency}  in ${seconds.toFixed(1)} s`
}
