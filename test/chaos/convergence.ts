import { setTimeout as delay } from 'node:timers/promises'
import type { Client } from './client.ts'
import type { Cluster } from './cluster.ts'
import { Connection } from './connection.ts'
import type { Session, Sessions } from './session.ts'
import { now } from './troubles.ts'
import type { Watcher } from './watcher.ts'

const PAUSE_MS = 50
/** How long a join, a leave and the announcements of both may take once all agree, ms. */
const PROBE_MS = 3000

/** All that has to agree. */
export interface Parties {
  readonly cluster: Cluster
  readonly clients: readonly Client[]
  readonly watchers: readonly Watcher[]
  readonly sessions: Sessions
}

/** Views did not come to agree. */
export class Disagreement extends Error {
  /** Whose views they are. */
  readonly sessions: readonly Session[]

  constructor (differences: readonly string[], sessions: readonly Session[]) {
    super(`the cluster has not converged in time:\n  ${differences.join('\n  ')}`)
    this.sessions = sessions
  }
}

/**
 * Waits until all agree: who is connected and joined where, what each client knows, what Redis says and what the
 * watchers were told are the same; each instance is healthy.
 * @returns the rooms that live
 * @throws Disagreement when they do not by the deadline
 */
export async function converge (parties: Parties, deadline: number): Promise<Set<string>> {
  for (;;) {
    const { rooms, differences, whose } = await compare(parties)
    if (differences.length === 0) return rooms
    if (now() > deadline) throw new Disagreement(differences, whose)
    await delay(PAUSE_MS)
  }
}

/**
 * Has somebody join and leave a new room on each instance, to see that each serves and that every watcher hears of it.
 * As announcements come in order, watchers have then heard all that was said before.
 */
export async function probe ({ cluster, watchers }: Parties, name: string): Promise<void> {
  const start = now()
  await Promise.all(cluster.instances.map(async ({ index, url }) => {
    const room = `probe-${name}-${index}`
    let joined = false
    let left = false
    const connection = await Connection.open(url, index, { userId: `prober-${index}` }, () => ({
      onFrame: ({ type }) => {
        joined ||= type === 'joined'
        left ||= type === 'left'
      },
      onClose: () => {}
    }))
    if (connection === undefined) throw new Error(`instance ${index} does not let anybody in, though all agree`)
    const reached = async (what: string, isTrue: () => boolean): Promise<void> => {
      while (!isTrue()) {
        if (now() > start + PROBE_MS) throw new Error(`all agree, but ${what}; the last frames of the one who tried:\n  ${connection.history.join('\n  ')}`)
        await delay(PAUSE_MS)
      }
    }
    connection.ask({ type: 'join', room })
    await reached(`instance ${index} does not let anybody join`, () => joined)
    for (const watcher of watchers) await reached(`the watcher of instance ${watcher.instance} was not told that ${room} was born`, () => watcher.last(room) === true)
    connection.ask({ type: 'leave' })
    await reached(`instance ${index} does not let anybody leave`, () => left)
    for (const watcher of watchers) await reached(`the watcher of instance ${watcher.instance} was not told that ${room} has ended`, () => watcher.last(room) === false)
    connection.close()
  }))
}

async function compare ({ cluster, clients, watchers, sessions }: Parties): Promise<{ rooms: Set<string>, differences: string[], whose: Session[] }> {
  const differences: string[] = []
  const whose: Session[] = []
  const model = new Map<string, string[]>()
  for (const { unrest, session } of clients) {
    if (unrest === undefined) continue
    differences.push(unrest)
    if (session !== undefined) whose.push(session)
  }
  const open = [...sessions.values()].filter(({ connection: { endedAt } }) => endedAt === Infinity)
  for (const { connection: { id }, view: { room } } of open) if (room !== undefined) model.set(room, [...model.get(room) ?? [], id])
  const { all: keys, lasting } = await cluster.keys()
  for (const key of lasting) differences.push(`${key} has no time to live`)
  const rooms = new Set(keys.flatMap(key => /:room:\{(.*)\}$/.exec(key)?.[1] ?? []))
  for (const room of new Set([...rooms, ...model.keys()])) {
    const stored = await cluster.rooms.find(room)
    const here = sorted(model.get(room) ?? [])
    if (sorted(stored?.members.keys() ?? []) !== here) differences.push(`${room}: Redis has ${named(sessions, stored?.members.keys() ?? [])}, connected are ${named(sessions, model.get(room) ?? [])}`)
    for (const session of open) {
      const { room: own, version, members, userId } = session.view
      if (own !== room || (sorted(members.keys()) === here && version === stored?.version)) continue
      whose.push(session)
      if (sorted(members.keys()) !== here) differences.push(`${room}: ${userId} knows ${named(sessions, members.keys())}, connected are ${named(sessions, model.get(room) ?? [])}`)
      else differences.push(`${room}: ${userId} is at version ${version}, Redis at ${stored?.version ?? 'none'}`)
    }
  }
  for (const watcher of watchers) {
    if (!watcher.isWatching) differences.push(`the watcher of instance ${watcher.instance} does not watch`)
    for (const room of watcher.differences(rooms)) differences.push(`the watcher of instance ${watcher.instance} was told that ${room} ${rooms.has(room) ? 'has ended' : 'was born'}; Redis says it ${rooms.has(room) ? 'lives' : 'does not live'}`)
  }
  await Promise.all(cluster.instances.map(async ({ index, url }) => {
    const health = await healthOf(url)
    if (health !== 'healthy') differences.push(`instance ${index} is ${health}`)
  }))
  return { rooms, differences, whose }
}

async function healthOf (url: string): Promise<string> {
  try {
    return (await (await fetch(`${url}/health`, { signal: AbortSignal.timeout(1000) })).json() as { status: string }).status
  } catch (error) {
    return `not to be reached (${(error as Error).message})`
  }
}

function sorted (ids: Iterable<string>): string { return [...ids].toSorted().join() }

function named (sessions: Sessions, ids: Iterable<string>): string {
  const names = Array.from(ids, id => `${sessions.get(id)?.view.userId ?? 'nobody who is connected'} (${id.slice(0, 8)})`)
  return names.length === 0 ? 'nobody' : names.toSorted().join(', ')
}
