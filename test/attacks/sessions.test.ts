/** Clients that have the server keep their places and what they miss, and do not come back. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Client } from '../harness/client.ts'
import { until } from '../harness/until.ts'
import { RawClient } from './raw-client.ts'
import { Siege } from './siege.ts'

/** Long enough for what is kept to be seen on a busy machine. */
const RESUME_WINDOW_MS = 4000
const MIB = 1024 * 1024
const GROWTH_LIMIT_MIB = 10
/** What is kept for one client: see docs/protocol.md. */
const KEPT_MIB = 1

const AWAY = 20
const LARGE = 'x'.repeat(60_000)
/** So many of these are more than twice what is kept. */
const LARGE_FOR_EACH = 40

/** MAX_CONNECTIONS_PER_USER. */
const MOST_OF_USER = 100
const INVALID = 400
const USERS = 20
const AT_ONCE = 20

void describe('Sessions that attack', { timeout: 120_000 }, () => {
  let siege: Siege
  let roomsBefore: number
  before(async () => {
    siege = await Siege.open({ RESUME_WINDOW_MS: String(RESUME_WINDOW_MS), MESSAGES_PER_SECOND: '0', BYTES_PER_SECOND: '0' })
    roomsBefore = await rooms()
  })
  after(async () => { await siege.close() })

  /** Comes, joins a room of its own and hangs up, again and again. Each room is there for as long as its member's place is kept. */
  async function comeAndGo (times: number, userOf: (n: number) => string, query: string): Promise<void> {
    let n = 0
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      while (n < times) {
        const room = `room-${n}`
        const client = await RawClient.open(siege.server.url, userOf(n++), query)
        await client.join(room)
        await client.end()
      }
    }))
  }
  const rooms = async (): Promise<number> => await siege.metric('turnip_active_rooms')

  test('What is said to clients that are away, or do not read, is kept up to 1 MiB for each, and what they were is freed', async t => {
    const room = 'away'
    const connectionsBefore = await siege.metric('turnip_active_connections')
    const speaker = await Client.open(siege.server.wsUrl, 'speaker')
    await speaker.join(room)
    const away = await Promise.all(Array.from({ length: AWAY }, async (_, i) => {
      const client = await RawClient.open(siege.server.url, `away-${i}`, '&resume=true')
      await client.join(room)
      if (i % 2 === 0) client.socket.pause()
      else await client.end()
      return client
    }))
    const toll = await siege.during(t, async () => {
      for (let i = 0; i < LARGE_FOR_EACH; i++) for (const { id } of away) speaker.send({ type: 'data', to: id, data: LARGE })
      await speaker.fence()
    })
    assert.deepEqual(speaker.all('error'), [], 'all are members yet')
    assert.ok(siege.growth(toll) < AWAY * KEPT_MIB + GROWTH_LIMIT_MIB, `${siege.growth(toll)} MiB are kept`)
    await Promise.all([speaker.close(), ...away.map(client => client.end())])
    await until('all sockets are closed', async () => await siege.metric('turnip_active_connections') === connectionsBefore)
  })

  test('Clients that come with sessions that are none, and hang up, are kept no more places than a user may have connections', async t => {
    const connectionsBefore = await siege.metric('turnip_active_connections')
    await comeAndGo(INVALID, () => 'mallory', `&session=${'A'.repeat(300)}.${'B'.repeat(43)}&seen=0`)
    await until('all sockets are closed', async () => await siege.metric('turnip_active_connections') === connectionsBefore)
    const kept = await rooms() - roomsBefore
    t.diagnostic(`${kept} places of ${INVALID} are kept`)
    assert.ok(kept <= MOST_OF_USER + 1, 'the room of those that are away may be there yet')
  })

  test(`${USERS * MOST_OF_USER} clients that hang up and do not come back leave nothing behind`, async t => {
    const toll = await siege.during(t, async () => {
      await comeAndGo(USERS * MOST_OF_USER, n => `user-${n % USERS}`, '&resume=true')
    })
    t.diagnostic(`${await rooms()} places are kept, with ${siege.growth(toll)} MiB`)
    await until('all are given up', async () => await rooms() === roomsBefore)
    const growth = ((await siege.memory()).live - siege.calm.memory.live) / MIB
    t.diagnostic(`${growth.toFixed(1)} MiB more than before all attacks`)
    assert.ok(growth < GROWTH_LIMIT_MIB)
  })
})
