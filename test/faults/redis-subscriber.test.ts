import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '../harness/client.ts'
import { isSubscriber } from '../harness/redis-proxy.ts'
import { joinOf } from '../protocol/scene.ts'
import { LEASE_MS, LinkedCluster, settled } from './linked-cluster.ts'

/** How long a silent loss may go unnoticed, ms. */
const NOTICED_LIMIT_MS = 15_000
/** How long until everybody knows the same after the last fault, ms. */
const CONVERGED_LIMIT_MS = LEASE_MS + 5000

const KILLS = 6
const CUTS = 4

void describe('Only what an instance hears is lost', () => {
  let cluster: LinkedCluster
  before(async () => { cluster = await LinkedCluster.start() })
  after(async () => { await cluster.stop() })

  void test('a subscription that hangs is noticed, and what changed meanwhile becomes known', async t => {
    const [ana, ben, cleo] = await cluster.gather(t, 'deaf', [0, 'ana'], [0, 'ben'], [1, 'cleo'])
    const [dora, eve] = [await cluster.open(t, 1, 'dora'), await cluster.open(t, 1, 'eve')]
    assert.ok(ana && ben && cleo)
    const { link } = cluster.instance(0)
    assert.equal(link.links(isSubscriber).length, 1)
    link.blackhole(isSubscriber)
    const since = performance.now()
    await dora.join('deaf')
    cleo.send({ type: 'leave' })
    await cleo.next('left')
    await eve.join('deaf')
    await cluster.heals(t, 'all was known all the same', NOTICED_LIMIT_MS, since)
    await settled(t, 'a subscription that hung was replaced', NOTICED_LIMIT_MS, async () =>
      link.links(isSubscriber).some(each => !each.isHeld) ? undefined : 'no other connection subscribes', since)
    await cluster.heals(t, 'all was well with another subscription', NOTICED_LIMIT_MS, since)
    await cluster.says(dora, ana, ben, eve)
    await link.heal() // what was held comes now, late
    await cluster.says(eve, ana, ben, dora)
    await cluster.heals(t, 'what came late did no harm', NOTICED_LIMIT_MS)
  })

  void test(`subscribers that are killed every second, ${KILLS} times, while members come and go: all know the same in the end`, async t => {
    const clients: Client[] = []
    for (let index = 0; index < 6; index++) clients.push(await cluster.open(t, index % 2, `churner-${index}`))
    let isOver = false
    const churns = clients.map(client => churn(client, cluster, () => isOver))
    for (let kill = 0; kill < KILLS; kill++) {
      await sleep(1000) // the rate of the fault
      assert.ok(Number(await cluster.admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub')) >= 1)
    }
    isOver = true
    await Promise.all(churns)
    await cluster.heals(t, 'all knew the same after the last kill', CONVERGED_LIMIT_MS)
    t.diagnostic(`${clients.reduce((sum, client) => sum + client.frames.length, 0)} frames, ${clients.reduce((sum, client) => sum + client.all('resynced').length, 0)} of them resynced`)
    for (const client of clients) {
      client.send({ type: 'join', room: 'finale' })
      await client.upTo(frame => frame.type === 'joined' && frame.room === 'finale')
    }
    const [one, two, ...others] = clients
    assert.ok(one && two)
    await cluster.heals(t, 'all were in one room', CONVERGED_LIMIT_MS)
    await cluster.says(one, two, ...others)
    await cluster.says(two, one, ...others)
  })

  void test(`a connection that breaks ${CUTS} times more just as it subscribes again: the subscription comes back, and nothing is left uncaught`, async t => {
    const [ana, ben] = await cluster.gather(t, 'cut-again', [0, 'ana'], [1, 'ben'])
    const cleo = await cluster.open(t, 1, 'cleo')
    assert.ok(ana && ben)
    const { link, turnip } = cluster.instance(0)
    const channel = await cluster.admin.pubsub('CHANNELS', '*inbox*') as string[]
    assert.equal(channel.length, 2)
    const cuts = link.cutOn('\r\nsubscribe\r\n', CUTS)
    link.drop(isSubscriber)
    await cleo.join('cut-again')
    await cuts
    const since = performance.now()
    await settled(t, 'it subscribed again', NOTICED_LIMIT_MS, async () => {
      const counts = await cluster.admin.pubsub('NUMSUB', ...channel) as Array<string | number>
      return counts.filter(count => count === 1).length === 2 ? undefined : counts.join()
    }, since)
    await cluster.heals(t, 'it knew what changed meanwhile', NOTICED_LIMIT_MS, since)
    await cluster.says(cleo, ana, ben)
    cluster.assertCalm()
    assert.equal((await fetch(`${turnip.url}/health/live`)).status, 200)
    const dora = await cluster.open(t, 1, 'dora')
    await dora.join('cut-again')
    await Promise.all([ana, ben, cleo].map(member => joinOf(member, dora)))
  })
})

/** Joins, leaves and talks at random until it is over. */
async function churn (client: Client, cluster: LinkedCluster, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    const choice = randomInt(10)
    if (choice < 4) client.send({ type: 'join', room: ['north', 'south'][choice % 2] })
    else if (choice < 5) client.send({ type: 'leave' })
    else client.send({ type: 'data', data: { n: cluster.number() } })
    await client.fence()
    await sleep(randomInt(20))
  }
  const unexpected = client.all('error').filter(({ code }) => code !== 'not_in_room' && code !== 'unavailable')
  assert.deepEqual(unexpected, [])
}
