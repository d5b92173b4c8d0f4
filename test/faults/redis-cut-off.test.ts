import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { assertUnavailable, LEASE_MS, LinkedCluster, settled } from './linked-cluster.ts'

/** How long members of an instance that is gone stay with the others, ms. */
const REAPED_LIMIT_MS = LEASE_MS + 5000
/** How long a look at /health may take, ms. */
const LATE_LOOK_MS = 500
/** How long until everybody knows the same after the heal, ms. */
const HEALED_LIMIT_MS = 10_000

void describe('One instance is cut off from Redis', () => {
  let cluster: LinkedCluster
  before(async () => { cluster = await LinkedCluster.start({ mayStartOver: true }) })
  after(async () => { await cluster.stop() })

  for (const [fault, begin] of [
    ['its connections break and are refused', async () => { await cluster.instance(0).link.cut() }],
    ['its connections hang', async () => { cluster.instance(0).link.blackhole() }]
  ] as const) {
    void test(`${fault}: it fences itself before its lease ends, the others go on without it, and all converge afterwards`, async t => {
      const room = `shared-${fault.includes('hang') ? 'hanging' : 'broken'}`
      const [ana, ben, cleo, dora] = await cluster.gather(t, room, [0, 'ana'], [0, 'ben'], [1, 'cleo'], [1, 'dora'])
      const [eve, finn, gus] = [await cluster.open(t, 0, 'eve'), await cluster.open(t, 1, 'finn'), await cluster.open(t, 0, 'gus')]
      assert.ok(ana && ben && cleo && dora)
      await gus.join(`${room}-of-gus`)
      await cluster.heals(t, 'all was well', HEALED_LIMIT_MS)

      t.after(() => cluster.instance(0).link.heal()) // a test that fails must not spoil the next
      await begin()
      const since = performance.now()
      await settled(t, 'it fenced itself', LEASE_MS + LATE_LOOK_MS, async () => {
        const health = await cluster.health(0)
        if (!health.fenced) {
          assert.ok((health.lease_age_ms ?? Infinity) <= LEASE_MS, `not fenced when its lease was ${health.lease_age_ms} ms old`)
          return JSON.stringify(health)
        }
        assert.equal(health.status, 'degraded')
        return undefined
      }, since)
      assert.deepEqual(cleo.all('user_left'), [], 'the others took it for dead before it knew')
      await assertUnavailable(eve, { type: 'join', room }, 1000)
      await cluster.says(ana, ben)
      await settled(t, 'the others had its members leave', REAPED_LIMIT_MS, async () => {
        const left = cleo.all('user_left').map(({ data }) => data.connection_id).toSorted()
        if (left.length < 2) return left.join()
        assert.deepEqual(left, [ana.id, ben.id].toSorted())
        return undefined
      }, since)
      await finn.join(room)
      dora.send({ type: 'leave' })
      await dora.next('left')
      ben.send({ type: 'leave' })
      await ben.next('left')
      await cluster.says(cleo, finn)
      await cluster.says(ana)

      await cluster.instance(0).link.heal()
      const healed = performance.now()
      await cluster.heals(t, 'everybody knew what Redis knows', HEALED_LIMIT_MS, healed)
      assert.deepEqual([...(await cluster.rooms.find(room))?.members.keys() ?? []].toSorted(), [ana.id, cleo.id, finn.id].toSorted())
      await cluster.says(ana, cleo, finn)
      await cluster.says(finn, ana, cleo)
      await eve.join(room)
      await cluster.heals(t, 'all knew of who came afterwards', HEALED_LIMIT_MS)
    })
  }
})
