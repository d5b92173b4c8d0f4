/** Clients that come, do what clients do, and go in every way there is. */
import { Random } from '../chaos/random.ts'
import { deafWebSocket } from '../faults/raw-socket.ts'
import { askOnce } from '../fuzz/instance-figures.ts'
import { Client } from '../harness/client.ts'
import type { TurnipProcess } from '../harness/turnip-process.ts'

/** Clients that are there at a time. */
const CLIENTS = 24
const ROOMS = 12
/** Things that a client does before it goes. */
const ACTIONS = 12

/** What was done. */
export interface Counts { connections: number, refused: number, joins: number, messages: number }

/** Goes on until the signal. @throws when an instance does not do what it should */
export async function churn (instances: readonly TurnipProcess[], seed: number, signal: AbortSignal, counts: Counts): Promise<void> {
  await Promise.all(Array.from({ length: CLIENTS }, async (_, index) => {
    const random = new Random(seed, 'client', index)
    while (!signal.aborted) await live(random.pick(instances), `user-${index % (CLIENTS / 2)}`, random, counts)
  }))
}

/** One connection's life. */
async function live (instance: TurnipProcess, userId: string, random: Random, counts: Counts): Promise<void> {
  if (random.chance(0.1)) {
    counts.refused++
    await askOnce(`${instance.url}/ws?token=none`)
    return
  }
  counts.connections++
  if (random.chance(0.05)) {
    const socket = await deafWebSocket(instance.url, userId)
    socket.resetAndDestroy()
    return
  }
  const client = await Client.open(instance.wsUrl, userId, random.chance(0.3) ? { role: 'admin' } : {})
  const sent: Array<object | string> = []
  try {
    for (let actions = 1 + random.below(ACTIONS); actions > 0; actions--) sent.push(act(client, random, counts))
    if (random.chance(0.7)) await client.fence()
  } catch (error) {
    const heard = client.frames.map(frame => JSON.stringify(frame)).join(' ')
    throw new Error(`after ${JSON.stringify(sent.map(message => JSON.stringify(message).slice(0, 80)))}, and this heard: ${heard.slice(0, 3000)}`, { cause: error })
  } finally {
    const way = random.next()
    if (way < 0.5) await client.close()
    else if (way < 0.6) client.write(Buffer.from([0xff, 0xff]))
    client.socket.terminate()
  }
}

/** @returns what it has sent */
function act (client: Client, random: Random, counts: Counts): object | string {
  const message = choose(random)
  if (typeof message === 'object' && 'room' in message) counts.joins++
  if (typeof message === 'object' && 'data' in message) counts.messages++
  client.send(message)
  return message
}

function choose (random: Random): object | string {
  const kind = random.next()
  if (kind < 0.3) return { type: 'join', room: `room-${random.below(ROOMS)}` }
  if (kind < 0.75) return { type: 'data', data: 'x'.repeat(random.below(2000)), ...(random.chance(0.3) && { to: `user-${random.below(CLIENTS)}` }) }
  if (kind < 0.8) return { type: 'leave' }
  if (kind < 0.84) return { type: 'disband_room' }
  return random.pick<object | string>([{ type: 'watch' }, { type: 'unwatch' }, { type: 'refresh', token: 'none' }, { type: 'what' }, 'no JSON', { type: 'data' }])
}
