/** Calls over real servers: two instances and their Redis. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { pipeline } from 'node:stream'
import { after, before, test, type TestContext } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { startBrowser } from '../../browser/demo-page.ts'
import { startRedisServer, type RedisServer } from '../../harness/redis-server.ts'
import { tokenFor } from '../../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../../harness/turnip-process.ts'
import { serving, until } from '../../harness/until.ts'
import type { Caller } from './caller.ts'
import { openPage, serve } from './page.ts'

declare let caller: Caller
declare const library: { Caller: typeof Caller }

let redis: RedisServer
let env: Record<string, string>
let one: TurnipProcess
let two: TurnipProcess
let browser: Browser

before(async () => {
  redis = await startRedisServer()
  env = { ENVIRONMENT: 'development', REDIS_URL: redis.url };
  [one, two, browser] = await Promise.all([startTurnip({ env }), startTurnip({ env }), startBrowser()])
})

after(async () => {
  await browser.close()
  await Promise.all([one.stop(), two.stop()])
  await redis.stop()
})

/** A page with somebody in it who has not joined yet. */
async function open (t: TestContext, server: { url: string }, name: string): Promise<Page> {
  const page = await openPage(t, browser, 'caller.ts')
  await page.evaluate(({ url, token }) => { Object.assign(globalThis, { caller: new library.Caller(url, token) }) }, { url: server.url, token: tokenFor(name) })
  return page
}

async function join (page: Page, room: string): Promise<void> {
  await page.evaluate(async room => { await caller.client.join(room) }, room)
}

/** Leads to one instance, and from a moment on to another one. */
async function balancer (t: TestContext, first: TurnipProcess): Promise<{ url: string, lead: (to: TurnipProcess) => void }> {
  let target = first
  const server = createServer(near => { pipeline(near, connect(Number(new URL(target.url).port), '127.0.0.1'), near, () => {}) }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.close() })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, lead: to => { target = to } }
}

test('five pages on two instances call each other, each pair by one offer and one answer', async t => {
  const pages = await Promise.all(['Ada', 'Ben', 'Cleo', 'Dan', 'Eve'].map(async (name, at) => await open(t, at % 2 === 0 ? one : two, name)))
  const [first, ...rest] = pages
  assert.ok(first)
  await join(first, 'five')
  // the others all at once
  await Promise.all(rest.map(async page => { await join(page, 'five') }))
  await Promise.all(pages.map(async page => { await page.evaluate(async () => { await caller.connected(4) }) }))
  const made = await Promise.all(pages.map(async page => await page.evaluate(async () => {
    await caller.sees()
    return { connections: caller.connections.length, sent: caller.sent, descriptions: [caller.offers.size, caller.answers.size], states: caller.states, events: caller.events.filter(event => /error|left/.test(event)) }
  })))
  const sent = made.flatMap(({ sent }) => sent)
  const count = (type: string): number => sent.filter(said => said === type).length
  t.diagnostic(`offers ${count('offer')}, answers ${count('answer')}, candidates ${count('candidate')}, acknowledgements ${count('ack')}`)
  // what was sent again, as on a busy machine, counts once
  assert.deepEqual([0, 1].map(kind => made.reduce((sum, { descriptions }) => sum + (descriptions[kind] ?? 0), 0)), [10, 10])
  for (const { connections, states, events } of made) {
    assert.deepEqual({ connections, events }, { connections: 4, events: [] })
    // to an offer and back, once each
    assert.equal(states.length, 8)
  }

  const metrics = await Promise.all([one, two].map(async ({ metricsUrl = '' }) => await (await fetch(metricsUrl)).text()))
  const calls = metrics.flatMap(text => [...text.matchAll(/turnip_calls_total\{result="connected"\} (\d+)/g)].map(([, value]) => Number(value)))
  t.diagnostic(`reported: ${calls.join(' + ')}`)
})

