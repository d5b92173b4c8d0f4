import { readFileSync } from 'node:fs'
import { ReplyError } from 'ioredis'
import type { RedisClient } from '../redis/connections.ts'
import type { Measure } from '../redis/measure.ts'
import { NotDone } from './presence.ts'

/** Each script runs whole, so concurrent instances see it happen at once or not at all. All its keys are in one slot of a Cluster. */
const keysOf = { join: 1, leave: 2, disband: 2, reconcile: 2, evict: 2, mark: 1, renew: 4 }

const sources = Object.entries(keysOf).map(([name, numberOfKeys]) =>
  ({ command: commandOf(name), lua: readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8'), numberOfKeys }))

type Argument = string | number

/** The scripts as they answer: bulk strings and integers. */
export interface Scripts {
  turnipJoin (key: string, ...args: Argument[]): Promise<null | 'full' | 'late' | [epoch: string, version: string, fields: string[], from: string]>
  turnipLeave (key: string, tombstones: string, ...args: Argument[]): Promise<null | [epoch: string, version: number, emptied: number, holders: string]>
  turnipDisband (key: string, tombstones: string, ...args: Argument[]): Promise<null | 'late' | [epoch: string, version: number, holders: string]>
  turnipReconcile (key: string, tombstones: string, ...args: Argument[]): Promise<
    ['late'] | ['disbanded', version: number] | ['gone'] |
    ['held', restored: number, changes: Array<string | number>, fields: string[]]>
  turnipEvict (key: string, tombstones: string, ...args: Argument[]): Promise<null | [epoch: string, emptied: number, holders: string, leaves: Array<string | number>]>
  turnipMark (key: string, ...args: Argument[]): Promise<'late' | 1>
  turnipRenew (...args: Argument[]): Promise<
    [lapsed: number, generation: string, now: string, instances: number, restored: number, nextEnd: number, reap: string[]]>
}

function commandOf (name: string): string {
  return `turnip${name.charAt(0).toUpperCase()}${name.slice(1)}`
}

/** Has a connection know the scripts. */
export function withScripts<R extends RedisClient> (redis: R): R & Scripts {
  for (const { command, ...script } of sources) redis.defineCommand(command, script)
  return redis as R & Scripts
}

const AWAY = new Error('There is no connection to Redis')

/** Runs one operation. @throws NotDone when it was not sent, or was refused: a script's first write decides for all */
export async function carryOut<T> (redis: RedisClient, measure: Measure, operation: string, run: () => Promise<T>): Promise<T> {
  try {
    return await measure(operation, async () => {
      if (redis.status !== 'ready') throw AWAY
      return await run()
    })
  } catch (error) {
    throw error === AWAY || error instanceof ReplyError ? new NotDone(error) : error
  }
}
