import { setTimeout as sleep } from 'node:timers/promises'
import type { TurnipProcess } from './turnip-process.ts'

const LIMIT_MS = 15_000
const PAUSE_MS = 10

/** Asks again and again: for what comes with no event that a test could wait for. @throws when it does not come true */
export async function until (what: string, isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + LIMIT_MS
  while (!await isTrue()) {
    if (Date.now() > deadline) throw new Error(`it never came to this: ${what}`)
    await sleep(PAUSE_MS)
  }
}

/** Waits until an instance lets clients in: it listens before it has reached Redis. */
export async function serving (instance: TurnipProcess): Promise<TurnipProcess> {
  await until('an instance serves', async () => (await fetch(`${instance.url}/health`)).ok)
  return instance
}