test('who leaves is gone at once, whether it says so, closes its page or only its mesh; who comes again is called again', async t => {
  const ada = await open(t, one, 'Ada')
  const ben = await open(t, two, 'Ben')
  await join(ada, 'leaving')
  for (const how of ['leaves', 'closes its mesh', 'closes its client', 'closes its page']) {
    if (how === 'closes its client') await ben.evaluate(() => { caller.open() })
    await join(ben, 'leaving')
    await ada.evaluate(async () => { await caller.connected(1) })
    await ben.evaluate(async () => { await caller.connected(1) })
    if (how === 'leaves') await ben.evaluate(async () => { await caller.client.leave() })
    else if (how === 'closes its mesh') await ben.evaluate(() => { caller.mesh.close() })
    else if (how === 'closes its client') await ben.evaluate(() => { caller.client.close() })
    else await ben.close()
    const ms = await ada.evaluate(async () => {
      const start = performance.now()
      await caller.until('it is gone', () => caller.mesh.peers.size === 0)
      return performance.now() - start
    })
    t.diagnostic(`${how}: ${Math.round(ms)} ms`)
    assert.ok(ms < 3_000, `${how}: ${ms} ms`)
    if (how !== 'closes its page') {
      assert.equal(await ben.evaluate(() => caller.connections.filter(({ signalingState }) => signalingState !== 'closed').length), 0)
      await ben.evaluate(() => { caller.client.close() })
    }
  }
})

test("docs/protocol.md's client in one page calls a mesh, and is called by one", async t => {
  const [, script = ''] = /```html\n<script type="module">\n(.*?)<\/script>/s.exec(readFileSync(new URL('../../../docs/protocol.md', import.meta.url), 'utf8')) ?? []
  const context = await browser.newContext()
  t.after(async () => { await context.close() })
  const plain = await context.newPage()
  const problems: string[] = []
  plain.on('pageerror', error => { problems.push(error.message) })
  const url = await serve(t, `<!doctype html><body><script type="module">${script.replace('http://localhost:5004', one.url)}</script>`)
  const meshes = [await open(t, one, 'first'), await open(t, two, 'second')]
  const [first, second] = meshes
  assert.ok(first !== undefined && second !== undefined)
  for (const page of meshes) await page.evaluate(() => { caller.mesh.on('message', ({ peer, data }) => { caller.events.push(`${peer.info.username.slice(0, 3)} says ${String(data)}`) }) })
  await join(first, 'hello')
  await plain.goto(url)
  await first.evaluate(async () => { await caller.connected(1) })
  await join(second, 'hello')
  for (const page of meshes) {
    await page.evaluate(async () => {
      await caller.connected(2)
      await caller.until('it hears from the plain one', () => caller.events.includes('tab says Hello, from browser to browser. '))
      await caller.until('it is open', () => [...caller.mesh.peers.values()].every(peer => peer.send(`I am ${caller.client.username}. `)))
    })
  }
  await until('it hears both', async () => {
    const text = await plain.textContent('body') ?? ''
    return text.includes('I am first. ') && text.includes('I am second. ')
  })
  assert.deepEqual(problems, [])
})

test('an instance that is killed disturbs no call that runs, and no set-up in the middle: one offer is enough for each', async t => {
  const victim = await serving(await startTurnip({ env }))
  t.after(async () => { await victim.stop('SIGKILL') })
  const front = await balancer(t, victim)
  const [ada, ben, cleo, dan] = await Promise.all([open(t, one, 'Ada'), open(t, front, 'Ben'), open(t, front, 'Cleo'), open(t, one, 'Dan')])
  await join(ada, 'running')
  await join(ben, 'running')
  for (const page of [ada, ben]) await page.evaluate(async () => { await caller.connected(1) })
  await cleo.exposeFunction('kill', () => {
    front.lead(one)
    victim.signal('SIGKILL')
  })
  await join(cleo, 'begun')
  await cleo.evaluate(() => {
    let signals = 0
    caller.client.on('frame', ({ frame: { type } }) => { if (type === 'data' && ++signals === 3) void (globalThis as unknown as { kill: () => Promise<void> }).kill() })
  })
  await join(dan, 'begun')
  await victim.exited
  await Promise.all([ben, cleo].map(async page => { await page.evaluate(async () => { await caller.until('it is back', () => caller.events.includes('open: Back in the room')) }) }))
  for (const pair of [[ada, ben], [cleo, dan]]) {
    const made = await Promise.all(pair.map(async page => await page.evaluate(async () => {
      await caller.connected(1)
      await caller.sees()
      return { connections: caller.connections.length, offers: [...caller.offers], events: caller.events }
    })))
    assert.deepEqual([made.map(({ connections }) => connections), new Set(made.flatMap(({ offers }) => offers)).size], [[1, 1], 1], made.flatMap(({ events }) => events).join('\n'))
  }
})
