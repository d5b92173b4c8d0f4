import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Browser } from 'playwright-core'
import { startBrowser } from '../../browser/demo-page.ts'
import { Cluster } from '../../chaos/cluster.ts'
import { until } from '../../harness/until.ts'
import { Balancer } from './balancer.ts'
import type { Account } from './callers.ts'
import type { Passing } from './line.ts'
import { Pages, type Side } from './pages.ts'

const MEMBERS = 5
/** What a mesh may take from its beginning, the death of an instance and all, where other tests have the processor too, ms. */
const LIMIT_MS = 25_000
/** How long a member waits for another's call at the least, ms. */
const PATIENCE_MS = 2500
/** After a fault the calls are listened to for as long, ms. */
const LISTEN_MS = 2000

let browser: Browser
let cluster: Cluster
let pages: Pages
let balancer: Balancer
/** Where the next connection of each goes. */
const places = new Map<string, number>()
let seen: (passing: Passing) => void = () => {}

before(async () => {
  [browser, cluster] = await Promise.all([startBrowser(), Cluster.start({ leaseMs: 15_000, built: true })])
  pages = await Pages.open(browser, MEMBERS)
  balancer = new Balancer({
    instances: () => cluster.instances.map(({ url }) => Number(new URL(url).port)),
    place: user => places.get(user) ?? 0,
    passes: (_line, _direction, passing) => { seen(passing) }
  })
  await balancer.open()
})
after(async () => {
  balancer.close()
  await pages.close()
  await Promise.all([browser.close(), cluster.end()])
})

async function accountsOf (sides: readonly Side[]): Promise<Account[]> {
  return await Promise.all(sides.map(async side => await side.account()))
}

/** Waits until none is at this instance. @returns what has happened to them by a while after that */
async function left (sides: readonly Side[], instance: number): Promise<Account[]> {
  await until('all are back', async () => (await accountsOf(sides)).every(account => account.state === 'open' && account.instance !== `chaos-${instance}`))
  await delay(LISTEN_MS)
  return await accountsOf(sides)
}

test('five pages at three instances, one of which dies while they call each other: all are connected, and stay so when the others die and drain', async t => {
  const sides = Array.from({ length: MEMBERS }, (_, i) => pages.side(i, `member-${i}`))
  for (const [i, { name }] of sides.entries()) places.set(name, i % 3)
  let answers = 0
  const killed = new Promise<void>(resolve => {
    seen = ({ type, data }) => {
      if (type === 'data' && (data as { type: string }).type === 'answer' && ++answers === MEMBERS) {
        for (const [name, place] of places) if (place === 0) places.set(name, 1)
        resolve(cluster.instance(0).kill())
      }
    }
  })
  const start = Date.now()
  await Promise.all(sides.map(async side => {
    await side.connect(await balancer.address())
    await side.join('mesh')
  }))
  const times = await Promise.all(sides.map(async side => await side.talks(MEMBERS - 1)))
  await killed
  const ms = Math.max(...times) - start
  t.diagnostic(`all talk after ${ms} ms`)
  assert.ok(ms < LIMIT_MS)
  const first = await left(sides, 0)
  for (const { connectionIds, glares, connections, userLeft } of first) {
    assert.deepEqual({ ids: connectionIds.length, glares, userLeft }, { ids: 1, glares: 0, userLeft: 0 })
    // A member that is away for longer than another waits for its call is called by that one.
    if (ms < PATIENCE_MS) assert.equal(connections, MEMBERS - 1)
  }

  await cluster.instance(0).start()
  for (const [instance, away] of [[1, 'kill'], [2, 'stop']] as const) {
    for (const { name } of sides) places.set(name, instance - 1)
    const gone = cluster.instance(instance)[away]()
    const accounts = await left(sides, instance)
    await gone
    for (const [i, { connections, reconnecting, left, userLeft, talks }] of accounts.entries()) {
      assert.deepEqual({ connections, reconnecting, left, userLeft }, { connections: first[i]?.connections, reconnecting: 0, left: first[i]?.left, userLeft: 0 })
      for (const { peer, heard, wrong } of talks) {
        assert.equal(wrong, 0)
        assert.ok(heard > (first[i]?.talks.find(talk => talk.peer === peer)?.heard ?? 0))
      }
    }
    t.diagnostic(`after ${away}: silent for ${Math.round(Math.max(...accounts.flatMap(({ talks }) => talks.map(({ longestMs }) => longestMs))))} ms at most`)
  }
  assert.deepEqual(pages.problems, [])
})
