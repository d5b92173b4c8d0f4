/** The driver's process: takes one job after the other from the process that has started it, and ends with it. */
import type { Job, Outcome } from './job.ts'
import { Session } from './works.ts'

process.on('disconnect', () => { process.exit() })
process.on('message', job => {
  void run(job as Job).then(outcome => { process.send?.(outcome) })
})

async function run (job: Job): Promise<Outcome> {
  const session = new Session(job)
  let limit: NodeJS.Timeout | undefined
  const trouble = new Promise<never>((_resolve, reject) => {
    session.onLost = reject
    limit = setTimeout(() => {
      reject(new Error(`The ${job.work.kind} was not through after ${job.limitMs / 1000} s: the server has lost messages, or this machine is too busy`))
    }, job.limitMs)
  })
  try {
    const measure = await Promise.race([session.run(), trouble])
    await Promise.race([session.end(), trouble])
    return { measure }
  } catch (error) {
    return { error: (error as Error).message }
  } finally {
    clearTimeout(limit)
    session.abort()
  }
}
