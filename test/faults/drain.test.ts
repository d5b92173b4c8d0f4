import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { describe, test } from 'node:test'
import type { Client } from '../harness/client.ts'
import { createListeningParser, launch, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'
import { InstanceCluster, quantile } from './instance-cluster.ts'
import { closeOf, deafWebSocket, rawSocket, upgradeHead } from './raw-socket.ts'

const DRAIN_TIMEOUT_MS = 10_000
const CLIENTS = Number(process.env.DRAIN_CLIENTS ?? 1000)
const CLIENTS_A_ROOM = 4
/** So many open their connections at a time. */
const AT_ONCE = 50

/** Ends an instance. @returns how long it took, ms */
async function timedStop (instance: TurnipProcess): Promise<number> {
  const start = performance.now()
  assert.deepEqual(await instance.stop(), { code: 0, signal: null }, instance.logs.join('\n'))
  return performance.now() - start
}

/** When a client is told to go, since a moment, ms; and how long it is to stay away. */
async function farewell (client: Client, since: number): Promise<{ at: number, away: number }> {
  const { data } = await client.next('goaway')
  const at = performance.now() - since
  assert.equal((await client.closed).code, 1012)
  assert.equal(client.frames.at(-1)?.type, 'goaway')
  assert.equal(client.all('goaway').length, 1)
  return { at, away: data.reconnect_after_ms }
}

void describe('An instance that is told to end', { concurrency: true }, () => {
  void test(`With ${CLIENTS} clients and one that never answers, all are sent away over some time, it ends within the drain, and Redis holds nothing of it`, async t => {
    const cluster = await InstanceCluster.open(t, { DRAIN_TIMEOUT_MS: String(DRAIN_TIMEOUT_MS) })
    const [first, second] = await Promise.all([cluster.start(), cluster.start()])
    const witness = await cluster.member(second, 'witness', 'room-0')
    const clients: Client[] = []
    for (let from = 0; from < CLIENTS; from += AT_ONCE) {
      clients.push(...await Promise.all(Array.from({ length: Math.min(AT_ONCE, CLIENTS - from) }, async (_, i) => {
        const { client } = await cluster.member(first, `user-${from + i}`, `room-${Math.floor((from + i) / CLIENTS_A_ROOM)}`)
        return client
      })))
    }
    const deaf = await deafWebSocket(first.url, 'deaf')
    t.after(() => { deaf.destroy() })

    const start = performance.now()
    const told = Promise.all(clients.map(client => farewell(client, start)))
    const took = await timedStop(first)
    const times = await told
    t.diagnostic(`${CLIENTS} clients and a deaf one: ended after ${Math.round(took)} ms; told after p50 ${quantile(times.map(({ at }) => at), 0.5)}, max ${quantile(times.map(({ at }) => at), 1)} ms; away for p50 ${quantile(times.map(({ away }) => away), 0.5)}, max ${quantile(times.map(({ away }) => away), 1)} ms`)
    assert.ok(took < DRAIN_TIMEOUT_MS, `it took ${took} ms`)
    const first100 = times.filter(({ at }) => at < 200).length
    assert.ok(first100 < CLIENTS / 2, `${first100} clients were told at once`)
    for (const { at } of times) assert.ok(at < DRAIN_TIMEOUT_MS / 2 + 2000, `one was told after ${at} ms`)
    const waits = new Set(times.map(({ away }) => away))
    assert.ok(waits.size > Math.min(CLIENTS, 500) / 4, `${waits.size} different waits`)
    for (const wait of waits) assert.ok(wait >= 1000 && wait <= 31_000, `one is to wait ${wait} ms`)

    await witness.sawLeave(clients.slice(0, CLIENTS_A_ROOM).map(({ id }) => id), DRAIN_TIMEOUT_MS)
    await cluster.settled('room-0', [witness])
    await cluster.stop(second)
    await cluster.assertNothingLeft()
  })

  void test('A few clients are sent away at once, and it ends at once', async t => {
    const cluster = await InstanceCluster.open(t)
    const instance = await cluster.start()
    const members = await Promise.all(Array.from({ length: 10 }, (_, i) => cluster.member(instance, `user-${i}`, 'room')))
    const start = performance.now()
    const told = Promise.all(members.map(({ client }) => farewell(client, start)))
    const took = await timedStop(instance)
    t.diagnostic(`10 clients: ended after ${Math.round(took)} ms`)
    assert.ok(took < 4000, `it took ${took} ms`)
    const waits = (await told).map(({ away }) => away)
    assert.ok(new Set(waits).size > 1, `all wait ${waits[0]} ms`)
    await cluster.assertNothingLeft()
  })

  void test('A silent connection and upgrades that are not finished do not hold it up', async t => {
    const cluster = await InstanceCluster.open(t, { DRAIN_TIMEOUT_MS: String(DRAIN_TIMEOUT_MS) })
    const instance = await cluster.start()
    const { client } = await cluster.member(instance, 'ana', 'room')
    const [silent, half, split, late] = await Promise.all([1, 2, 3, 4].map(() => rawSocket(instance.url)))
    assert.ok(silent && half && split && late)
    const sockets = [silent, half, split, late]
    t.after(() => { for (const socket of sockets) socket.destroy() })
    half.write('GET /ws HTTP/1.1\r\nHost: tur')
    split.write(upgradeHead('/ws', 'split').slice(0, -2)) // all but the last line's end
    late.write(upgradeHead('/ws', 'late').slice(0, -2))
    await client.fence() // what was written before has reached it too
    const closed = Promise.all(sockets.map(closeOf))
    const start = performance.now()
    const told = farewell(client, start)
    const ended = timedStop(instance)
    await told
    late.write('\r\n')
    const took = await ended
    assert.ok(took < DRAIN_TIMEOUT_MS, `it took ${took} ms`)
    await closed
    await cluster.assertNothingLeft()
  })

  void test('An upgrade that is stuck in a hook of the host does not hold up the host', async t => {
    const cluster = await InstanceCluster.open(t)
    const program = fileURLToPath(new URL('stuck-host.ts', import.meta.url))
    const host = await launch(['--import', import.meta.resolve('tsx'), program], createListeningParser(), { env: { REDIS_URL: cluster.redis.url, DRAIN_TIMEOUT_MS: String(DRAIN_TIMEOUT_MS) } })
    t.after(() => host.stop())
    await serving(host)
    const { client } = await cluster.member(host, 'ana', 'room')
    const stuck = await rawSocket(host.url)
    t.after(() => { stuck.destroy() })
    const closed = closeOf(stuck)
    stuck.write(upgradeHead('/ws', 'stuck').replace('Host:', 'X-Stuck: yes\r\nHost:'))
    await until('the upgrade is stuck', async () => host.logs.includes('somebody is stuck'))
    const [took] = await Promise.all([timedStop(host), farewell(client, 0), closed])
    t.diagnostic(`with a stuck upgrade, the host ended after ${Math.round(took)} ms`)
    assert.ok(took < DRAIN_TIMEOUT_MS, `it took ${took} ms`)
    await cluster.assertNothingLeft()
  })
})
