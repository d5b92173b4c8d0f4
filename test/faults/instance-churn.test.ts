import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { test } from 'node:test'
import { InstanceCluster, Member } from './instance-cluster.ts'

const ROOM = 'busy'
const CHANGES_PER_SECOND = 200
const SECONDS = Number(process.env.CHURN_SECONDS ?? 5)
const CHURNERS = 24
const JOINERS = 6
/** The longest that a joiner stays, ms. */
const STAY_MS = 200

test(`Members who join a room that changes ${CHANGES_PER_SECOND} times a second know what Redis knows, by their snapshot and what they are told after it`, async t => {
  const cluster = await InstanceCluster.open(t)
  const instances = [await cluster.start(), await cluster.start()] as const
  const enter = async (i: number, name: string): Promise<Member> => new Member(await cluster.client(instances[i % 2 === 0 ? 0 : 1], `${name}-${i}`))
  const churners = await Promise.all(Array.from({ length: CHURNERS }, (_, i) => enter(i, 'churner')))
  const joiners = await Promise.all(Array.from({ length: JOINERS }, (_, i) => enter(i, 'joiner')))
  const anchor = await cluster.member(instances[0], 'anchor', ROOM) // one life of the room, whatever they do

  // Each churner is in or out in turn: every request is a change of the roster.
  const ended = new AbortController()
  const start = performance.now()
  const churn = async (): Promise<void> => {
    for (let change = 0; change < CHANGES_PER_SECOND * SECONDS; change++) {
      const isIn = Math.floor(change / CHURNERS) % 2 === 1
      churners[change % CHURNERS]?.client.send(isIn ? { type: 'leave' } : { type: 'join', room: ROOM })
      const ahead = start + change / CHANGES_PER_SECOND * 1000 - performance.now()
      if (ahead > 0) await delay(ahead)
    }
    ended.abort()
  }
  let stays = 0
  const join = async (joiner: Member): Promise<void> => {
    while (!ended.signal.aborted) {
      await joiner.client.join(ROOM)
      joiner.catchUp()
      await delay(Math.random() * STAY_MS)
      joiner.client.send({ type: 'leave' })
      await joiner.client.next('left')
      joiner.catchUp()
      stays++
    }
    await joiner.client.join(ROOM)
  }
  await Promise.all([churn(), ...joiners.map(join)])
  const took = performance.now() - start
  await Promise.all(churners.map(({ client }) => client.fence()))

  const stored = await cluster.rooms.find(ROOM)
  assert.ok(stored)
  const inside = [anchor, ...joiners, ...churners.filter(({ id }) => stored.members.has(id))]
  await cluster.settled(ROOM, inside)
  for (const churner of churners) {
    churner.catchUp()
    assert.equal(churner.view.room !== undefined, stored.members.has(churner.id))
  }
  const resynced = inside.reduce((sum, { client }) => sum + client.all('resynced').length, 0)
  t.diagnostic(`${stored.version} changes in ${Math.round(took)} ms, ${stays} stays during them, ${resynced} resynced`)
  assert.equal(resynced, 0, 'nothing was lost, so nothing had to be made good')
})
