import type { ProtocolName } from '../protocols/index.ts'

/** What a driver is asked to do, sent to it as a message. */
export interface Job {
  readonly protocol: ProtocolName
  /** One for each instance of the server; members of a room are spread over them. */
  readonly ports: readonly number[]
  /** Processes whose CPU time and memory are charged, by what they are. */
  readonly pids: { readonly server: readonly number[], readonly redis: readonly number[] }
  readonly work: Work
  /** How long any part of it may take. */
  readonly limitMs: number
}

/** Connections that stand by and say nothing. */
export interface Idle { readonly connections: number, readonly roomSize: number }

export type Work =
  /** Each pair trades an offer, an answer and ten candidates each way, `rounds` times. */
  | { readonly kind: 'exchange', readonly pairs: number, readonly rounds: number, readonly warmUp: number, readonly idle: Idle }
  /** One member of each room speaks to all others. */
  | { readonly kind: 'fan-out', readonly rooms: number, readonly size: number, readonly messages: number, readonly warmUp: number, readonly bytes: number, readonly idle: Idle }
  /** Two connect and join, trade an exchange, close; so many calls, so many at a time. */
  | { readonly kind: 'full', readonly calls: number, readonly warmUp: number, readonly atOnce: number }
  /** What a connection holds that is in a room of two: the memory of `connections`, opened where `before` stand already. */
  | { readonly kind: 'memory', readonly before: number, readonly connections: number, readonly restMs: number }

export interface Measure {
  /** Messages delivered, calls made or connections held. */
  readonly operations: number
  readonly seconds: number
  /** CPU µs of one operation, by process. */
  readonly cpuUs: { readonly server: number, readonly redis: number }
  /** From the write of a message to the read of it, ms; absent where nothing is sent. */
  readonly p50Ms?: number
  readonly p99Ms?: number
  /** KB of a connection. */
  readonly kb?: number
}

/** What a driver answers. */
export type Outcome = { readonly measure: Measure } | { readonly error: string }
