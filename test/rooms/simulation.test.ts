/**
 * Instances over one store, in one process, with everything that is under way between them in the hands of a seed: what
 * is asked of the store, its answers and the records between instances arrive in any order that a network allows.
 */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { Random } from '../chaos/random.ts'
import { RecordingPeer } from '../harness/recording-peer.ts'
import type { Leases } from '../../src/presence/leases.ts'
import { encodeRecord } from '../../src/rooms/record.ts'
import { infoOf } from '../../src/rooms/peer.ts'
import { GAP_MS } from '../../src/rooms/reconciler.ts'
import { View } from '../protocol/view.ts'
import { createCluster, say, turns, type Cluster, type Instance } from './cluster.ts'

const INSTANCES = ['one', 'two', 'three']
const PEERS = 8
const ROOMS = ['north', 'south']
/** As many seconds as it takes until all rosters have been compared with the store, and what that finds is mended. */
const QUIET_TICKS = 30
const STEPS = 600
/** How often something is lost on its way, where it may be. */
const LOSS = 0.03
const RUNS = Number(process.env.RUNS ?? 60)

/** With it, rosters are compared with the store now and then. */
const endless: Leases = {
  leaseMs: 1_000_000,
  renew: async () => ({ since: 'kept', instances: INSTANCES.length, restored: 0, nextEndMs: Infinity, reap: [] }),
  roomsOf: async () => [],
  evict: async () => undefined,
  forget: async () => {},
  resign: async () => {}
}

interface Simulated { readonly peer: RecordingPeer, readonly at: Instance, busy: boolean, n: number }

class Simulation {
  readonly #random: Random
  /** What is under way, each lane in its order: to the store, back from it, from one instance to another. */
  readonly #lanes = new Map<string, Array<() => void>>()
  readonly #cluster: Cluster
  readonly #lossy: boolean
  readonly #peers: Simulated[] = []
  #isOver = false
  readonly errors: unknown[] = []

  constructor (cluster: Cluster, seed: number, lossy: boolean) {
    this.#cluster = cluster
    this.#random = new Random(seed)
    this.#lossy = lossy
  }

  get #loses (): boolean { return this.#lossy && !this.#isOver }

  async begin (): Promise<void> {
    const instances: Instance[] = []
    for (const nonce of INSTANCES) {
      const instance = await this.#cluster.instance(nonce, { leases: endless })
      instances.push(instance)
      const { presence, broker } = instance
      presence.before = () => this.#travel(`to the store from ${nonce}`)
      presence.after = async () => {
        const isLost = this.#loses && this.#random.chance(LOSS)
        await this.#travel(`from the store to ${nonce}`)
        if (isLost) throw new Error('The answer was lost')
      }
      let arrives = false
      broker.passes = (record, to) => {
        if (arrives) return true
        if (this.#loses && this.#random.chance(LOSS)) {
          this.#enter(`from ${nonce} to ${to}`, () => { instances.find(({ broker }) => broker.nonce === to)?.broker.handlers?.onMissed() })
          return false
        }
        const bytes = encodeRecord(record)
        this.#enter(`from ${nonce} to ${to}`, () => {
          arrives = true
          broker.send(to, bytes, true)
          arrives = false
        })
        return false
      }
    }
    for (let i = 0; i < PEERS; i++) this.#peers.push({ peer: new RecordingPeer(`user${i % 5}/${i}`), at: this.#random.pick(instances), busy: false, n: 0 })
  }

  /** Lets one thing happen. */
  async step (): Promise<void> {
    const idle = this.#peers.filter(({ busy }) => !busy)
    if (idle.length > 0 && this.#random.chance(0.3)) this.#act(this.#random.pick(idle))
    else this.#arrive()
    await turns()
  }

  /** Lets everything arrive, and time pass, until all has been mended that can be. Nothing is lost any more. */
  async settle (tick: (ms: number) => void): Promise<void> {
    this.#isOver = true
    for (let ticks = 0; ticks < QUIET_TICKS;) {
      while (this.#arrive()) await turns()
      tick(GAP_MS)
      await turns()
      if (this.#peers.every(({ busy }) => !busy)) ticks++
    }
    while (this.#arrive()) await turns()
  }

  async check (): Promise<void> {
    for (const { peer } of this.#peers) {
      const view = new View(infoOf(peer), { mayLearnLate: this.#lossy })
      if (process.env.SHOW === peer.id) console.error(peer.frames.slice(-12).map(f => JSON.stringify(f)).join('\n'), peer.seat?.roster.ours())
      for (const frame of peer.frames) view.apply(frame)
      for (const room of ROOMS) {
        const stored = await this.#cluster.store.snapshot(room)
        const ids = stored?.members.map(({ connection_id: id }) => id).toSorted() ?? []
        assert.equal(ids.includes(peer.id), room === view.room, `${peer.id} is in ${view.room}, and the store has ${ids.join()} in ${room}`)
        if (room === view.room) assert.deepEqual([view.ids, view.version], [ids, stored?.version])
      }
    }
  }

  async #travel (lane: string): Promise<void> {
    await new Promise<void>(resolve => { this.#enter(lane, resolve) })
  }

  #enter (lane: string, arrive: () => void): void {
    const queue = this.#lanes.get(lane)
    if (queue === undefined) this.#lanes.set(lane, [arrive])
    else queue.push(arrive)
  }

  #arrive (): boolean {
    if (this.#lanes.size === 0) return false
    const [lane, queue] = this.#random.pick([...this.#lanes])
    queue.shift()?.()
    if (queue.length === 0) this.#lanes.delete(lane)
    return true
  }

  #act (simulated: Simulated): void {
    const { peer, at: { rooms }, at } = simulated
    const choice = this.#random.next()
    if (choice < 0.4) {
      if (peer.seat !== undefined) say(at, peer, { n: simulated.n++, room: peer.seat.roster.room })
      return
    }
    simulated.busy = true
    const done = choice < 0.75
      ? rooms.join(peer, { room: this.#random.pick(ROOMS) })
      : choice < 0.98 ? rooms.leave(peer) : rooms.disband(peer)
    done.catch((error: { code?: unknown }) => {
      if (error.code !== 'not_in_room' && !(this.#lossy && error.code === 'unavailable')) this.errors.push(error)
    }).finally(() => { simulated.busy = false })
  }
}

async function simulate (t: TestContext, seed: number, lossy: boolean): Promise<void> {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  const simulation = new Simulation(createCluster(t), seed, lossy)
  await simulation.begin()
  for (let i = 0; i < STEPS; i++) await simulation.step()
  await simulation.settle(ms => { t.mock.timers.tick(ms) })
  assert.deepEqual(simulation.errors, [])
  await simulation.check()
}

for (const lossy of [false, true]) {
  void test(`${RUNS} times three instances race in an order of their own${lossy ? ', and answers are lost' : ''}: every view is that of the store, change by change`, async t => {
    const first = Number(process.env.SEED ?? randomInt(2 ** 31))
    for (let run = 0; run < RUNS; run++) {
      const seed = first + run
      await t.test(`seed ${seed}`, async t => { await simulate(t, seed, lossy) })
    }
  })
}
