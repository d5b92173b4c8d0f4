import assert from 'node:assert/strict'
import { after, before, describe, test, type TestContext } from 'node:test'
import { within } from '../../src/redis/deadline.ts'
import { Client } from '../harness/client.ts'
import { LEASE_MS, LinkedCluster, livesOf, settled } from './linked-cluster.ts'

/** How long until everybody knows the same after the last fault, ms. */
const CONVERGED_LIMIT_MS = LEASE_MS + 5000

/** How long a command may take to come whose reply is to be lost, ms. */
const LOST_LIMIT_MS = 10_000

/** How a reply gets lost: the connection breaks, or it hangs and the reply comes when it is of no use any more. */
const FAULTS = [['breaks', 'cut'], ['hangs', 'hold']] as const

void describe('The reply of Redis is lost after a script ran', { concurrency: true }, () => {
  for (const [how, then] of FAULTS) {
    void describe(`and the connection ${how}`, { concurrency: false }, () => {
      let cluster: LinkedCluster
      before(async () => { cluster = await LinkedCluster.start() })
      after(async () => { await cluster.stop() })

      interface Cast { room: string, ana: Client, ben: Client, cleo: Client, watchers: Client[] }

      /** Two members on the instance whose replies get lost, one on the other, and somebody who watches on each. */
      async function cast (t: TestContext, room: string): Promise<Cast> {
        await cluster.heals(t, 'the instance was back after the last test', CONVERGED_LIMIT_MS)
        const watchers = [await cluster.watcher(t, 0), await cluster.watcher(t, 1)]
        const [ana, ben, cleo] = await cluster.gather(t, room, [0, 'ana'], [0, 'ben'], [1, 'cleo'])
        assert.ok(ana && ben && cleo)
        await cluster.heals(t, 'all was well', CONVERGED_LIMIT_MS)
        return { room, ana, ben, cleo, watchers }
      }

      /** Has the instance not hear of what it does in a room for a client next; all is well again when this resolves. */
      async function withoutReply (room: string, { id }: Client, act: () => Promise<void>): Promise<void> {
        const { link } = cluster.instance(0)
        const lost = link.loseReply(([name, ...words]) =>
          name?.startsWith('EVAL') === true && words.includes(`turnip:development:room:{${room}}`) && words.some(word => word.includes(id)), then)
        await act()
        const lostOn = await within(LOST_LIMIT_MS, lost)
        if (then === 'hold') await passOfTimeout()
        else await cluster.notices(0, lostOn)
        await link.heal()
      }

      /** By then what was asked before has timed out. */
      async function passOfTimeout (): Promise<void> {
        const eve = await Client.open(cluster.instance(0).turnip.wsUrl, 'eve')
        await eve.refused({ type: 'join', room: 'in-vain' })
        await eve.close()
      }

      /** Everybody who watches was told so, and no more. */
      async function assertLives (t: TestContext, clients: Client[], room: string, lives: string[]): Promise<void> {
        await settled(t, `the life of ${room} was told`, CONVERGED_LIMIT_MS, async () => {
          const told = clients.map(client => livesOf(client, room))
          return told.every(each => each.length >= lives.length) ? undefined : JSON.stringify(told)
        })
        const herald = await cluster.open(t, 1, 'herald')
        await herald.join(`${room}-herald`)
        for (const client of clients) {
          if (client.all('watching').length > 0) await client.upTo(frame => frame.type === 'room_created' && frame.data.room === `${room}-herald`)
          assert.deepEqual(livesOf(client, room), lives, client.info.user_id)
        }
      }

      void test(`of a join, and the connection ${how}: who asks again is in once, who does not is out`, async t => {
        const { room, ana, ben, cleo } = await cast(t, `join-${then}`)
        const [dora, finn] = [await cluster.open(t, 0, 'dora'), await cluster.open(t, 0, 'finn')]
        for (const [client, again] of [[dora, true], [finn, false]] as const) {
          await withoutReply(room, client, async () => {
            client.send({ type: 'join', room })
            const answer = (await client.upTo(({ type }) => type === 'joined' || type === 'error')).at(-1)
            assert.ok(answer?.type === 'error' && answer.code === 'unavailable', JSON.stringify(answer))
          })
          if (!again) continue
          await settled(t, 'a second join was taken', CONVERGED_LIMIT_MS, async () => {
            client.send({ type: 'join', room })
            const answer = (await client.upTo(({ type }) => type === 'joined' || type === 'error')).at(-1)
            return answer?.type === 'joined' ? undefined : JSON.stringify(answer)
          })
        }
        await cluster.heals(t, 'all knew the same', CONVERGED_LIMIT_MS)
        assert.deepEqual([...(await cluster.rooms.find(room))?.members.keys() ?? []].toSorted(), [ana, ben, cleo, dora].map(({ id }) => id).toSorted())
        await cluster.says(dora, ana, ben, cleo)
      })

      void test(`of a leave, and the connection ${how}: it has happened once for everybody`, async t => {
        const { room, ana, ben, cleo, watchers } = await cast(t, `leave-${then}`)
        await withoutReply(room, ben, async () => {
          ben.send({ type: 'leave' })
          await ben.next('left')
        })
        await cluster.heals(t, 'all knew the same', CONVERGED_LIMIT_MS)
        assert.deepEqual([...(await cluster.rooms.find(room))?.members.keys() ?? []].toSorted(), [ana.id, cleo.id].toSorted())
        await cluster.says(ana, cleo)
        await assertLives(t, watchers, room, ['created'])
        assert.deepEqual(livesOf(ben, room), [])
      })

      void test(`of the last leave, and the connection ${how}: the room has ended once`, async t => {
        const { watchers } = await cast(t, `beside-last-${then}`)
        const room = `last-${then}`
        const [dora] = await cluster.gather(t, room, [0, 'dora'])
        assert.ok(dora)
        await withoutReply(room, dora, async () => {
          dora.send({ type: 'leave' })
          await dora.next('left')
        })
        await cluster.heals(t, 'all knew the same', CONVERGED_LIMIT_MS)
        assert.equal(await cluster.rooms.find(room), undefined)
        await assertLives(t, watchers, room, ['created', 'last_member_left'])
        await assertLives(t, [dora], room, ['last_member_left'])
      })

      void test(`of a disband_room, and the connection ${how}: everybody is told of the end once`, async t => {
        const { room, ana, ben, cleo, watchers } = await cast(t, `disband-${then}`)
        await withoutReply(room, ana, async () => {
          ana.send({ type: 'disband_room' })
          const answer = (await ana.upTo(({ type }) => type === 'room_disbanded' || type === 'error')).at(-1)
          assert.ok(answer?.type === 'room_disbanded' || (answer?.type === 'error' && answer.code === 'unavailable'), JSON.stringify(answer))
        })
        await assertLives(t, [ana, ben, cleo], room, ['user_requested'])
        await assertLives(t, watchers, room, ['created', 'user_requested'])
        await cluster.heals(t, 'all knew the same', CONVERGED_LIMIT_MS)
        assert.equal(await cluster.rooms.find(room), undefined)
      })
    })
  }
})
