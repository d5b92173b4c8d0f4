import type { Cluster } from './cluster.ts'
import { faultTraits, type Action, type PlannedFault, type Round } from './plan.ts'
import type { Session } from './session.ts'
import { now } from './troubles.ts'

const TTY_EVERY_MS = 1000
const LINE_EVERY_MS = 10_000
/** The last lines of each instance's log that a failure shows. */
const LOG_LINES = 15

/** The figures that are shown while it runs. */
export interface Figures { round: number, faults: string, clients: number, rooms: number, said: number, delivered: number, announcements: number }

/** A check that failed, and whom it concerns. */
export interface Failure { readonly what: string, readonly sessions: readonly Session[], readonly at: number, readonly round: Round | undefined, readonly roundBegan: number }

/** Says how it goes: a line that is written anew on a terminal, a line now and then elsewhere. */
export class Progress {
  readonly #out: NodeJS.WriteStream
  readonly #timer: NodeJS.Timeout

  constructor (out: NodeJS.WriteStream, figures: () => Figures) {
    this.#out = out
    const start = now()
    this.#timer = setInterval(() => {
      const { round, faults, clients, rooms, said, delivered, announcements } = figures()
      const line = `${((now() - start) / 1000).toFixed(0)} s, round ${round} (${faults}): ${clients} clients in ${rooms} rooms, ${said} messages, ${delivered} deliveries checked, ${announcements} announcements`
      out.write(out.isTTY ? `\r\u001b[K${line.slice(0, out.columns - 1)}` : `${line}\n`)
    }, out.isTTY ? TTY_EVERY_MS : LINE_EVERY_MS)
  }

  end (): void {
    clearInterval(this.#timer)
    if (this.#out.isTTY) this.#out.write('\n')
  }
}

/** What went wrong, and all that helps to find out why. */
export async function describeFailure ({ what, sessions, at, round, roundBegan }: Failure, cluster: Cluster, again: string): Promise<string> {
  const lines = [`FAILED at ${at.toFixed(0)}: ${what}`]
  if (round !== undefined) {
    lines.push('', `Round ${round.index} began at ${roundBegan.toFixed(0)} (all times in ms):`)
    const plan: Array<{ at: number, text: string }> = [
      ...round.faults.map(fault => ({ at: fault.at, text: `FAULT ${faultText(fault)}` })),
      ...round.actions.map(action => ({ at: action.at, text: actionText(action) }))
    ]
    for (const { at: offset, text } of plan.toSorted((a, b) => a.at - b.at)) lines.push(`  ${(roundBegan + offset).toFixed(0)} ${text}`)
  }
  for (const { connection, view } of sessions) {
    lines.push('', `${view.userId} (${connection.id}), on instance ${connection.instance}, its last frames (< received, > sent):`)
    for (const entry of connection.history) lines.push(`  ${entry.length > 400 ? `${entry.slice(0, 400)}…` : entry}`)
  }
  for (const { index, logs, url } of cluster.instances) {
    lines.push('', `Instance ${index} says of itself: ${await healthText(url)}`, 'The last of its log:')
    for (const line of logs.slice(-LOG_LINES)) lines.push(`  ${line.slice(0, 600)}`)
  }
  lines.push('', `Run it again: ${again}`)
  return lines.join('\n')
}

export function faultText ({ kind, instance, lasts }: PlannedFault): string {
  const { scope } = faultTraits[kind]
  return `${kind}${scope === 'redis' || scope === 'none' ? '' : ` ${instance}`} for ${lasts} ms`
}

function actionText (action: Action): string {
  return `user-${action.who} ${action.what}${action.what === 'join' ? ` ${action.room}` : ''}`
}

async function healthText (url: string): Promise<string> {
  try {
    return await (await fetch(`${url}/health`, { signal: AbortSignal.timeout(1000) })).text()
  } catch (error) {
    return `nothing (${(error as Error).message})`
  }
}
