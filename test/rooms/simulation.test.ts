/**
 * Instances over one store, in one process, with everything that is under way between them in the hands of a seed: what
 * is asked of the store, its answers and the records between instances arrive in any order that a network allows. In some
 * runs members go on over other instances: handed over, joining again on their own, or because their instance has died.
 */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { Random } from '../chaos/random.ts'
import { RecordingPeer } from '../harness/recording-peer.ts'
import type { Leases } from '../../src/presence/leases.ts'
import { NotDone, type Snapshot } from '../../src/presence/presence.ts'
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
const RUNS = Number(process.env.RUNS ?? 25)

/** Instances that die in a run with takeovers. */
const DEATHS = 2

interface Options { readonly isLossy: boolean, readonly hasTakeovers: boolean }

interface Simulated {
  peer: RecordingPeer
  at: Place
  busy: boolean
  /** On the way to another instance. */
  isOnTheWay: boolean
  n: number
  /** Whether it has gone on over another instance: what it says after that may overtake what it said before. */
  hasMoved: boolean
  /** Where it was a member when its instance died. */
  lostRoom: string | undefined
}

/** An instance, and whom it is to reap next. */
interface Place extends Instance { readonly nonce: string, isDead: boolean, readonly death: Promise<void>, readonly die: () => void, readonly reap: string[] }

class Simulation {
  readonly #random: Random
  /** What is under way, each lane in its order: to the store, back from it, from one instance to another. */
  readonly #lanes = new Map<string, Array<() => void>>()
  readonly #cluster: Cluster
  readonly #options: Options
  readonly #peers: Simulated[] = []
  readonly #places: Place[] = []
  /** Those whose members went on over another connection. */
  readonly #former: RecordingPeer[] = []
  /** Those of them that were handed over, and where they were. */
  readonly #handedOver: Array<{ peer: RecordingPeer, at: Place }> = []
  /** What the store answered the last move of each. */
  readonly #moves = new Map<string, Snapshot>()
  readonly #unreaped: string[] = []
  #deaths = 0
  #isOver = false
  readonly errors: unknown[] = []

  constructor (cluster: Cluster, seed: number, options: Options) {
    this.#cluster = cluster
    this.#random = new Random(seed)
    this.#options = options
  }

  get #loses (): boolean { return this.#options.isLossy && !this.#isOver }

  async begin (): Promise<void> {
    const { store } = this.#cluster
    const move = store.move.bind(store)
    store.move = async (room, member, epoch) => {
      const entry = await move(room, member, epoch)
      if (entry !== undefined) this.#moves.set(`${member.connection_id} to ${member.instance}`, entry)
      return entry
    }
    for (const nonce of INSTANCES) await this.#start(nonce)
    for (let i = 0; i < PEERS; i++) {
      this.#peers.push({ peer: new RecordingPeer(`user${i % 5}/${i}`), at: this.#random.pick(this.#places), busy: false, isOnTheWay: false, n: 0, hasMoved: false, lostRoom: undefined })
    }
  }

