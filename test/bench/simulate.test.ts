import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Redis } from 'ioredis'
import { play, simulate, type Run } from '../../bench/simulate/run.ts'
import { createInstance } from '../../bench/simulate/cluster.ts'
import { RedisStandIn } from '../../bench/simulate/redis-stand-in.ts'
import { drawCall, type Call, type Workload } from '../../bench/simulate/workload.ts'
import { Random } from '../chaos/random.ts'
import { Client } from '../harness/client.ts'
import { lookInto, startRedisServer } from '../harness/redis-server.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'

const workload: Workload = { clients: 100_000, instances: 20, sizes: new Map([[2, 3], [3, 1], [5, 1]]), callsPerHour: 2, callMinutes: 10, candidates: 2, sdpBytes: 2400, candidateBytes: 140, sticky: 0 }
const run = async (over: Partial<Workload> = {}, seed = 1): Promise<Run> => await simulate({ workload: { ...workload, ...over }, calls: 100, seed, turnMs: 1 })

test('what enters the simulation leaves it, and the same seed gives the same figures', async () => {
  const [one, same, other] = [await run({ sticky: 0.5 }), await run({ sticky: 0.5 }), await run({ sticky: 0.5 }, 2)]
  assert.equal(one.deliveries, one.messages)
  assert.equal(one.pushed.inbox.messages, one.published.publishes)
  assert.deepEqual(one, same)
  assert.notDeepEqual(one.flows, other.flows)
})

test('what a call costs does not grow with the number of instances, and a room on one instance says nothing to Redis', async () => {
  const [few, many] = [await run({ instances: 200 }), await run({ instances: 1000 })]
  const perCall = ({ redis, pushed, toClients }: Run): number[] => [redis.commands, redis.bytesIn, redis.bytesOut, pushed.inbox.bytes, toClients.frames]
  for (const [i, cost] of perCall(many).entries()) assert.ok(cost <= 1.02 * (perCall(few)[i] ?? 0), `${String(perCall(many))} against ${String(perCall(few))}`)
  const local = await run({ sticky: 1 })
  assert.equal(local.published.publishes, 0)
  assert.equal(local.deliveries, local.messages)
})

test('two real instances over a real Redis send what the simulation says they send', async t => {
  const server = await startRedisServer()
  t.after(async () => { await server.stop() })
  const names = ['host-00000', 'host-00001']
  const instances = await Promise.all(names.map(async name => await startTurnip({ env: { REDIS_URL: server.url, INSTANCE_ID: name } })))
  t.after(async () => { await Promise.all(instances.map(async instance => await instance.stop())) })
  await Promise.all(instances.map(serving))
  const look = await lookInto(server)
  t.after(() => { look.disconnect() })

  const random = new Random('two')
  const calls = Array.from({ length: 7 }, (_, i) => drawCall({ ...workload, instances: 2, sizes: new Map([[2, 2], [3, 1]]) }, random, i, i * 10_000))
  const [warmUp, ...counted] = calls
  assert.ok(warmUp)
  // Each connection sends each script as a whole the first time.
  for (const instance of [0, 1]) await talk({ ...warmUp, room: `warm-up-${instance}`, members: warmUp.members.map(member => ({ ...member, instance })) }, instances)
  const publishedBefore = await publishedBy(instances)
  const before = await countersOf(look)
  let toClients = 0
  for (const call of counted) toClients += await talk(call, instances)
  await until('all rooms are gone, and out of the books', async () => (await look.keys('*:room*')).length === 0)
  const after = await countersOf(look, before)
  const published = (await publishedBy(instances)).map((sum, i) => sum - (publishedBefore[i] ?? 0))

  const redis = new RedisStandIn()
  const simulated = [await createInstance(redis, random, 'host-00000'), await createInstance(redis, random, 'host-00001')]
  redis.reset()
  await play(counted, simulated, 0.01)
  const sum = (of: (instance: typeof simulated[number]) => number): number => simulated.reduce((total, one) => total + of(one), 0)
  const commands = (...operations: string[]): number => operations.reduce((total, operation) => total + (redis.flows.get(operation)?.commands ?? 0), 0)
  assert.equal(toClients, sum(one => one.toClients.bytes), 'bytes to clients')
  assert.deepEqual(published, [sum(one => one.broker.traffic.publishes), sum(one => one.broker.traffic.bytes)], 'batches to inboxes and their bytes')
  assert.equal(after.publish, commands('publish', 'lobby'))
  assert.equal(after.srem, commands('unmark'))
  near(after.evalsha, commands('mark', 'join', 'leave'), 4) // and renewals of leases
  near(after.bytesIn, redis.total.bytesIn, 0.03 * redis.total.bytesIn)
  const out = redis.total.bytesOut + redis.pushed.inbox.bytes
  near(after.bytesOut, out, 0.03 * out)
})

