import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Client } from '../harness/client.ts'
import { LinkedCluster, settled } from './linked-cluster.ts'

const LEASE_MS = 2500
/** How long until everybody knows the same after the last fault, ms. */
const CONVERGED_LIMIT_MS = LEASE_MS + 5000
/** A message of the flood, in bytes: as large as a frame may be, nearly. */
const MESSAGE_BYTES = 60_000
/** How many messages are said before it is looked whether that was enough. */
const BATCH = 20

void describe('An instance is too slow for its inbox, and Redis drops it', () => {
  let cluster: LinkedCluster
  before(async () => {
    // Without a proxy: its buffers would take what Redis is to choke on.
    cluster = await LinkedCluster.start({ direct: true, env: { LEASE_MS: String(LEASE_MS), MESSAGES_PER_SECOND: '0', BYTES_PER_SECOND: '0' } })
    await cluster.admin.config('SET', 'client-output-buffer-limit', 'pubsub 2mb 1mb 1')
  })
  after(async () => { await cluster.stop() })

  /** Says so much to an instance that reads nothing that Redis gives it up. */
  async function flood (sender: Client): Promise<void> {
    const isDropped = (line: string): boolean => line.includes('output buffer limits')
    const dropsBefore = cluster.redis.logs.filter(isDropped).length
    const filler = 'x'.repeat(MESSAGE_BYTES)
    for (let n = 0; cluster.redis.logs.filter(isDropped).length === dropsBefore; n += BATCH) {
      assert.ok(n * MESSAGE_BYTES < 64 * 2 ** 20, 'Redis does not drop who reads nothing')
      for (let i = 0; i < BATCH; i++) sender.send({ type: 'data', data: { n: cluster.number(), filler } })
      await sender.fence()
    }
  }

  for (const [when, awaitReaping] of [['before its lease ends', false], ['after its members were reaped', true]] as const) {
    void test(`it goes on ${when}: it resyncs, and all know the same`, async t => {
      const room = awaitReaping ? 'too-late' : 'in-time'
      const [ana, ben, cleo] = await cluster.gather(t, room, [0, 'ana'], [0, 'ben'], [1, 'cleo'])
      const dora = await cluster.open(t, 1, 'dora')
      assert.ok(ana && ben && cleo)
      await cluster.heals(t, 'all was well', CONVERGED_LIMIT_MS)
      const { turnip } = cluster.instance(0)

      turnip.signal('SIGSTOP')
      const since = performance.now()
      await flood(cleo)
      await dora.join(room)
      cleo.send({ type: 'leave' })
      await cleo.next('left')
      if (awaitReaping) {
        await settled(t, 'its members were reaped', LEASE_MS + 5000, async () => dora.all('user_left').length === 3 ? undefined : `${dora.all('user_left').length} left`, since)
      }
      t.diagnostic(`it was stopped for ${Math.round(performance.now() - since)} ms, its lease is ${LEASE_MS} ms`)
      turnip.signal('SIGCONT')
      // Its rooms may be right before it has noticed that nothing reaches its inbox.
      await settled(t, 'it hears again', CONVERGED_LIMIT_MS, async () => {
        const heard = String(await cluster.admin.client('LIST', 'TYPE', 'PUBSUB')).trim().split('\n').length
        return heard === 2 ? undefined : `${heard} are subscribed`
      })
      await cluster.heals(t, `all knew the same after an instance went on ${when}`, CONVERGED_LIMIT_MS)
      assert.deepEqual([...(await cluster.rooms.find(room))?.members.keys() ?? []].toSorted(), [ana, ben, dora].map(({ id }) => id).toSorted())
      await cluster.says(ana, ben, dora)
      await cluster.says(dora, ana, ben)
    })
  }
})
