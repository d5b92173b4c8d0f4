/** Runs calls through the real code, in simulated time, and counts what goes through each part. */
import { setImmediate as turn } from 'node:timers/promises'
import { Random } from '../../test/chaos/random.ts'
import { createInstance, SimulatedPeer, type Frames, type Instance } from './cluster.ts'
import { RedisStandIn, type Flow } from './redis-stand-in.ts'
import { callRate, drawCall, type Call, type Step, type Workload } from './workload.ts'

export interface RunOptions {
  readonly workload: Workload
  /** So many calls are simulated. */
  readonly calls: number
  readonly seed: number | string
  /** What happens to an instance within this time happens in one turn of its event loop, ms. */
  readonly turnMs: number
  readonly onProgress?: (done: number, of: number) => void
}

export interface Run {
  readonly calls: number
  /** Calls began so often, a second. */
  readonly rate: number
  /** Messages that clients sent to others, and how often one was handed to one. */
  readonly messages: number
  readonly deliveries: number
  readonly fromClients: Frames
  readonly toClients: Frames
  /** By what Redis was asked for. */
  readonly flows: ReadonlyMap<string, Flow>
  readonly redis: Flow
  readonly pushed: RedisStandIn['pushed']
  /** What instances gave to their brokers, which counts it itself, for comparison. */
  readonly published: { readonly publishes: number, readonly bytes: number }
  /** Instances with members of a room: of all rooms, and of those on several. */
  readonly places: { readonly all: number, readonly ofSpread: number }
  /** The most that one instance sent to clients and had from others, against the mean. */
  readonly busiest: number
}

/** @throws Error when something of what went in did not come out */
export async function simulate ({ workload, calls, seed, turnMs, onProgress = () => {} }: RunOptions): Promise<Run> {
  const random = new Random(seed, 'calls') // a stream of its own: the same calls, however many instances there are
  const names = new Random(seed, 'names')
  const redis = new RedisStandIn()
  const instances: Instance[] = []
  for (let i = 0; i < workload.instances; i++) instances.push(await createInstance(redis, names, `host-${String(i).padStart(5, '0')}`))
  await turn()
  redis.reset() // what it takes to start counts for nothing
  const rate = callRate(workload)
  const drawn = Array.from({ length: calls }, (_, i) => drawCall(workload, random, i, i / rate * 1000))
  const expected = await play(drawn, instances, turnMs, done => { onProgress(done, calls) })
  const run = summed(drawn, instances, redis, rate)
  check(run, redis, expected)
  return run
}

interface Timed { readonly call: Call, readonly step: Step }

/** Has the instances do what the calls say. @returns the messages said */
export async function play (calls: readonly Call[], instances: readonly Instance[], turnMs: number, onProgress: (done: number) => void = () => {}): Promise<number> {
  const timeline: Timed[] = calls.flatMap(call => call.steps.map(step => ({ call, step }))).sort((a, b) => a.step.at - b.step.at)
  const peers = new Map(calls.map(call => [call, call.members.map(({ info, instance }) => new SimulatedPeer(info, at(instances, instance)))]))
  let [messages, ended] = [0, 0]
  for (let next = 0; next < timeline.length;) {
    const until = (Math.floor(at(timeline, next).step.at / turnMs) + 1) * turnMs
    const underWay: Array<Promise<void>> = []
    for (; next < timeline.length && at(timeline, next).step.at < until; next++) {
      const { call, step } = at(timeline, next)
      const peer = at(peers.get(call) ?? [], step.member)
      const { rooms } = at(instances, at(call.members, step.member).instance)
      if (step.kind === 'say') messages++
      if (step.kind === 'leave' && step.member === call.members.length - 1) onProgress(++ended)
      underWay.push(carryOut(rooms, peer, call, step))
    }
    await Promise.all(underWay)
    await turn() // behind the brokers, which send what they have at the end of the turn
  }
  for (let i = 0; i < 3; i++) await turn() // what that brought about, too
  return messages
}

async function carryOut (rooms: Instance['rooms'], peer: SimulatedPeer, { room, members }: Call, step: Step): Promise<void> {
  if (step.kind === 'say') {
    const to = at(members, step.to).info.connection_id
    const text = Buffer.from(`{"type":"data","to":"${to}","data":${step.text}}`)
    peer.said(text)
    rooms.relay(peer, { type: 'data', to, data: JSON.parse(step.text) as unknown }, text)
    return
  }
  peer.said(JSON.stringify(step.kind === 'join' ? { type: 'join', room } : { type: 'leave' }))
  await (step.kind === 'join' ? rooms.join(peer, { room }) : rooms.leave(peer))
}

function summed (calls: readonly Call[], instances: readonly Instance[], redis: RedisStandIn, rate: number): Run {
  const fromClients = { frames: 0, bytes: 0 }
  const toClients = { frames: 0, bytes: 0, relayed: 0 }
  const published = { publishes: 0, bytes: 0 }
  let most = 0
  for (const { fromClients: from, toClients: to, broker } of instances) {
    add(fromClients, from)
    add(toClients, to)
    toClients.relayed += to.relayed
    published.publishes += broker.traffic.publishes
    published.bytes += broker.traffic.bytes
    most = Math.max(most, to.frames)
  }
  const places = { all: 0, ofSpread: 0 }
  for (const { members } of calls) {
    const count = new Set(members.map(({ instance }) => instance)).size
    places.all += count
    if (count > 1) places.ofSpread += count
  }
  const messages = calls.reduce((sum, { steps }) => sum + steps.filter(({ kind }) => kind === 'say').length, 0)
  return {
    calls: calls.length, rate, messages, deliveries: toClients.relayed, fromClients, toClients, flows: redis.flows, redis: redis.total, pushed: redis.pushed, published, places, busiest: most / (toClients.frames / instances.length)
  }
}

/** What enters leaves. @throws Error */
function check ({ deliveries, published, flows, pushed, calls }: Run, redis: RedisStandIn, said: number): void {
  const fail = (what: string): never => { throw new Error(`the simulation does not add up: ${what}`) }
  if (deliveries !== said) fail(`${said} messages were said and ${deliveries} arrived`)
  if ((flows.get('publish')?.commands ?? 0) !== published.publishes || pushed.inbox.messages !== published.publishes) fail('what brokers published is not what inboxes got')
  if (redis.rooms.size > 0 || [...redis.sets.values()].some(({ size }) => size > 0)) fail('rooms are left over')
  if (flows.get('lobby')?.commands !== 2 * calls) fail('each room is born once and ends once')
}

function add (sum: Frames, { frames, bytes }: Frames): void {
  sum.frames += frames
  sum.bytes += bytes
}

function at<T> (list: readonly T[], index: number): T {
  const item = list[index]
  if (item === undefined) throw new RangeError(`nothing at ${index}`)
  return item
}