function near (real: number, predicted: number, tolerance: number): void {
  assert.ok(Math.abs(real - predicted) <= tolerance, `${real} in earnest, ${predicted} simulated`)
}

/** Has clients do what a call says, one thing after the other. @returns bytes of the frames that they got */
async function talk ({ members, steps, room }: Call, instances: readonly TurnipProcess[]): Promise<number> {
  const clients = await Promise.all(members.map(async ({ info, instance }) => await Client.open(instances[instance]?.wsUrl ?? '', info.user_id, { username: info.username })))
  const seated = new Set<Client>()
  for (const step of [...steps].sort((a, b) => a.at - b.at)) {
    const client = clients[step.member]
    assert.ok(client)
    if (step.kind === 'say') {
      const to = clients[step.to]
      assert.ok(to)
      client.send(`{"type":"data","to":"${to.id}","data":${step.text}}`)
      await to.next('data')
      continue
    }
    if (step.kind === 'join') {
      await Promise.all([client.join(room), ...Array.from(seated, async other => await other.next('user_joined'))])
      seated.add(client)
      continue
    }
    seated.delete(client)
    client.send({ type: 'leave' })
    await Promise.all([client.next(seated.size === 0 ? 'room_disbanded' : 'left'), ...Array.from(seated, async other => await other.next('user_left'))])
  }
  await Promise.all(clients.map(async client => { await client.close() }))
  return clients.flatMap(({ texts }) => texts.slice(1)).reduce((sum, text) => {
    const length = Buffer.byteLength(text)
    return sum + (length < 126 ? 2 : 4) + length
  }, 0)
}

/** Batches that instances have sent, and their bytes, as their metrics say. */
async function publishedBy (instances: readonly TurnipProcess[]): Promise<number[]> {
  const pages = await Promise.all(instances.map(async ({ metricsUrl }) => await (await fetch(`${metricsUrl ?? ''}/metrics`)).text()))
  return ['turnip_inbox_publishes_total', 'turnip_inbox_bytes_total'].map(name =>
    pages.reduce((sum, page) => sum + Number(new RegExp(`^${name}(?:{.*})? (\\d+)`, 'm').exec(page)?.[1]), 0))
}

interface Counters { evalsha: number, publish: number, srem: number, bytesIn: number, bytesOut: number, text: string }

/** @param since counts from there on, without what it takes to ask */
async function countersOf (redis: Redis, since?: Counters): Promise<Counters> {
  const first = await redis.info(since === undefined ? 'commandstats' : 'stats')
  const second = await redis.info(since === undefined ? 'stats' : 'commandstats')
  const [stats, commands] = since === undefined ? [second, first] : [first, second]
  const calls = (name: string): number => Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(commands)?.[1] ?? 0) - (since?.[name as 'publish'] ?? 0)
  const bytes = (name: string): number => Number(new RegExp(`total_net_${name}_bytes:(\\d+)`).exec(stats)?.[1])
  return {
    text: stats,
    evalsha: calls('evalsha'),
    publish: calls('publish'),
    srem: calls('srem'),
    bytesIn: bytes('input') - (since?.bytesIn ?? 0),
    bytesOut: bytes('output') - (since === undefined ? 0 : since.bytesOut + since.text.length)
  }
}