  async #start (nonce: string): Promise<void> {
    const reap: string[] = []
    let die = (): void => {}
    const death = new Promise<void>(resolve => { die = resolve })
    const place: Place = Object.assign(await this.#cluster.instance(nonce, { leases: this.#leases(nonce, reap) }), { nonce, reap, isDead: false, death, die })
    this.#places.push(place)
    const { presence, broker } = place
    presence.before = () => {
      if (place.isDead) throw new NotDone(new Error('It is dead'))
      return this.#travel(`to the store from ${nonce}`)
    }
    presence.after = async () => {
      const isLost = this.#loses && this.#random.chance(LOSS)
      await this.#travel(`from the store to ${nonce}`)
      if (isLost) throw new Error('The answer was lost')
    }
    let arrives = false
    broker.passes = (record, to) => {
      if (arrives) return true
      if (place.isDead) return false
      const receiver = this.#places.find(other => other.nonce === to)
      if (this.#loses && this.#random.chance(LOSS)) {
        this.#enter(`from ${nonce} to ${to}`, () => { if (receiver?.isDead === false) receiver.broker.handlers?.onMissed() })
        return false
      }
      const bytes = encodeRecord(record)
      this.#enter(`from ${nonce} to ${to}`, () => {
        if (receiver?.isDead !== false) return
        arrives = true
        broker.send(to, bytes, true)
        arrives = false
      })
      return false
    }
  }

  /** With them, rosters are compared with the store now and then, and the dead are reaped when it is their turn. */
  #leases (nonce: string, reap: string[]): Leases {
    const { store } = this.#cluster
    return {
      leaseMs: 1_000_000,
      renew: async () => ({ since: 'kept', instances: INSTANCES.length, restored: 0, nextEndMs: Infinity, reap: reap.splice(0) }),
      roomsOf: async () => ROOMS,
      evict: async (room, holder) => {
        await this.#travel(`to the store from ${nonce}`)
        const found = await store.reconcile(room, holder, [], undefined)
        await this.#travel(`from the store to ${nonce}`)
        if (found.kind !== 'held' || found.changes.length === 0) return undefined
        const { snapshot: { epoch, members }, changes } = found
        return { epoch, changes, emptied: false, instances: members.map(({ instance }) => instance) }
      },
      forget: async () => {},
      resign: async () => {}
    }
  }

  get #living (): Place[] { return this.#places.filter(({ isDead }) => !isDead) }

  /** Lets one thing happen. */
  async step (): Promise<void> {
    const idle = this.#peers.filter(({ busy }) => !busy)
    if (this.#options.hasTakeovers && this.#random.chance(0.01)) await this.#mishap()
    else if (idle.length > 0 && this.#random.chance(0.3)) this.#act(this.#random.pick(idle))
    else this.#arrive()
    await turns()
  }

  /** An instance dies, or one that is dead is reaped. */
  async #mishap (): Promise<void> {
    if (this.#random.chance(0.5)) return this.#reap()
    if (this.#deaths === DEATHS) return
    this.#deaths++
    const dead = this.#random.pick(this.#living)
    // What it has sent arrives before its clients come back: a join of its own would take them over.
    const lane = `to the store from ${dead.nonce}`
    for (const arrive of this.#lanes.get(lane) ?? []) {
      arrive()
      await turns()
    }
    this.#lanes.delete(lane)
    dead.isDead = true
    dead.die()
    this.#unreaped.push(dead.nonce)
    await this.#start(`${dead.nonce}+`)
    for (const [i, simulated] of this.#peers.entries()) {
      if (simulated.at !== dead || simulated.isOnTheWay) continue
      this.#former.push(simulated.peer)
      const reborn = { ...simulated, busy: false } // what it had asked for is answered to nobody
      this.#comeBack(reborn, simulated.peer.seat?.roster.room)
      this.#peers[i] = reborn
    }
  }

  #reap (): void {
    const nonce = this.#unreaped.shift()
    if (nonce === undefined) return
    const reaper = this.#random.pick(this.#living)
    reaper.reap.push(nonce)
    reaper.rooms.reconnected() // renews its lease
  }

  /** Lets everything arrive, and time pass, until all has been mended that can be. Nothing is lost any more. */
  async settle (tick: (ms: number) => void): Promise<void> {
    this.#isOver = true
    while (this.#unreaped.length > 0) this.#reap()
    for (let ticks = 0; ticks < QUIET_TICKS;) {
      while (this.#arrive()) await turns()
      tick(GAP_MS)
      await turns()
      if (this.#peers.every(({ busy }) => !busy)) ticks++
    }
    while (this.#arrive()) await turns()
  }

  async check (): Promise<void> {
    for (const peer of this.#former) {
      const view = new View(infoOf(peer), { mayLearnLate: true })
      // One whose connection is gone has left without being told so.
      for (const frame of peer.frames) if (frame.type !== 'room_disbanded' || frame.data.reason === 'user_requested') view.apply(frame)
    }
    for (const { peer, at } of this.#handedOver) {
      if (at.isDead) continue
      assert.equal(peer.seat, undefined)
      assert.ok(peer.closes.join() === '4409' || peer.frames.at(-1)?.type === 'room_disbanded', 'it has not heard that it goes on elsewhere')
    }
    for (const { peer } of this.#peers) {
      const view = new View(infoOf(peer), { mayLearnLate: this.#options.isLossy || this.#options.hasTakeovers }) // what the dead did may go unheard
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
    const { peer, at: { rooms }, at, lostRoom } = simulated
    const choice = this.#random.next()
    if (choice < 0.4) {
      if (peer.seat !== undefined && !simulated.hasMoved) say(at, peer, { n: simulated.n++, room: peer.seat.roster.room })
      return
    }
    simulated.busy = true
    simulated.lostRoom = undefined
    const done = this.#options.hasTakeovers && peer.seat !== undefined && choice < 0.55
      ? this.#goOn(simulated, peer.seat.roster)
      : choice < 0.75 || lostRoom !== undefined
        ? rooms.join(peer, { room: lostRoom ?? this.#random.pick(ROOMS) })
        : choice < 0.98 ? rooms.leave(peer) : rooms.disband(peer)
    done.catch((error: { code?: unknown }) => {
      if (!at.isDead && error.code !== 'not_in_room' && !(this.#options.isLossy && error.code === 'unavailable')) this.errors.push(error)
    }).finally(() => { simulated.busy = false })
  }

  /** A member goes on over another instance: it is handed over, or joins there by itself. */
  async #goOn (simulated: Simulated, { room, epoch }: { room: string, epoch: string }): Promise<void> {
    const { peer: former, at } = simulated
    const to = this.#random.pick(this.#living.filter(other => other !== at))
    const peer = new RecordingPeer(former.id)
    const isHandedOver = this.#random.chance(0.5)
    Object.assign(simulated, { isOnTheWay: true, hasMoved: true })
    this.#former.push(former)
    let isIn = false
    try {
      const arrival = isHandedOver ? this.#handOver(to, peer, room, epoch) : to.rooms.join(peer, { room }).then(() => false)
      isIn = await Promise.race([arrival, to.death.then(() => false)]) // the dead answer nobody
      arrival.catch(() => {})
    } catch (error) {
      if (!to.isDead && !this.#options.isLossy) this.errors.push(error)
    }
    Object.assign(simulated, { peer, at: to, isOnTheWay: false })
    if (isIn && !to.isDead && !this.#options.isLossy) this.#handedOver.push({ peer: former, at }) // it hears of it
    else if (!at.isDead) await at.rooms.exit(former) // its connection is gone, or has had its day
    if (to.isDead) this.#comeBack(simulated, room)
  }

  /** What the instance that held it has its client know is the room at the version of the move. */
  async #handOver (to: Place, peer: RecordingPeer, room: string, epoch: string): Promise<boolean> {
    const moved = await to.rooms.move(peer, { room, epoch })
    if (moved === undefined) return false
    const { version, members } = this.#moves.get(`${peer.id} to ${to.nonce}`) ?? assert.fail('the store knows nothing of it')
    assert.equal(moved.version, version)
    const others = members.filter(({ connection_id: id }) => id !== peer.id).map(({ instance, ...info }) => info)
    peer.frames.push({ type: 'joined', room, version, data: { room, connection_id: peer.id, members: others } })
    moved.seat.release()
    return true
  }

  /** The instance of a client has died: it goes to another. */
  #comeBack (simulated: Simulated, lostRoom: string | undefined): void {
    Object.assign(simulated, { peer: new RecordingPeer(simulated.peer.id), at: this.#random.pick(this.#living), hasMoved: true, lostRoom })
  }
}

async function simulate (t: TestContext, seed: number, options: Options): Promise<void> {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  const simulation = new Simulation(createCluster(t), seed, options)
  await simulation.begin()
  for (let i = 0; i < STEPS; i++) await simulation.step()
  await simulation.settle(ms => { t.mock.timers.tick(ms) })
  assert.deepEqual(simulation.errors, [])
  await simulation.check()
}

for (const hasTakeovers of [false, true]) {
  for (const isLossy of [false, true]) {
    const what = `${hasTakeovers ? ', members go on elsewhere, instances die' : ''}${isLossy ? ', answers are lost' : ''}`
    void test(`${RUNS} times three instances race in an order of their own${what}: every view is that of the store, change by change`, async t => {
      const first = Number(process.env.SEED ?? randomInt(2 ** 31))
      for (let run = 0; run < RUNS; run++) {
        const seed = first + run
        await t.test(`seed ${seed}`, async t => { await simulate(t, seed, { isLossy, hasTakeovers }) })
      }
    })
  }
}
