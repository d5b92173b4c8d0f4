import { setTimeout as delay } from 'node:timers/promises'
import type { Cluster } from './cluster.ts'
import type { PlannedFault } from './plan.ts'

/** How often subscribers are killed while they are, ms. */
const KILL_EVERY_MS = 250

/** Lets a fault strike, lasts, and heals it. Resolves once it is healed: what was killed serves again. */
export async function strike (cluster: Cluster, { kind, instance: index, lasts }: PlannedFault): Promise<void> {
  const instance = cluster.instance(index)
  switch (kind) {
    case 'calm':
      return await delay(lasts)
    case 'kill':
      await instance.kill()
      await delay(lasts)
      return await instance.start()
    case 'drain':
      await instance.stop()
      await delay(lasts)
      return await instance.start()
    case 'freeze':
    case 'freeze-shortly':
      instance.signal('SIGSTOP')
      await delay(lasts)
      return instance.signal('SIGCONT')
    case 'cut':
      await instance.link.cut()
      break
    case 'blackhole':
      instance.link.blackhole()
      break
    case 'cut-subscriber':
      instance.link.hitSubscriber('cut')
      break
    case 'blackhole-subscriber':
      instance.link.hitSubscriber('blackholed')
      break
    case 'kill-subscribers':
      return await repeatedly(lasts, async () => { await cluster.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub') })
    case 'flush-scripts':
      return await repeatedly(lasts, async () => { await cluster.redis.script('FLUSH') })
    case 'freeze-redis':
    case 'freeze-redis-shortly':
      cluster.freezeRedis()
      await delay(lasts)
      return cluster.thawRedis()
    case 'restart-redis':
      await cluster.killRedis()
      await delay(lasts)
      return await cluster.replaceRedis()
  }
  await delay(lasts)
  await instance.link.heal()
}

async function repeatedly (lasts: number, act: () => Promise<void>): Promise<void> {
  for (const end = performance.now() + lasts; ;) {
    await act()
    if (performance.now() + KILL_EVERY_MS > end) return
    await delay(KILL_EVERY_MS)
  }
}
