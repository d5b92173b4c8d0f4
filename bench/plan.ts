/** What is measured: each work, at whom, and what its figure is held against. */
import type { Work } from './driver/job.ts'
import type { Deployment, ServerName } from './subjects.ts'

/** How long everything takes: `full` for figures, `quick` for a look, `tiny` for the tests of this benchmark. */
export type Size = 'full' | 'quick' | 'tiny'

export interface Goal {
  /** Turnip's figure is divided by that of this server, of the same round; its own where none is named. */
  readonly server?: ServerName
  /** Of this work, where it is another. */
  readonly work?: WorkName
  readonly atMost: number
}

export interface Step {
  readonly title: string
  readonly servers: readonly ServerName[]
  readonly deployment: Deployment
  readonly work: (size: Size) => Work
  readonly unit: typeof MESSAGE | typeof CALL | typeof CONNECTION
  readonly goal?: Goal
  /** Left out of a quick run. */
  readonly isLong?: true
}

const MESSAGE = 'CPU µs a message'
const CALL = 'CPU µs a call'
const CONNECTION = 'KB a connection'

const ALONE: Deployment = { instances: 1, redis: false }

/** Rounds of work, by size, and how many come before them that are not measured: the compiler has its fill then, or most of it. */
function times (full: number, size: Size): { measured: number, warmUp: number } {
  const half = Math.ceil(full / 2)
  const eighth = Math.ceil(full / 8)
  return { full: { measured: full, warmUp: half }, quick: { measured: eighth, warmUp: eighth }, tiny: { measured: Math.ceil(full / 100), warmUp: 1 } }[size]
}

function exchange (pairs: number, full: number, idle = 0): Step['work'] {
  return size => {
    const { measured, warmUp } = times(full, size)
    return { kind: 'exchange', pairs, rounds: measured, warmUp, idle: { connections: idle, roomSize: 1 } }
  }
}

function fanOut (rooms: number, members: number, full: number, idle = 0): Step['work'] {
  return size => {
    const { measured, warmUp } = times(full, size)
    return { kind: 'fan-out', rooms, size: members, messages: measured, warmUp, bytes: 200, idle: { connections: idle, roomSize: 2 } }
  }
}

function fullCalls (full: number): Step['work'] {
  return size => {
    const { measured, warmUp } = times(full, size)
    return { kind: 'full', calls: measured, warmUp, atOnce: 50 }
  }
}

/** The works in the order in which they run. Counts are such that the bare relay has 2 s of work. */
export const steps = {
  exchange: {
    title: 'exchange: pairs trade offer, answer (2.4 KB) and 20 candidates',
    servers: ['ws', 'turnip', 'sessions', 'peerjs', 'socketio'],
    deployment: ALONE,
    unit: MESSAGE,
    work: exchange(100, 160),
    goal: { server: 'ws', atMost: 1.0 }
  },
  'fan-out-10': {
    title: 'fan-out, rooms of 10, 200 B', servers: ['ws', 'turnip', 'socketio'], deployment: ALONE, unit: MESSAGE, work: fanOut(20, 10, 1600), isLong: true
  },
  'fan-out-50': {
    title: 'fan-out, rooms of 50, 200 B',
    servers: ['ws', 'turnip', 'socketio'],
    deployment: ALONE,
    unit: MESSAGE,
    work: fanOut(4, 50, 1600),
    goal: { server: 'ws', atMost: 0.3 }
  },
  'fan-out-500': {
    title: 'fan-out, a room of 500, 200 B', servers: ['ws', 'turnip', 'socketio'], deployment: ALONE, unit: MESSAGE, work: fanOut(1, 500, 640), isLong: true
  },
  'across-2': {
    title: 'exchange across two instances and Redis',
    servers: ['ws', 'turnip', 'socketio'],
    deployment: { instances: 2, redis: true },
    unit: MESSAGE,
    work: exchange(100, 40),
    goal: { server: 'ws', atMost: 0.75 }
  },
  'across-3': {
    title: 'exchange across three instances and Redis, as many pairs an instance, against two',
    servers: ['ws', 'turnip'],
    deployment: { instances: 3, redis: true },
    unit: MESSAGE,
    work: exchange(150, 40),
    goal: { work: 'across-2', atMost: 1.1 },
    isLong: true
  },
  full: {
    title: 'full call: 2 × connect, token, join, exchange, close',
    servers: ['ws', 'turnip', 'sessions', 'peerjs', 'socketio'],
    deployment: ALONE,
    unit: CALL,
    work: fullCalls(4800),
    goal: { server: 'ws', atMost: 1.2 }
  },
  'full-redis': {
    title: 'full call, rooms in Redis',
    servers: ['turnip'],
    deployment: { instances: 1, redis: true },
    unit: CALL,
    work: fullCalls(4800),
    goal: { server: 'ws', work: 'full', atMost: 1.5 }
  },
  memory: {
    title: 'an idle connection in a room of 2',
    servers: ['ws', 'turnip', 'sessions', 'peerjs', 'socketio'],
    deployment: ALONE,
    unit: CONNECTION,
    work: size => size === 'tiny'
      ? { kind: 'memory', before: 100, connections: 200, restMs: 100 }
      : { kind: 'memory', before: 2000, connections: size === 'full' ? 8000 : 4000, restMs: size === 'full' ? 3000 : 1000 },
    goal: { server: 'ws', atMost: 1.12 }
  },
  'idle-1000': {
    title: 'fan-out, rooms of 50, beside 1,000 idle connections, against none',
    servers: ['ws', 'turnip'],
    deployment: ALONE,
    unit: MESSAGE,
    work: fanOut(4, 50, 1600, 1000),
    goal: { work: 'fan-out-50', atMost: 1.1 },
    isLong: true
  },
  'idle-8000': {
    title: 'fan-out, rooms of 50, beside 8,000 idle connections, against none',
    servers: ['ws', 'turnip'],
    deployment: ALONE,
    unit: MESSAGE,
    work: fanOut(4, 50, 1600, 8000),
    goal: { work: 'fan-out-50', atMost: 1.1 },
    isLong: true
  },
  'rooms-10': {
    title: 'exchange, 10 pairs, 10 rooms in all', servers: ['ws', 'turnip'], deployment: ALONE, unit: MESSAGE, work: exchange(10, 600), isLong: true
  },
  'rooms-1000': {
    title: 'exchange, 10 pairs, 1,000 rooms in all, against 10',
    servers: ['ws', 'turnip'],
    deployment: ALONE,
    unit: MESSAGE,
    work: exchange(10, 600, 990),
    goal: { work: 'rooms-10', atMost: 1.1 },
    isLong: true
  },
  'rooms-10000': {
    title: 'exchange, 10 pairs, 10,000 rooms in all, against 10',
    servers: ['ws', 'turnip'],
    deployment: ALONE,
    unit: MESSAGE,
    work: exchange(10, 600, 9990),
    goal: { work: 'rooms-10', atMost: 1.1 },
    isLong: true
  }
} as const satisfies Record<string, PlannedStep>
/** A step whose goal may name any work: the names come from the table itself. */
type PlannedStep = Omit<Step, 'goal'> & { goal?: Omit<Goal, 'work'> & { work?: string } }
export type WorkName = keyof typeof steps
export const workNames = Object.keys(steps) as WorkName[]

export function stepOf (name: WorkName): Step {
  return steps[name]
}
