import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, test, type TestContext } from 'node:test'
import { closeOf } from '../faults/raw-socket.ts'
import { Client } from '../harness/client.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'
import { CLOSE, CONTINUATION, frameFrom, PING, PONG, RawClient, TEXT, times } from './flood.ts'

const ASK = frameFrom(TEXT, '{"type":"ping"}')
/** What a busy machine may be late, ms. */
const SLACK_MS = 3000

async function serve (t: TestContext, env: Record<string, string> = {}): Promise<TurnipProcess> {
  const instance = await startTurnip({ env })
  t.after(() => instance.stop())
  return instance
}

async function open (t: TestContext, { url }: TurnipProcess, userId: string): Promise<RawClient> {
  const client = await RawClient.open(url, userId)
  t.after(() => { client.socket.destroy() })
  return client
}

/** Waits for so many frames of one kind. @returns how long that took, ms */
async function arrival (client: RawClient, opcode: number, count: number): Promise<number> {
  const start = performance.now()
  await until(`${count} frames came`, async () => client.count(opcode) >= count)
  return performance.now() - start
}

async function residentBytes ({ pid }: TurnipProcess): Promise<number> {
  const [, kB = '0'] = /VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kB) * 1024
}

async function metric ({ metricsUrl = '' }: TurnipProcess, name: string): Promise<number> {
  const text = await (await fetch(`${metricsUrl}/metrics`)).text()
  const [, value] = new RegExp(`^${name}(?:{.*})? (.+)$`, 'm').exec(text) ?? []
  return Number(value)
}

