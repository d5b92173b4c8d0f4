import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { describe, test } from 'node:test'
import Fastify from 'fastify'
import fastifyHelmet from '@fastify/helmet'
import fastifyRateLimit from '@fastify/rate-limit'
import turnip, { serverLimits } from '../../src/app.ts'
import { closeOf, rawSocket } from '../faults/raw-socket.ts'
import { Client } from '../harness/client.ts'
import { ACCESS_SECRET, startTurnip } from '../harness/turnip-process.ts'
import { create, upgrade } from '../http/serve.ts'

const options = { accessSecret: ACCESS_SECRET, redisUrl: 'memory:', environment: 'development' }

/** Everything a server says until it closes. */
async function all (socket: Socket): Promise<string> {
  let text = ''
  socket.on('data', chunk => { text += String(chunk) })
  await closeOf(socket)
  return text
}

void describe('Headers', { concurrency: true, timeout: 60_000 }, () => {
  void test('that are slow, too many or broken are answered 408, 431 and 400 within 6 s, on both ports and in a host, and others are served', async t => {
    const instance = await startTurnip()
    t.after(() => instance.stop())
    const host = Fastify(serverLimits)
    t.after(() => host.close())
    await host.register(turnip, options)
    const ana = await Client.open(instance.wsUrl, 'ana')
    t.after(() => { ana.socket.terminate() })
    const urls = [instance.url, instance.metricsUrl ?? '', await host.listen({ port: 0, host: '127.0.0.1' })]
    const start = performance.now()
    await Promise.all(urls.flatMap(url => ([
      ['GET /ws HTTP/1.1\r\nHost: turnip\r\nConnection: Upgrade\r\n', 408],
      ['', 408],
      [`GET /ws HTTP/1.1\r\nHost: turnip\r\nX-Long: ${'x'.repeat(17_000)}\r\n\r\n`, 431],
      ['GET /ws HTTP/1.1\r\nHost: turnip\r\nno header\r\n\r\n', 400]
    ] as const).map(async ([head, status]) => {
      const socket = await rawSocket(url)
      socket.write(head)
      const answer = await all(socket)
      const tookMs = performance.now() - start
      assert.match(answer, new RegExp(`^HTTP/1.1 ${status} `), `${url} ${head.slice(0, 60)}`)
      assert.ok(tookMs < 6500, `${status} came after ${tookMs} ms`)
    })))
    await ana.fence()
  })

  void test('that a client sends drop by drop end after the same time', async t => {
    const instance = await startTurnip()
    t.after(() => instance.stop())
    const socket = await rawSocket(instance.url)
    const start = performance.now()
    socket.write('GET /ws HTTP/1.1\r\nHost: turnip\r\n')
    const drops = setInterval(() => { socket.write('X-A: b\r\n') }, 200)
    t.after(() => { clearInterval(drops) })
    const [answer] = await once(socket, 'data') as [Buffer]
    assert.match(answer.toString(), /^HTTP\/1.1 408 /)
    await closeOf(socket)
    assert.ok(performance.now() - start < 6500)
  })
})

test('the demo page has the headers of helmet, and a policy of its own', async t => {
  const app = await create(t, options)
  const { headers } = await app.inject('/')
  assert.equal(headers['x-content-type-options'], 'nosniff')
  assert.equal(headers['x-frame-options'], 'DENY')
  assert.equal(headers['referrer-policy'], 'no-referrer')
  assert.match(String(headers['content-security-policy']), /default-src 'self'; connect-src \*;.* frame-ancestors 'none'/)
  assert.equal(headers['strict-transport-security'], undefined)
})

test('a host\'s own helmet and rate limiter serve', async t => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(fastifyHelmet)
  await app.register(fastifyRateLimit, { global: false })
  await app.register(turnip, { ...options, authFailuresPerIp: 1 })
  assert.match(String((await app.inject('/')).headers['content-security-policy']), /connect-src \*/)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  for (const status of [401, 429]) assert.equal((await upgrade(`${url}/ws`)).status, status)
})

test('in development an address has 600 tokens a minute', async t => {
  const app = await create(t, options)
  const ask = async (): Promise<number> => (await app.inject({ method: 'POST', url: '/generate-token', payload: { username: 'ana' } })).statusCode
  for (let i = 0; i < 600; i++) assert.equal(await ask(), 200)
  const refused = await app.inject({ method: 'POST', url: '/generate-token', payload: { username: 'ana' } })
  assert.equal(refused.statusCode, 429)
  assert.equal(refused.json<{ code: string }>().code, 'too_many_requests')
  assert.ok(Number(refused.headers['retry-after']) > 0)
})
