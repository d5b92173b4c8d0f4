import { setMaxListeners } from 'node:events'
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises'
import { Cluster, Redis } from 'ioredis'
import type { RedisConnections } from './connections.ts'
import { cut } from './cut.ts'
import type { MasterLocator } from './locator.ts'

/** How often connections are looked at, ms. */
export const PROBE_EVERY_MS = 5000

export interface Probe { stop (): void }

/**
 * Finds connections that look alive and are not: a Redis that hangs keeps them open and answers nothing. Within the deadline
 * some byte has to come, or the connection is cut; it is then made anew as after any other loss.
 * @param deadlineMs for an answer to PING, and for what goes to and fro before a connection is ready
 */
export function startProbe ({ commands, subscriber, masters }: RedisConnections, deadlineMs: number): Probe {
  const stopped = new AbortController()
  const { signal } = stopped
  setMaxListeners(0, signal) // one a connection that is looked at, and connections that break come quickly after each other
  watchOpening(subscriber, deadlineMs, signal)
  if (commands instanceof Redis) watchOpening(commands, deadlineMs, signal)
  else watchNodes(commands)
  const timer = setInterval(() => {
    const nodes = commands instanceof Redis ? [commands] : commands.nodes()
    for (const client of [...nodes, subscriber]) void ping(client, deadlineMs, signal)
    for (const [client, locator] of masters) void follow(client, locator)
    if (commands instanceof Cluster) lookAround(commands)
  }, PROBE_EVERY_MS)
  timer.unref()
  return {
    stop: () => {
      clearInterval(timer)
      stopped.abort()
    }
  }
}

async function ping (client: Redis, deadlineMs: number, signal: AbortSignal): Promise<void> {
  if (client.status !== 'ready') return
  client.ping().catch(() => {}) // a refusal is a sign of life, too
  await expectLife(client, deadlineMs, signal)
}

/** A server that hangs takes connections as well: its kernel does. */
function watchOpening (client: Redis, deadlineMs: number, signal: AbortSignal): void {
  client.on('connect', () => { void expectReady(client, deadlineMs, signal) })
}

async function expectReady (client: Redis, deadlineMs: number, signal: AbortSignal): Promise<void> {
  const { stream } = client
  while (client.status === 'connect' && client.stream === stream && !signal.aborted) await expectLife(client, deadlineMs, signal)
}

/** A node that is gone may have left its slots to another. */
function watchNodes (cluster: Cluster): void {
  cluster.on('-node', () => { if (cluster.status === 'ready') lookAround(cluster) })
}

/** Asks the nodes who holds what. ioredis calls a Cluster ready of which no node answers: it finds out at the next command. */
function lookAround (cluster: Cluster): void {
  if (cluster.status !== 'ready') return
  cluster.refreshSlotsCache(error => {
    if (error instanceof Error && error.name === 'ClusterAllFailedError' && cluster.status === 'ready') cluster.disconnect(true)
  })
}

/** Cuts a connection on which nothing arrives within the deadline. */
async function expectLife (client: Redis, deadlineMs: number, signal: AbortSignal): Promise<void> {
  const { stream } = client
  const before = stream.bytesRead
  try {
    await delay(deadlineMs, undefined, { signal, ref: false })
    // This process may have been stopped itself: what has come meanwhile is read first.
    await turn(undefined, { signal })
    await turn(undefined, { signal })
  } catch {
    return // stopped
  }
  if (stream === client.stream && !stream.destroyed && stream.bytesRead === before) cut(client)
}

/** Goes where sentinels have the master now, even if the former one still answers: it may be cut off from the rest. */
async function follow (client: Redis, locator: MasterLocator): Promise<void> {
  if (client.status === 'ready' && await locator.hasMoved()) cut(client)
}
