/** Clients with a right token that send more than they may: they are read more slowly, and nobody else is. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '../harness/client.ts'
import { frameBytes, opcodes, RawClient } from './raw-client.ts'
import { Siege } from './siege.ts'

/** As they stand by default. */
const MESSAGES_PER_SECOND = 100
const BURST = 10 * MESSAGES_PER_SECOND
const FLOODERS = 5
const FLOOD_MS = 2000
/** As many connections as one user may have in one room, by half. */
const CROWD = 50
const MIB = 1024 * 1024
const GROWTH_LIMIT_MIB = 20
/** What a burst brings, what the rate lets through, and what the kernel holds for a client that is not read. */
const NETWORK_MIB = 24

void describe('Floods', { timeout: 120_000 }, () => {
  let siege: Siege
  before(async () => { siege = await Siege.open() })
  after(async () => { await siege.close() })

  const open = async (userId: string): Promise<RawClient> => await RawClient.open(siege.server.url, userId)

  test('A burst of 1,000 messages in one write is carried out at once, what follows at the rate, and every message arrives in order', async t => {
    const [flooder, sink] = await Promise.all([open('flooder'), Client.open(siege.server.wsUrl, 'sink')])
    await sink.join('burst')
    await flooder.join('burst')
    const messages = (from: number, count: number): Buffer => Buffer.concat(Array.from({ length: count }, (_, i) => frameBytes(`{"type":"data","data":${from + i}}`)))
    const arrival = async (n: number): Promise<number> => {
      await sink.upTo(frame => frame.type === 'data' && frame.data === n)
      return (performance.now() - start) / 1000
    }
    const more = 4 * MESSAGES_PER_SECOND
    let start = 0
    await siege.during(t, async () => {
      start = performance.now()
      await flooder.write(messages(0, BURST))
      const burst = await arrival(BURST - 1)
      await flooder.write(messages(BURST, more))
      const all = await arrival(BURST + more - 1)
      t.diagnostic(`${BURST} messages had arrived after ${burst.toFixed(2)} s, ${more} more after ${all.toFixed(2)} s`)
      assert.ok(burst < 3, `${burst} s`)
      assert.ok(all > 3 && all < 10, `${all} s`)
    })
    assert.deepEqual(sink.all('data').map(({ data }) => data), Array.from({ length: BURST + more }, (_, i) => i))
    await Promise.all([flooder.end(), sink.close()])
  })

  test('Of a flood whose clients hang up, nothing is carried out beyond the rate', async t => {
    const refused = async (): Promise<number> => await siege.metric('turnip_messages_received_total{realm="development",message_type="other"}')
    const before = await refused()
    await siege.during(t, async () => {
      const flooders = await Promise.all(Array.from({ length: FLOODERS }, async () => await open('short')))
      const start = performance.now()
      for (const { socket } of flooders) socket.write(many(100_000, frameBytes('x')))
      await Promise.all(flooders.map(flooder => flooder.got(text => text.includes('bad_json'))))
      await sleep(500)
      for (const { socket } of flooders) socket.destroy()
      await Client.open(siege.server.wsUrl, 'behind').then(client => client.close())
      const limit = FLOODERS * (BURST + MESSAGES_PER_SECOND * ((performance.now() - start) / 1000 + 1))
      const handled = await refused() - before
      t.diagnostic(`${handled} of ${FLOODERS * 100_000} messages were handled`)
      assert.ok(handled < limit, `${handled} messages`)
    })
  })

  test(`${CROWD} connections of one user that say ${BURST} things at once in one room hold up nobody else`, async t => {
    const crowd = await Promise.all(Array.from({ length: CROWD }, async () => await open('crowd')))
    for (const client of crowd) await client.join('crowd')
    await siege.during(t, async () => {
      for (const { socket } of crowd) socket.write(many(BURST, frameBytes('{"type":"data","data":1}')))
      const start = performance.now()
      await (await fetch(`${siege.server.url}/health/live`)).text()
      t.diagnostic(`/health/live answered after ${Math.round(performance.now() - start)} ms`)
      await sleep(FLOOD_MS)
    })
    for (const { socket } of crowd) socket.destroy()
  })

  const many = (count: number, ...frames: Buffer[]): Buffer => Buffer.concat(Array.from({ length: count }, () => frames).flat())
  const empty = (fin: boolean): Buffer => frameBytes('', { opcode: opcodes.continuation, fin })

  /** What is sent without end, so much in one write. */
  const floods: Array<[what: string, bytes: Buffer]> = [
    ['small messages', many(1000, frameBytes('{"type":"data","data":1}'))],
    ['large messages', many(10, frameBytes(`{"type":"data","data":"${'x'.repeat(60_000)}"}`))],
    ['messages that are refused', many(1000, frameBytes('x'))],
    ['pings', many(1000, frameBytes('', { opcode: opcodes.ping }))],
    ['pongs that nobody asked for', many(1000, frameBytes('', { opcode: opcodes.pong }))],
    ['messages in empty fragments', many(10, frameBytes('', { fin: false }), ...Array.from({ length: 62 }, () => empty(false)), empty(true))]
  ]

  for (const [what, bytes] of floods) {
    test(`A flood of ${what} is slowed down`, async t => {
      const pairs = await Promise.all(Array.from({ length: FLOODERS }, async (_, i) => {
        const room = `${what.replaceAll(' ', '-')}-${i}`
        const [flooder, listener] = await Promise.all([open(`flooder-${i}`), open(`listener-${i}`)])
        await flooder.join(room)
        await listener.join(room)
        return { flooder, listener }
      }))
      let growth = 0
      await siege.during(t, async () => {
        const end = performance.now() + FLOOD_MS
        const work = pairs.map(async ({ flooder: { socket } }) => {
          while (performance.now() < end && !socket.destroyed) {
            if (socket.writableLength < bytes.length) socket.write(bytes)
            await sleep(1)
          }
          return (socket.bytesWritten - socket.writableLength) / MIB
        })
        await sleep(FLOOD_MS / 2)
        growth = siege.growth({ memory: await siege.memory() })
        const taken = await Promise.all(work)
        const effects = pairs.map(({ flooder, listener }) => sumOf(flooder) + sumOf(listener))
        t.diagnostic(`of ${FLOODERS} clients up to ${Math.max(...taken).toFixed(1)} MiB went into the network, up to ${Math.max(...effects)} frames came of it; +${growth} MiB meanwhile`)
        const seconds = (performance.now() - end + FLOOD_MS) / 1000 + 1
        assert.ok(Math.max(...effects) < BURST + MESSAGES_PER_SECOND * seconds + MESSAGES_PER_SECOND, `${Math.max(...effects)} frames`)
        assert.ok(Math.max(...taken) < NETWORK_MIB, `${Math.max(...taken)} MiB`)
      })
      assert.ok(growth < GROWTH_LIMIT_MIB, `${growth} MiB`)
      await Promise.all(pairs.flatMap(({ flooder, listener }) => [flooder.end(), listener.end()]))
    })
  }
})

function sumOf ({ counts }: RawClient): number { return Object.values(counts).reduce((sum, count) => sum + count, 0) }