void describe('What a client sends beyond MESSAGES_PER_SECOND and BYTES_PER_SECOND', { concurrency: true, timeout: 60_000 }, () => {
  void test('is read later and not lost: ten seconds\' worth at once, the rest at the rate', async t => {
    const instance = await serve(t)
    const client = await open(t, instance, 'a')
    client.socket.write(Buffer.concat([...Array.from({ length: 1400 }, (_, id) => frameFrom(TEXT, `{"type":"ping","id":${id}}`))]))
    await arrival(client, TEXT, 1 + 1000)
    assert.ok(client.count(TEXT) < 1200, `${client.count(TEXT)} frames came in one go`)
    const restMs = await arrival(client, TEXT, 1 + 1400)
    assert.ok(restMs > 2500 && restMs < 4000 + SLACK_MS, `the last 400 took ${restMs} ms`)
    const ids = client.texts.slice(1).map(text => (JSON.parse(text) as { id: number }).id)
    assert.deepEqual(ids, Array.from({ length: 1400 }, (_, id) => id))
    client.socket.write(frameFrom(CLOSE, Buffer.from([0x03, 0xe8])))
    await until('the server has closed', async () => client.closeCode === 1000)
  })

  void test('is counted frame by frame: pings, pongs and fragments too, empty ones as well', async t => {
    const instance = await serve(t, { MESSAGES_PER_SECOND: '50' })
    const floods: Array<[string, Buffer, number]> = [
      ['pings', frameFrom(PING, 'x'.repeat(64)), 1],
      ['pongs', frameFrom(PONG, ''), 1],
      ['empty fragments', Buffer.concat([frameFrom(TEXT, '', { fin: false }), times(8, frameFrom(CONTINUATION, '', { fin: false })), frameFrom(CONTINUATION, '{"type":"ping"}')]), 10],
      ['fragments of one byte', Buffer.concat([frameFrom(TEXT, '{', { fin: false }), times(8, frameFrom(CONTINUATION, ' ', { fin: false })), frameFrom(CONTINUATION, '"type":"ping"}')]), 10]
    ]
    await Promise.all(floods.map(async ([what, frame, frames]) => {
      const client = await open(t, instance, what)
      // 500 frames are free, and 200 are 4 s; the last one says that all of them were read.
      client.socket.write(Buffer.concat([times(700 / frames, frame), frameFrom(TEXT, '{"type":"ping","id":"last"}')]))
      const start = performance.now()
      await until(`the last after ${what}`, async () => client.texts.at(-1)?.includes('last') === true)
      const tookMs = performance.now() - start
      assert.ok(tookMs > 3000 && tookMs < 4000 + SLACK_MS, `${what} took ${tookMs} ms`)
      if (what === 'pings') assert.equal(client.count(PONG), 700)
    }))
  })

  void test('is counted byte by byte', async t => {
    const instance = await serve(t, { BYTES_PER_SECOND: '20000' })
    const client = await open(t, instance, 'a')
    const frame = frameFrom(TEXT, JSON.stringify({ type: 'ping', id: 'x'.repeat(4000 - 31) }))
    assert.equal(frame.length, 4000)
    client.socket.write(times(65, frame)) // 50 are free, 15 are 3 s
    await arrival(client, TEXT, 1 + 45)
    assert.ok(client.count(TEXT) <= 1 + 53, `${client.count(TEXT)} frames came in one go`)
    const restMs = await arrival(client, TEXT, 1 + 65)
    assert.ok(restMs > 2000 && restMs < 3000 + SLACK_MS, `the rest took ${restMs} ms`)
  })

  void test('is no matter with limits of 0', async t => {
    const instance = await serve(t, { MESSAGES_PER_SECOND: '0', BYTES_PER_SECOND: '0' })
    const client = await open(t, instance, 'a')
    const pings = await open(t, instance, 'b')
    client.socket.write(times(20_000, ASK))
    pings.socket.write(times(20_000, frameFrom(PING, '')))
    await Promise.all([arrival(client, TEXT, 20_001), arrival(pings, PONG, 20_000)])
    assert.equal(await metric(instance, 'turnip_slowdowns_total'), 0)
  })

  void test('takes no memory, holds up nobody else, and does not count against its pong; who goes on for 30 s is closed with 1008', async t => {
    // Its pong is behind what it has sent: 2 s of silence are more than the server grants to others.
    const instance = await serve(t, { PING_INTERVAL_MS: '1000', PONG_TIMEOUT_MS: '1000' })
    const [ana, ben] = [await Client.open(instance.wsUrl, 'ana'), await Client.open(instance.wsUrl, 'ben')]
    t.after(() => { ana.socket.terminate(); ben.socket.terminate() })
    await ana.join('room')
    await ben.join('room')
    const before = await residentBytes(instance)
    const flooders = await Promise.all(['x', 'y', 'z'].map(async name => await open(t, instance, name)))
    const start = performance.now()
    const stops = flooders.map(flooder => flooder.flood(times(1000, ASK)))
    const lateMs: number[] = []
    while (flooders.some(({ closeCode }) => closeCode === undefined) && performance.now() - start < 40_000) {
      const sent = performance.now()
      ana.send({ type: 'data', data: 1 })
      await ben.next('data')
      lateMs.push(performance.now() - sent)
      await sleep(50)
    }
    const tookMs = performance.now() - start
    assert.deepEqual(flooders.map(({ closeCode }) => closeCode), [1008, 1008, 1008])
    assert.ok(tookMs > 29_000 && tookMs < 33_000 + SLACK_MS, `closed after ${tookMs} ms`)
    for (const flooder of flooders) assert.ok(flooder.count(TEXT) < 1000 + 100 * tookMs / 1000 + 200, `${flooder.count(TEXT)} messages were handled`)
    lateMs.sort((a, b) => a - b)
    const p99 = lateMs[Math.floor(lateMs.length * 0.99)] ?? Infinity
    assert.ok(p99 < 100, `p99 of the others is ${p99} ms`)
    assert.ok(await metric(instance, 'nodejs_eventloop_lag_p99_seconds') < 0.1)
    const grownMiB = (await residentBytes(instance) - before) / 2 ** 20
    assert.ok(grownMiB < 64, `it grew by ${grownMiB} MiB`)
    assert.equal(await metric(instance, 'turnip_floods_total'), 3)
    // They go on writing and never answer the Close: they are cut off, and cost next to nothing till then.
    await Promise.all(flooders.map(async ({ socket }) => { await closeOf(socket) }))
    for (const stop of stops) stop()
    t.diagnostic(`p99 of the others ${p99.toFixed(1)} ms, memory +${grownMiB.toFixed(1)} MiB, closed after ${(tookMs / 1000).toFixed(1)} s`)
  })

  void test('does not stand in the way of a close: a token that expires, a server that ends', async t => {
    const instance = await serve(t, { MESSAGES_PER_SECOND: '5' })
    const exp = Math.floor(Date.now() / 1000) - 2 // 5 s of tolerance
    const expiring = await Client.open(instance.wsUrl, 'ana', { exp })
    const staying = await Client.open(instance.wsUrl, 'ben')
    t.after(() => { expiring.socket.terminate(); staying.socket.terminate() })
    for (const client of [expiring, staying]) for (let i = 0; i < 2000; i++) client.send({ type: 'ping' })
    assert.equal((await expiring.closed).code, 4401)
    const start = performance.now()
    const exit = instance.stop()
    assert.equal((await staying.closed).code, 1012)
    assert.ok(staying.all('goaway').length === 1)
    assert.equal((await exit).code, 0)
    // Its answer to the Close stands behind 2,000 messages, which are passed over: it is not waited for in vain.
    assert.ok(performance.now() - start < 2000 + SLACK_MS)
  })
})
