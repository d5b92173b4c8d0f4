/** Clients that do not take what they are sent. */
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { after, before, describe, test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Client } from '../harness/client.ts'
import { startTcpProxy } from '../harness/tcp-proxy.ts'
import { tokenFor } from '../harness/token.ts'
import { startTurnip } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'
import { RawClient } from './raw-client.ts'
import { Siege } from './siege.ts'

/** Short ones, unless the defaults are to be measured: PING_INTERVAL_MS=25000 PONG_TIMEOUT_MS=10000 npx tsx --test … */
const { PING_INTERVAL_MS = '4000', PONG_TIMEOUT_MS = '2000' } = process.env
const HALF_OPEN_LIMIT_MS = Number(PING_INTERVAL_MS) + Number(PONG_TIMEOUT_MS) + 5000
const HALF_OPEN_CLIENTS = 20
/** How soon a reader that is too slow is gone, ms. */
const SLOW_LIMIT_MS = 10_000
const GROWTH_LIMIT_MIB = 10
const MIB = 1024 * 1024
const DRIBBLE_BYTES_PER_SECOND = 1024

const LARGE = 'x'.repeat(60_000)
/** What the kernel takes (about 4 MiB) and, after it, more than SEND_BUFFER_BYTES, in so many messages of each speaker. */
const FILL = 22
/** What fills four times that, too: such a reader is cut off at once. */
const FLOOD = 50
/** After that, so much goes on to be said every so often. */
const SMALL = 'x'.repeat(8000)
const SMALL_EVERY_MS = 100
/** When all that is to wait for them waits, ms. */
const MEASURED_AT_MS = 3000

void describe('Readers that do not read', { timeout: 120_000 }, () => {
  let siege: Siege
  before(async () => { siege = await Siege.open() })
  after(async () => { await siege.close() })

  /** Members of a room who say a lot to the user `victim`. */
  async function speakers (t: TestContext, room: string): Promise<{ witnesses: [Client, Client], say: (times: number) => void }> {
    const all = await Promise.all(Array.from({ length: 4 }, async (_, i) => await Client.open(siege.server.wsUrl, `speaker-${i}`)))
    for (const speaker of all) await speaker.join(room)
    let timer: NodeJS.Timeout | undefined
    t.after(async () => {
      clearInterval(timer)
      await Promise.all(all.map(speaker => speaker.close()))
    })
    const [first, second] = all
    assert.ok(first && second)
    return {
      witnesses: [first, second],
      say: times => {
        for (const speaker of all) for (let i = 0; i < times; i++) speaker.send({ type: 'data', to: 'victim', data: LARGE })
        timer = setInterval(() => { first.send({ type: 'data', to: 'victim', data: SMALL }) }, SMALL_EVERY_MS)
      }
    }
  }

  async function victim (room: string, url = siege.server.url): Promise<RawClient> {
    const client = await RawClient.open(url, 'victim')
    await client.join(room)
    return client
  }

  /** Waits until a member is told that another has left. */
  async function gone (t: TestContext, what: string, witness: Client, { id }: RawClient, since: number): Promise<void> {
    await witness.upTo(frame => frame.type === 'user_left' && frame.data.connection_id === id)
    const took = performance.now() - since
    t.diagnostic(`${what} was gone after ${(took / 1000).toFixed(1)} s`)
    assert.ok(took < SLOW_LIMIT_MS, `${what} was gone after ${took} ms`)
  }

  test('One that is frozen in a flood is cut off at once', async t => {
    const room = 'flooded'
    const { witnesses: [witness], say } = await speakers(t, room)
    const frozen = await victim(room)
    const toll = await siege.during(t, async () => {
      frozen.socket.pause()
      say(FLOOD)
      await gone(t, 'a reader frozen in a flood', witness, frozen, performance.now())
    })
    assert.ok(siege.growth(toll) < GROWTH_LIMIT_MIB)
    await frozen.end()
  })

  test('One that is frozen, and one that takes 1 KiB a second, are closed within 10 s, and little waits for them', async t => {
    const room = 'slow'
    const proxy = await startTcpProxy(Number(new URL(siege.server.url).port))
    t.after(() => proxy.close())
    const { witnesses, say } = await speakers(t, room)
    const [frozen, dribbling] = [await victim(room), await victim(room, `http://127.0.0.1:${proxy.port}`)]
    const descriptors = await siege.metric('process_open_fds') // of Linux alone
    const before = await siege.memory()
    const start = performance.now()
    await siege.during(t, async () => {
      proxy.throttle(DRIBBLE_BYTES_PER_SECOND)
      frozen.socket.pause()
      say(FILL)
      const ends = Promise.all([gone(t, 'a frozen reader', witnesses[0], frozen, start), gone(t, 'a dribbling reader', witnesses[1], dribbling, start)])
      await sleep(MEASURED_AT_MS)
      const growth = ((await siege.memory()).live - before.live) / MIB
      t.diagnostic(`${growth.toFixed(1)} MiB are held for two slow readers`)
      assert.ok(growth < 2 * GROWTH_LIMIT_MIB, `${growth} MiB are held for two slow readers`)
      await ends
    })
    await until('their sockets are closed', async () => !(await siege.metric('process_open_fds') > descriptors - 2))
    t.diagnostic(`their sockets were closed after ${((performance.now() - start) / 1000).toFixed(1)} s`)
    await Promise.all([frozen, dribbling].map(client => client.end()))
  })
})

test(`Clients that are stopped are gone when they answer no ping (PING_INTERVAL_MS=${PING_INTERVAL_MS}, PONG_TIMEOUT_MS=${PONG_TIMEOUT_MS})`, async t => {
  const server = await serving(await startTurnip({ env: { PING_INTERVAL_MS, PONG_TIMEOUT_MS } }))
  t.after(() => server.stop())
  const urls = Array.from({ length: HALF_OPEN_CLIENTS }, (_, i) => `${server.wsUrl}?token=${tokenFor(`still-${i}`)}`)
  const still = fork(fileURLToPath(new URL('still-clients.js', import.meta.url)), urls)
  t.after(() => still.kill('SIGKILL'))
  await once(still, 'message')
  const witness = await Client.open(server.wsUrl, 'witness')
  await witness.join('half-open')
  still.kill('SIGSTOP')
  const start = performance.now()
  const times: number[] = []
  while (times.length < HALF_OPEN_CLIENTS) {
    await witness.next('user_left', HALF_OPEN_LIMIT_MS)
    times.push((performance.now() - start) / 1000)
  }
  t.diagnostic(`${HALF_OPEN_CLIENTS} stopped clients were gone after ${times[0]?.toFixed(1)} to ${times.at(-1)?.toFixed(1)} s`)
  assert.ok(performance.now() - start < HALF_OPEN_LIMIT_MS)
  await witness.close()
})
