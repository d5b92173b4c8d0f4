/** Two real instances on a real Redis under churn, which afterwards hold what they held before: nothing is left of anybody. */
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Redis } from 'ioredis'
import { descriptorsOf, figuresOf, findingsOf } from '../fuzz/instance-figures.ts'
import { RedisRooms } from '../harness/redis-rooms.ts'
import { startRedisServer } from '../harness/redis-server.ts'
import { createListeningParser, launch, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'
import { churn, type Counts } from './churn.ts'

/** Code is compiled, pools and caches are filled in this time at first, ms: that is no leak. */
const WARM_UP_MS = 8000
/** How long after the last client what is left may take to go, ms: closing handshakes, tombstones, connections to a peer that is gone. */
const IDLE_MS = 25_000
/** The heap is measured after collection, but compiled code and statistics come and go, bytes. */
const HEAP_SLACK = 3 * 1024 * 1024
/** Short, so that tombstones (four leases) are gone soon; long enough for a busy machine. */
const LEASE_MS = 1500

/** What an instance holds. */
interface Held {
  readonly descriptors: number,
  readonly heap: number,
  readonly external: number,
  readonly emitters: number,
  readonly listeners: number,
  readonly timers: number
  readonly resources: Readonly<Record<string, number>>
}
/** What the whole of it holds. */
interface Holdings { readonly instances: readonly Held[], readonly redis: { readonly dbsize: number, readonly keys: readonly string[], readonly channels: number, readonly clients: number } }

export interface SoakOptions {
  readonly ms: number
  readonly seed: number
  readonly built: boolean
  /** Told now and then how it goes. */
  readonly onProgress?: (line: string) => void
}

export interface Outcome { readonly failure: string | undefined, readonly summary: string }

/** Plays it. @throws when an instance does not do what it should; what is left over is the outcome */
export async function runSoak ({ ms, seed, built, onProgress = () => {} }: SoakOptions): Promise<Outcome> {
  const redis = await startRedisServer()
  const rooms = new RedisRooms(redis.url)
  const store = new Redis(redis.url)
  const instances: TurnipProcess[] = []
  try {
    for (let i = 0; i < 2; i++) instances.push(await startWatched(redis.url, i, built))
    for (const instance of instances) await serving(instance)
    const measure = async (): Promise<Holdings> => {
      await until('all clients are gone', async () => {
        const figures = await Promise.all(instances.map(figuresOf))
        return figures.every(({ connections, rooms }) => connections === 0 && rooms === 0)
      })
      const held = await Promise.all(instances.map(heldBy))
      const clients = String(await store.client('LIST')).trim().split('\n').length
      return { instances: held, redis: { dbsize: await store.dbsize(), keys: (await rooms.keys()).toSorted(), channels: (await store.pubsub('CHANNELS') as string[]).length, clients } }
    }
    let start = performance.now()
    const counts: Counts = { connections: 0, refused: 0, joins: 0, messages: 0 }
    const told = setInterval(() => { if (counts.connections > 0) onProgress(`${((performance.now() - start) / 1000).toFixed(0)} s: ${countsText(counts)}`) }, 10_000)
    try {
      onProgress('warming up')
      await churn(instances, seed, AbortSignal.timeout(WARM_UP_MS), { ...counts })
      const before = await idle(measure)
      onProgress(`before: ${textOf(before)}`)
      start = performance.now()
      await churn(instances, seed + 1, AbortSignal.timeout(ms), counts)
      const { after, surplus } = await settled(measure, before)
      const [noise] = instances.flatMap(({ logs }) => findingsOf(logs))
      const summary = `${countsText(counts)} in ${(ms / 1000).toFixed(0)} s.\nbefore: ${textOf(before)}\nafter:  ${textOf(after)}`
      return { failure: surplus.length > 0 ? `Left over: ${surplus.join('; ')}` : noise && `an instance has logged ${noise}`, summary }
    } finally {
      clearInterval(told)
    }
  } finally {
    rooms.drop()
    store.disconnect()
    await Promise.all(instances.map(instance => instance.stop('SIGKILL')))
    await redis.kill()
  }
}

async function startWatched (redisUrl: string, index: number, built: boolean): Promise<TurnipProcess> {
  const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
  const program = built ? [file('../../dist/server.js')] : ['--import', import.meta.resolve('tsx'), file('../../src/server.ts')]
  return await launch(['--expose-gc', '--disable-warning=ExperimentalWarning', '--import', new URL('preload.js', import.meta.url).href, ...program], createListeningParser(), {
    env: { REDIS_URL: redisUrl, INSTANCE_ID: `soak-${index}`, LEASE_MS: String(LEASE_MS) }
  })
}

/** Asks an instance what it holds after a collection of its garbage. */
async function heldBy (instance: TurnipProcess): Promise<Held> {
  const { logs } = instance
  const reports = (): string[] => logs.filter(line => line.startsWith('{"soak"'))
  const known = reports().length
  instance.signal('SIGUSR2')
  await until('an instance says what it holds', async () => reports().length > known)
  const { soak } = JSON.parse(reports().at(-1) ?? '') as { soak: Omit<Held, 'descriptors'> }
  return { ...soak, descriptors: await descriptorsOf(instance.pid) }
}

/** Waits until two measurements in a row are the same, but for the heap. */
async function idle (measure: () => Promise<Holdings>): Promise<Holdings> {
  const deadline = performance.now() + IDLE_MS
  let last = await measure()
  for (;;) {
    await delay(1500)
    const next = await measure()
    if (surplusOf(next, last).length + surplusOf(last, next).length === 0 || performance.now() > deadline) return next
    last = next
  }
}

/** Waits until no more is held than before. @returns what is more, in the end */
async function settled (measure: () => Promise<Holdings>, before: Holdings): Promise<{ after: Holdings, surplus: string[] }> {
  const deadline = performance.now() + IDLE_MS
  for (;;) {
    const after = await measure()
    const surplus = surplusOf(after, before)
    if (surplus.length === 0 || performance.now() > deadline) return { after, surplus }
    await delay(1000)
  }
}

function surplusOf (after: Holdings, before: Holdings): string[] {
  const surplus: string[] = []
  const compare = (what: string, now: number, then: number, slack = 0): void => {
    if (now > then + slack) surplus.push(`${what}: ${now}, which was ${then}`)
  }
  for (const [i, held] of after.instances.entries()) {
    const then = before.instances[i]
    if (then === undefined) continue
    for (const name of ['descriptors', 'emitters', 'listeners', 'timers'] as const) compare(`${name} of instance ${i}`, held[name], then[name])
    compare(`heap of instance ${i}, bytes`, held.heap, then.heap, HEAP_SLACK)
    compare(`external memory of instance ${i}, bytes`, held.external, then.external, HEAP_SLACK)
    // These come and go with commands to Redis and with the measurement itself; `timers` has all timers.
    for (const [name, count] of Object.entries(held.resources)) if (!['Timeout', 'Immediate'].includes(name)) compare(`${name} of instance ${i}`, count, then.resources[name] ?? 0)
  }
  for (const name of ['dbsize', 'channels', 'clients'] as const) compare(`${name} of Redis`, after.redis[name], before.redis[name])
  for (const key of after.redis.keys) if (!before.redis.keys.includes(key)) surplus.push(`key ${key}`)
  return surplus
}

function countsText ({ connections, refused, joins, messages }: Counts): string {
  return `${connections} connections, ${refused} refused, ${joins} joins, ${messages} messages`
}

function textOf ({ instances, redis }: Holdings): string {
  const mib = (bytes: number): string => (bytes / 1024 / 1024).toFixed(2)
  const held = instances.map(({ descriptors, heap, external, emitters, listeners, timers, resources }) =>
    `${descriptors} fds, heap ${mib(heap)} MiB, external ${mib(external)} MiB, ${emitters} emitters with ${listeners} listeners, ${timers} timers, ${Object.values(resources).reduce((sum, count) => sum + count, 0)} active resources`)
  return `${held.join(' | ')} | Redis: ${redis.dbsize} keys, ${redis.channels} channels, ${redis.clients} clients`
}
