import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test, type TestContext } from 'node:test'
import Fastify from 'fastify'
import turnip from '../../src/app.ts'
import { closeOf, rawSocket, upgradeHead } from '../faults/raw-socket.ts'
import { Client } from '../harness/client.ts'
import { startRedisServer } from '../harness/redis-server.ts'
import { tokenFor } from '../harness/token.ts'
import { ACCESS_SECRET, startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'
import { basic, logTo, serve, upgrade, type Answer } from '../http/serve.ts'

async function start (t: TestContext, env: Record<string, string | undefined>): Promise<TurnipProcess> {
  const instance = await startTurnip({ env })
  t.after(() => instance.stop())
  return await serving(instance)
}

async function open (t: TestContext, url: string, userId: string, headers: Record<string, string> = {}): Promise<Client> {
  const client = await Client.openWith(`${url}?token=${tokenFor(userId)}`, [], { headers })
  t.after(() => { client.socket.terminate() })
  return client
}

/** What a refusal says, but for its sentence. */
function refusalOf ({ status, headers, body }: Answer): { status: number, code: string, retryAfterS: number } {
  const { statusCode, error, message, code } = JSON.parse(body) as Record<string, string | number>
  assert.equal(statusCode, status)
  assert.ok(typeof error === 'string' && typeof message === 'string' && message.length > 10)
  return { status, code: String(code), retryAfterS: Number(headers['retry-after'] ?? NaN) }
}

function assertTooMany (answer: Answer, code: string): void {
  const refusal = refusalOf(answer)
  assert.equal(refusal.status, 429)
  assert.equal(refusal.code, code)
  assert.ok(Number.isInteger(refusal.retryAfterS) && refusal.retryAfterS > 0, String(refusal.retryAfterS))
}

void describe('Who is let in', { concurrency: true, timeout: 60_000 }, () => {
  void test('a user has MAX_CONNECTIONS_PER_USER connections and no more, before the upgrade; one that closes makes room', async t => {
    const { wsUrl, url, metricsUrl = '' } = await start(t, { MAX_CONNECTIONS_PER_USER: '3' })
    const mine = [await open(t, wsUrl, 'ana'), await open(t, wsUrl, 'ana'), await open(t, wsUrl, 'ana')]
    const address = `${wsUrl}?token=${tokenFor('ana')}`
    assertTooMany(await upgrade(address), 'too_many_connections')
    const asked = await fetch(`${url}/ws?token=${tokenFor('ana')}`)
    assert.equal(asked.status, 429, 'a browser can find out')
    await (await open(t, wsUrl, 'ben')).fence()
    for (const end of [(client: Client) => client.close(), async (client: Client) => { client.socket.terminate() }]) {
      const [client] = mine.splice(0, 1)
      assert.ok(client)
      await end(client)
      await until('there is room again', async () => (await fetch(`${url}/ws?token=${tokenFor('ana')}`)).status === 426)
      mine.push(await open(t, wsUrl, 'ana'))
      assertTooMany(await upgrade(address), 'too_many_connections')
    }
    assert.match(await (await fetch(`${metricsUrl}/metrics`)).text(), /turnip_connections_refused_total\{.*limit="user_connections"\} [4-9]/, 'four refusals, and questions')
  })

  void test('many upgrades of one user at once are no more than one after the other', async t => {
    const { wsUrl } = await start(t, { MAX_CONNECTIONS_PER_USER: '5', MAX_CONNECTIONS_PER_IP: '7' })
    const outcomes = await Promise.allSettled(Array.from({ length: 30 }, async () => await open(t, wsUrl, 'ana')))
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 5)
    const others = await Promise.allSettled(Array.from({ length: 30 }, async (_, i) => await open(t, wsUrl, `user-${i}`)))
    assert.equal(others.filter(({ status }) => status === 'fulfilled').length, 2)
  })

  void test('upgrades that break off half way give back what they took', async t => {
    const app = Fastify({ forceCloseConnections: true })
    await app.register(turnip, { accessSecret: ACCESS_SECRET, redisUrl: 'memory:', maxConnectionsPerUser: 2, maxConnectionsPerIp: 2 })
    t.after(() => app.close())
    const fates: Array<(path: string) => Promise<unknown>> = [
      async path => { (await rawSocket(url)).end(upgradeHead(path, 'ana')).destroy() }, // gone before it is read, most likely
      async path => { const socket = await rawSocket(url); socket.write(upgradeHead(path, 'ana')); await once(socket, 'data'); socket.resetAndDestroy() },
      async path => { const socket = await rawSocket(url); socket.write(upgradeHead(path, 'ana').replace('Version: 13', 'Version: 7')); await closeOf(socket) } // ws refuses it, after us
    ]
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    for (let round = 0; round < 4; round++) for (const fate of fates) await fate('/ws')
    await until('nothing is counted', async () => (await fetch(`${url}/ws?token=${tokenFor('ana')}`)).status === 426)
    await Promise.all([open(t, `${url.replace('http', 'ws')}/ws`, 'ana'), open(t, `${url.replace('http', 'ws')}/ws`, 'ana')])
  })

  void test('an address has MAX_CONNECTIONS_PER_IP connections, an IPv6 network of 64 bits too', async t => {
    const { wsUrl } = await start(t, { MAX_CONNECTIONS_PER_IP: '2', TRUST_PROXY: 'true' })
    const from = (address: string): Record<string, string> => ({ 'x-forwarded-for': address })
    const refused = async (address: string): Promise<void> => { assertTooMany(await upgrade(`${wsUrl}?token=${tokenFor('new')}`, from(address)), 'too_many_connections') }
    await open(t, wsUrl, 'a', from('203.0.113.1'))
    await open(t, wsUrl, 'b', from('::ffff:203.0.113.1'))
    await refused('203.0.113.1')
    await open(t, wsUrl, 'c', from('203.0.113.2'))
    await open(t, wsUrl, 'd', from('2001:db8:1:2::1'))
    await open(t, wsUrl, 'e', from('2001:db8:1:2:ffff::9'))
    await refused('2001:db8:1:2:3:4:5:6')
    await open(t, wsUrl, 'f', from('2001:db8:1:3::1'))
    const opening = `${wsUrl}?token=${tokenFor('g')}`
    const { opening: welcome } = await Client.openWith(`${opening}&resume=true`, [], { headers: from('203.0.113.9') })
    await open(t, wsUrl, 'h', from('203.0.113.9'))
    await refused('203.0.113.9')
    const back = await Client.openWith(`${opening}&session=${welcome?.data.session}&seen=0`, [], { headers: from('203.0.113.9') })
    assert.equal(back.opening?.type, 'resumed', 'its own old socket does not keep a client out')
    await refused('203.0.113.9')
    await back.close()
  })

  void test('with limits of 0 anybody has as many connections, and as many failures, as he likes', async t => {
    const { wsUrl } = await start(t, { MAX_CONNECTIONS_PER_USER: '0', MAX_CONNECTIONS_PER_IP: '0', AUTH_FAILURES_PER_IP: '0' })
    await Promise.all(Array.from({ length: 120 }, async () => await open(t, wsUrl, 'ana')))
    for (let i = 0; i < 20; i++) assert.equal((await upgrade(wsUrl)).status, 401)
  })

  void test('by default a user has 100 connections', async t => {
    const { wsUrl } = await start(t, {})
    await Promise.all(Array.from({ length: 100 }, async () => await open(t, wsUrl, 'ana')))
    assertTooMany(await upgrade(`${wsUrl}?token=${tokenFor('ana')}`), 'too_many_connections')
    await open(t, wsUrl, 'ben')
  })

  void test('the eleventh failure from one address gets 429, a right token gets in at once, and Redis is asked nothing', async t => {
    const redis = await startRedisServer()
    t.after(() => redis.kill())
    const { wsUrl, url, metricsUrl = '' } = await start(t, { REDIS_URL: redis.url, AUTH_FAILURES_PER_IP: undefined, METRICS_AUTH: 'basic', METRICS_USERNAME: 'u', METRICS_PASSWORD: 'p' })
    const operations = async (): Promise<string[]> => (await (await fetch(`${metricsUrl}/metrics`, { headers: basic('u', 'p') })).text()).split('\n')
      .filter(line => line.startsWith('turnip_redis_operations_total') && !/"(renew|positions)"/.test(line))
    const before = await operations()
    const bad = ['', '?token=x', `?token=${tokenFor('ana', { realm: 'other' })}`]
    for (let i = 0; i < 10; i++) assert.equal(refusalOf(await upgrade(wsUrl + (bad[i % bad.length] ?? ''))).status, 401)
    for (const query of bad) {
      const answer = await upgrade(wsUrl + query)
      assertTooMany(answer, 'too_many_failures')
      assert.ok(refusalOf(answer).retryAfterS > 1700, 'half an hour')
      assert.equal((await fetch(`${url}/ws${query}`)).status, 429)
    }
    // 500 in a second or so, as many sockets; somebody with a token is among them.
    const flood = Array.from({ length: 500 }, async () => await upgrade(wsUrl))
    const asked = performance.now()
    await (await open(t, wsUrl, 'ana')).fence()
    const tookMs = performance.now() - asked
    for (const answer of await Promise.all(flood)) assertTooMany(answer, 'too_many_failures')
    assert.ok(tookMs < 5000, `${tookMs} ms`)
    assert.deepEqual(await operations(), before)
    assert.match(await (await fetch(`${metricsUrl}/metrics`, { headers: basic('u', 'p') })).text(), /turnip_connections_refused_total\{.*limit="failures"\} 506\n/)
  })

  void test('passwords for /metrics and /info are limited as tokens are, and a right one is taken', async t => {
    const { url, metricsUrl = '' } = await start(t, { AUTH_FAILURES_PER_IP: '4', METRICS_AUTH: 'basic', METRICS_USERNAME: 'u', METRICS_PASSWORD: 'p' })
    for (const address of [`${metricsUrl}/metrics`, `${url}/info`]) {
      const statuses: number[] = []
      for (let i = 0; i < 6; i++) {
        const response = await fetch(address, { headers: i === 0 ? {} : basic('u', `guess ${i}`) })
        statuses.push(response.status)
        if (response.status === 429) assert.ok(Number(response.headers.get('retry-after')) > 1700)
      }
      assert.deepEqual(statuses, [401, 401, 401, 401, 429, 429], address)
      assert.equal((await fetch(address, { headers: basic('u', 'p') })).status, 200)
    }
  })

  void test('behind a proxy that is not trusted no limit goes by the address, and the log says so once', async t => {
    const lines: string[] = []
    const { wsUrl } = await serve(t, { authFailuresPerIp: 3, maxConnectionsPerIp: 1 }, logTo(lines))
    const proxied = { 'x-forwarded-for': '203.0.113.7' }
    for (let i = 0; i < 8; i++) assert.equal((await upgrade(wsUrl, proxied)).status, 401)
    await Promise.all([open(t, wsUrl, 'ana', proxied), open(t, wsUrl, 'ben', proxied)])
    assert.equal(lines.filter(line => line.includes('TRUST_PROXY')).length, 1)
    for (const status of [401, 401, 401, 429]) assert.equal((await upgrade(wsUrl)).status, status)
  })

  void test('a trusted proxy tells the addresses, and they are counted one by one', async t => {
    const lines: string[] = []
    const { wsUrl } = await serve(t, { authFailuresPerIp: 2 }, { ...logTo(lines), trustProxy: true })
    const fail = async (address: string): Promise<number> => (await upgrade(wsUrl, { 'x-forwarded-for': address })).status
    for (const status of [401, 401, 429]) assert.equal(await fail('203.0.113.1'), status)
    assert.equal(await fail('203.0.113.2'), 401)
    for (const status of [401, 401, 429]) assert.equal(await fail(`203.0.113.3:${40_000 + status}`), status, 'some proxies add a port')
    for (const status of [401, 401, 429]) assert.equal(await fail(`[2001:db8::${status}]:443`), status, 'an IPv6 network')
    for (const status of [401, 401, 429]) assert.equal(await fail(`${status}`.repeat(1000)), status, 'what is no address counts as one')
    assert.equal(lines.filter(line => line.includes('TRUST_PROXY')).length, 0)
  })
})

