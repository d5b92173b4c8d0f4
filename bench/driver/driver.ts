import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Job, Measure, Outcome } from './job.ts'

export interface Driver {
  /** One job at a time. @throws Error that says what the server did not do */
  run (job: Job): Promise<Measure>
  stop (): void
}

/** Starts a driver in a process of its own: its time is not the servers', and not that of whoever reads their logs. */
export function startDriver (): Driver {
  const child = fork(fileURLToPath(new URL('main.ts', import.meta.url)), { execArgv: ['--import', import.meta.resolve('tsx')] })
  const ended = once(child, 'exit').then(() => ({ error: 'The driver has ended before its work was done' }))
  return {
    async run (job) {
      const answered = once(child, 'message').then(([outcome]) => outcome as Outcome)
      child.send(job)
      const outcome = await Promise.race([answered, ended])
      if ('error' in outcome) throw new Error(outcome.error)
      return outcome.measure
    },
    stop: () => { child.kill('SIGKILL') }
  }
}
