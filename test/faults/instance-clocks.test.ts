import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { test } from 'node:test'
import type { TurnipProcess } from '../harness/turnip-process.ts'
import { converse, InstanceCluster, REAP_LIMIT_MS, toldOf, toldThat, type Member } from './instance-cluster.ts'
import { wrongClock } from './wrong-clock.ts'

const LEASE_MS = 1500
const TEN_MINUTES_MS = 600_000
/** Waits that only a broken cluster takes to their end, ms. */
const LIMIT_MS = LEASE_MS + REAP_LIMIT_MS + 10_000

/** Good for an hour by every clock. */
function claims (): { iat: undefined, exp: number } {
  return { iat: undefined, exp: Math.floor(Date.now() / 1000) + 3600 }
}

/** How far ahead the clock of an instance is, by its log, ms. */
function clockOf ({ logs }: TurnipProcess): number {
  const line = logs.find(line => line.includes('Turnip is listening')) ?? '{}'
  return (JSON.parse(line) as { time: number }).time - Date.now()
}

test('Instances whose clocks are ten minutes fast and slow reap nobody early and are not reaped, and rooms work across them', async t => {
  const cluster = await InstanceCluster.open(t, { LEASE_MS: String(LEASE_MS) })
  const instances = await Promise.all([cluster.start(wrongClock('+10m')), cluster.start(wrongClock('-10m')), cluster.start()])
  const [fast, slow, right] = instances
  assert.ok(Math.abs(clockOf(fast) - TEN_MINUTES_MS) < 60_000, `the fast clock is ${clockOf(fast)} ms ahead`)
  assert.ok(Math.abs(clockOf(slow) + TEN_MINUTES_MS) < 60_000, `the slow clock is ${clockOf(slow)} ms ahead`)

  const watcher = await cluster.watcher(right)
  const members: Member[] = []
  for (const [i, instance] of instances.entries()) {
    for (const round of [1, 2]) members.push(await cluster.member(instance, `user-${i}-${round}`, 'room', claims()))
    await cluster.member(instance, `alone-${i}`, `alone-${i}`, claims())
  }
  await cluster.settled('room', members)
  // Times come from the store, not from the instance.
  const joined = await cluster.client(right, 'reader', claims()).then(client => client.join('room'))
  for (const { joined_at: at } of joined.data.members) assert.ok(Math.abs(at - Date.now()) < 60_000, `joined_at is ${at - Date.now()} ms ahead`)

  const end = performance.now() + 3 * LEASE_MS
  while (performance.now() < end) {
    await converse(members)
    await delay(50) // a steady talk, not a flood
  }
  for (const { client } of members) assert.deepEqual(client.all('user_left'), [])
  for (const [i] of instances.entries()) assert.deepEqual(toldOf(watcher, `alone-${i}`), ['room_created'])
  await cluster.leases(3)

  // One that is dead is found out, whoever looks: the fast one is killed, the slow and the right one see it.
  const [gone, stay] = [members.slice(0, 2), members.slice(2)]
  const start = performance.now()
  fast.signal('SIGKILL')
  await Promise.all([...stay.map(member => member.sawLeave(gone.map(({ id }) => id), LIMIT_MS)), toldThat(watcher, 'room_disbanded', 'alone-0', LIMIT_MS)])
  const took = performance.now() - start
  assert.ok(took <= LEASE_MS + REAP_LIMIT_MS, `it took ${took} ms`)
  await cluster.leases(2)
  for (const i of [1, 2]) assert.deepEqual(toldOf(watcher, `alone-${i}`), ['room_created'])
  await converse(stay)
})
