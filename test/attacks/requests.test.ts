/** Clients that never get as far as a WebSocket: what they send is slow, broken, too large, or without a token. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { closeOf, rawSocket, upgradeHead } from '../faults/raw-socket.ts'
import { Client } from '../harness/client.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { tokenFor } from '../harness/token.ts'
import { Siege } from './siege.ts'

/** Within this time a request that does not come to its end is answered, ms. */
const SLOW_LIMIT_MS = 6000
const SLOW_CLIENTS = 100
/** A slow client sends a byte so often, ms. */
const DRIBBLE_MS = 250
const UPGRADES_PER_SECOND = 500
const FLOOD_MS = 2000
/** What an instance asks of Redis by itself meanwhile: leases, PING. */
const OWN_COMMANDS = 60

const HOST = 'Host: turnip\r\n'
const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'

void describe('Requests that attack', { timeout: 120_000 }, () => {
  let redis: RedisServer
  let siege: Siege
  before(async () => {
    redis = await startRedisServer()
    siege = await Siege.open({ REDIS_URL: redis.url, AUTH_FAILURES_PER_IP: '10' })
  })
  after(async () => {
    await siege.close()
    await redis.stop()
  })

  /** Sends something, and goes on byte by byte. @returns the status that is answered in the end, and after how long, ms */
  async function ask (url: string, bytes: string, slowly = ''): Promise<{ status: number, took: number }> {
    const socket = await rawSocket(url)
    const start = performance.now()
    let answer = ''
    socket.on('data', data => { answer += data.toString('latin1') })
    socket.write(bytes, 'latin1')
    const rest = slowly[Symbol.iterator]()
    const timer = setInterval(() => {
      const { value } = rest.next()
      if (value !== undefined && socket.writable) socket.write(value)
    }, DRIBBLE_MS)
    const answered = new Promise<void>(resolve => { socket.once('data', () => { resolve() }) })
    await Promise.race([answered, closeOf(socket)])
    const took = performance.now() - start
    clearInterval(timer)
    socket.destroy()
    return { status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1]), took }
  }

  /** Requests that are answered at once, and how. */
  const broken: Array<[what: string, status: number, request: string]> = [
    ['20 KiB in one header', 431, `GET /ws HTTP/1.1\r\n${HOST}X-Large: ${'x'.repeat(20_000)}\r\n\r\n`],
    ['1,000 headers', 431, `GET /ws HTTP/1.1\r\n${HOST}${Array.from({ length: 1000 }, (_, i) => `X-${i}: ${'x'.repeat(12)}\r\n`).join('')}\r\n`],
    ['an address of 20 KiB', 431, `GET /${'x'.repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n`],
    ['headers without an end', 431, `GET /ws HTTP/1.1\r\n${HOST}X-Endless: ${'x'.repeat(100_000)}`],
    ['no Host', 400, 'GET /health HTTP/1.1\r\n\r\n'],
    ['NUL in a header', 400, `GET /health HTTP/1.1\r\n${HOST}X: a\0b\r\n\r\n`],
    ['a space before the colon', 400, `GET /health HTTP/1.1\r\n${HOST}X : a\r\n\r\n`],
    ['a folded header', 400, `GET /health HTTP/1.1\r\n folded\r\n${HOST}\r\n`],
    ['lines that end in LF alone', 400, 'GET /health HTTP/1.1\nHost: turnip\n\n'],
    ['a method of nobody', 400, `DANCE /health HTTP/1.1\r\n${HOST}\r\n`],
    ['a version of nobody', 400, `GET /health HTTP/9.9\r\n${HOST}\r\n`],
    ['two lengths', 400, `POST /health HTTP/1.1\r\n${HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx`],
    ['a length and chunks', 400, `POST /health HTTP/1.1\r\n${HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['a negative length', 400, `POST /health HTTP/1.1\r\n${HOST}Content-Length: -1\r\n\r\n`],
    ['TLS', 400, '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03'],
    ['HTTP/2', 400, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['an upgrade without a key', 400, `GET /ws?token=${tokenFor('ana')} HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n`],
    ['an upgrade with a key that is too short', 400, `GET /ws?token=${tokenFor('ana')} HTTP/1.1\r\n${HOST}${UPGRADE.replace('dGhlIHNhbXBsZSBub25jZQ==', 'x')}\r\n`],
    ['an upgrade of another version', 400, `GET /ws?token=${tokenFor('ana')} HTTP/1.1\r\n${HOST}${UPGRADE.replace('13', '99')}\r\n`],
    ['an upgrade to something else', 426, `GET /ws?token=${tokenFor('ana')} HTTP/1.1\r\n${HOST}${UPGRADE.replace('websocket', 'h2c')}\r\n`]
  ]

  test('Broken and oversized headers are answered 400 and 431 at once, on either port', async t => {
    await siege.during(t, async () => {
      for (const url of [siege.server.url, siege.server.metricsUrl ?? '']) {
        for (const [what, status, request] of broken) {
          if (request.includes('/ws?') && url !== siege.server.url) continue // there is no WebSocket on the metrics port
          assert.equal((await ask(url, request)).status, status, what)
        }
      }
    }, true)
  })

  test(`Headers that come slowly or not at all are answered 408 within ${SLOW_LIMIT_MS / 1000} s`, async t => {
    const { url, metricsUrl = '' } = siege.server
    const endless = 'x'.repeat(1000)
    await siege.during(t, async () => {
      const times = await Promise.all(Array.from({ length: SLOW_CLIENTS }, async (_, i) => {
        const [what, ...request] = [
          ['a header byte by byte', `GET /ws HTTP/1.1\r\n${HOST}X-Slow: `, endless], ['a silent connection', '', ''], ['an address byte by byte', 'GET /', endless],
          ['an upgrade without its last line', upgradeHead('/ws', 'slow').slice(0, -2), '']
        ][i % 4] ?? []
        const { status, took } = await ask(i % 8 < 6 ? url : metricsUrl, ...request as [string, string])
        assert.equal(status, 408, what)
        assert.ok(took < SLOW_LIMIT_MS, `${what} was answered after ${took} ms`)
        return took
      }))
      t.diagnostic(`${SLOW_CLIENTS} slow clients were answered after ${(Math.min(...times) / 1000).toFixed(1)} to ${(Math.max(...times) / 1000).toFixed(1)} s`)
    })
  })

  test(`${UPGRADES_PER_SECOND} upgrades a second without a right token are refused, ask nothing of Redis, and keep nobody out who has one`, async t => {
    const asked = new Redis(redis.url)
    t.after(() => { asked.disconnect() })
    const forged = `${tokenFor('ana').slice(0, -4)}AAAA`
    const heads = [`GET /ws HTTP/1.1\r\n${HOST}${UPGRADE}\r\n`, `GET /ws?token=${forged} HTTP/1.1\r\n${HOST}${UPGRADE}\r\n`, `GET /ws?token=x HTTP/1.1\r\n${HOST}${UPGRADE}\r\n`]
    const answers: Record<number, number> = {}
    let attempts = 0
    const before = await commandsOf(asked)
    const toll = await siege.during(t, async () => {
      const pending = new Set<Promise<void>>()
      const start = performance.now()
      for (let now = start; now - start < FLOOD_MS; now = performance.now()) {
        for (; attempts < (now - start) / 1000 * UPGRADES_PER_SECOND; attempts++) {
          const attempt = ask(siege.server.url, heads[attempts % heads.length] ?? '').then(({ status }) => { answers[status] = (answers[status] ?? 0) + 1; pending.delete(attempt) })
          pending.add(attempt)
        }
        await sleep(10)
      }
      const opening = performance.now()
      const right = await Client.open(siege.server.wsUrl, 'right')
      t.diagnostic(`a right token opened within ${Math.round(performance.now() - opening)} ms`)
      await right.close()
      await Promise.all(pending)
    })
    const commands = await commandsOf(asked) - before
    t.diagnostic(`${attempts} attempts were answered ${JSON.stringify(answers)}; Redis was asked ${commands} commands meanwhile`)
    assert.deepEqual(Object.keys(answers).filter(status => status !== '401' && status !== '429'), [])
    assert.ok(commands < OWN_COMMANDS, `${commands} commands`)
    assert.ok(siege.growth(toll) < 10)
  })

  test('Who sends thousands of requests at once and reads no answer is cut off, again and again', async t => {
    const requests = `GET /info HTTP/1.1\r\n${HOST}\r\n`.repeat(5000)
    let sockets = 0
    const toll = await siege.during(t, async () => {
      const socket = await rawSocket(siege.server.url)
      socket.pause()
      socket.write(requests)
      await new Promise(resolve => { socket.once('close', resolve) })
      sockets++
      await sleep(50)
    }, true)
    t.diagnostic(`${sockets} connections were cut off`)
    assert.ok(siege.growth(toll) < 10)
  })
})

/** How many commands a Redis was asked, but those of this question. */
async function commandsOf (redis: Redis): Promise<number> {
  const info = await redis.info('commandstats')
  return [...info.matchAll(/cmdstat_(\S+):calls=(\d+)/g)].reduce((sum, [, name = '', calls]) => name.startsWith('info') ? sum : sum + Number(calls), 0)
}