void describe('An upgrade that hangs', { concurrency: true, timeout: 60_000 }, () => {
  /** A host with a hook that is never done with some of its requests. */
  async function startHost (t: TestContext, options: object): Promise<{ url: string, release: () => void }> {
    const app = Fastify({ forceCloseConnections: true })
    let release = (): void => {}
    const stuck = new Promise<void>(resolve => { release = resolve })
    app.addHook('onRequest', async ({ url }) => { if (url.includes('stuck')) await stuck })
    await app.register(turnip, { accessSecret: ACCESS_SECRET, redisUrl: 'memory:', prefix: '/rtc', maxConnectionsPerUser: 1, ...options })
    t.after(() => { release(); return app.close() })
    return { url: await app.listen({ port: 0, host: '127.0.0.1' }), release }
  }

  void test('in a hook of the host\'s is ended with 504 after AUTH_TIMEOUT_MS, and keeps nothing', async t => {
    const { url, release } = await startHost(t, { authTimeoutMs: 500 })
    const socket = await rawSocket(url)
    socket.write(upgradeHead('/rtc/ws', 'ana').replace('token=', 'stuck&token='))
    const start = performance.now()
    const [answer] = await once(socket, 'data') as [Buffer]
    await closeOf(socket)
    assert.match(answer.toString(), /^HTTP\/1\.1 504 Gateway Timeout\r\n[\s\S]+"code":"auth_timeout"/)
    assert.ok(performance.now() - start < 4000)
    release()
    await open(t, `${url.replace('http', 'ws')}/rtc/ws`, 'ana')
  })

  void test('is left to hang with AUTH_TIMEOUT_MS=0', async t => {
    const { url, release } = await startHost(t, { authTimeoutMs: 0 })
    const waiting = Client.openWith(`${url.replace('http', 'ws')}/rtc/ws?stuck&token=${tokenFor('ana')}`)
    const other = await rawSocket((await startHost(t, { authTimeoutMs: 500 })).url)
    other.write(upgradeHead('/rtc/ws', 'ana').replace('token=', 'stuck&token='))
    await closeOf(other) // so long at least
    release()
    const client = await waiting
    client.socket.terminate()
  })
})
