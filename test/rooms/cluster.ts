/** Instances of one cluster in one process: services over one store and one exchange, with faults where a test wants them. */
import type { TestContext } from 'node:test'
import type { Broker, BrokerHandlers } from '../../src/broker/broker.ts'
import { MemoryBroker, MemoryExchange } from '../../src/broker/memory-broker.ts'
import { MemoryPresence } from '../../src/presence/memory-presence.ts'
import type { Leases } from '../../src/presence/leases.ts'
import type { Change, Entry, Member, NewMember, Position, Presence, Reconciled, Since } from '../../src/presence/presence.ts'
import type { ClientMessageOf } from '../../src/protocol/messages.ts'
import { decodeHandover, isHandover, type HandoverMessage } from '../../src/rooms/handover-record.ts'
import { decodeRecord, type ChangeRecord, type DataRecord } from '../../src/rooms/record.ts'
import { RoomService } from '../../src/rooms/room-service.ts'
import { RecordingPeer } from '../harness/recording-peer.ts'

type Answers = { [name in 'join' | 'move' | 'leave' | 'disband' | 'snapshot' | 'reconcile' | 'positions']: Awaited<ReturnType<Presence[name]>> }

/** The store as one instance reaches it: what it answers can be held up, refused or lost. */
export class FaultyPresence implements Presence {
  readonly renewEveryMs: number | undefined
  readonly lateMs = undefined
  readonly #store: Presence
  /** Called before each call takes effect; what it throws is the answer. */
  before: (name: keyof Answers, room: string) => void | Promise<void> = () => {}
  /** Called after each call took effect; what it throws is the answer. */
  after: (name: keyof Answers, room: string) => void | Promise<void> = () => {}
  readonly renewed: string[][] = []

  constructor (store: Presence, renewEveryMs?: number) {
    this.#store = store
    this.renewEveryMs = renewEveryMs
  }

  async join (room: string, member: NewMember, limit: number): Promise<Entry | 'full'> {
    return await this.#pass('join', room, async () => await this.#store.join(room, member, limit))
  }

  async move (room: string, member: NewMember, epoch: string): Promise<Entry | undefined> {
    return await this.#pass('move', room, async () => await this.#store.move(room, member, epoch))
  }

  async leave (room: string, connectionId: string, known: Position): Promise<(Change & { emptied: boolean }) | undefined> {
    return await this.#pass('leave', room, async () => await this.#store.leave(room, connectionId, known))
  }

  async disband (room: string, requester: string | undefined): Promise<Change | undefined> {
    return await this.#pass('disband', room, async () => await this.#store.disband(room, requester))
  }

  async snapshot (room: string): ReturnType<Presence['snapshot']> {
    return await this.#pass('snapshot', room, async () => await this.#store.snapshot(room))
  }

  async reconcile (room: string, instance: string, members: readonly Member[], known: Position | undefined, since: Since, leavers?: readonly string[]): Promise<Reconciled> {
    return await this.#pass('reconcile', room, async () => await this.#store.reconcile(room, instance, members, known, since, leavers))
  }

  release (room: string): void { this.#store.release(room) }

  async lastLeavers (room: string, epochs: readonly string[]): Promise<Array<string | undefined>> { return await this.#store.lastLeavers(room, epochs) }

  async positions (rooms: readonly string[]): Promise<Array<Position | undefined>> {
    return await this.#pass('positions', rooms.join(), async () => await this.#store.positions(rooms))
  }

  async renew (rooms: string[]): Promise<void> {
    this.renewed.push(rooms)
    await this.#store.renew(rooms)
  }

  async #pass<N extends keyof Answers> (name: N, room: string, call: () => Promise<Answers[N]>): Promise<Answers[N]> {
    const held = this.before(name, room) // calls that nothing holds up take effect in the order made, as a store's do
    if (held !== undefined) await held
    const answer = await call()
    await this.after(name, room)
    return answer
  }
}

/** The way out of one instance: records can be dropped or held up. */
export class FaultyBroker implements Broker {
  readonly nonce: string
  readonly traffic = { publishes: 0, bytes: 0 }
  readonly #broker: Broker
  /** Whether a record goes on its way; false loses it. */
  passes: (record: DataRecord | ChangeRecord, to: string) => boolean = () => true
  /** Whether a message about a session goes on its way. */
  passesHandover: (message: HandoverMessage) => boolean = () => true
  /** What arrives waits. */
  #isDeaf = false
  #unheard: Array<() => void> = []
  /** Whether anything can leave at all. */
  isUp = true
  /** Where what arrives is handed over. */
  handlers: BrokerHandlers | undefined
  readonly sent: Array<{ to: string, record: DataRecord | ChangeRecord }> = []

  constructor (broker: Broker) {
    this.#broker = broker
    this.nonce = broker.nonce
  }

  async open (handlers: BrokerHandlers): Promise<void> {
    this.handlers = handlers
    await this.#broker.open({
      ...handlers,
      onRecord: (record, origin) => {
        if (this.#isDeaf) this.#unheard.push(() => { handlers.onRecord(record, origin) })
        else handlers.onRecord(record, origin)
      }
    })
  }

  get isDeaf (): boolean { return this.#isDeaf }
  set isDeaf (isDeaf: boolean) {
    this.#isDeaf = isDeaf
    if (!isDeaf) for (const hear of this.#unheard.splice(0)) hear()
  }

  async ask (instance: string, bytes: Buffer): Promise<boolean> { return this.send(instance, bytes) }
  async settled (): Promise<void> { await this.#broker.settled() }
  async hearLobby (on: boolean): Promise<void> { await this.#broker.hearLobby(on) }
  async close (): Promise<void> { await this.#broker.close() }

  send (instance: string, bytes: Buffer, vital?: boolean): boolean {
    if (!this.isUp) return false
    if (isHandover(bytes)) {
      const handover = decodeHandover(bytes)
      return (handover.kind === 'message' && !this.passesHandover(handover.message)) || this.#broker.send(instance, bytes, vital)
    }
    const record = decodeRecord(bytes)
    this.sent.push({ to: instance, record })
    if (!this.passes(record, instance)) return true
    return this.#broker.send(instance, bytes, vital)
  }
}

export interface Instance {
  rooms: RoomService
  presence: FaultyPresence
  broker: FaultyBroker
  warnings: string[]
}

export interface Cluster {
  exchange: MemoryExchange
  store: MemoryPresence
  instance (nonce: string, options?: { maxMembers?: number, renewEveryMs?: number, leases?: Leases }): Promise<Instance>
}

export function createCluster (t: TestContext): Cluster {
  const exchange = new MemoryExchange()
  const alive = setInterval(() => {}, 1000) // the service's own timers do not hold a process up
  t.after(() => { clearInterval(alive) })
  const store = new MemoryPresence(event => { exchange.announce(event) })
  return {
    exchange,
    store,
    instance: async (nonce, { maxMembers = 0, renewEveryMs, leases } = {}) => {
      const presence = new FaultyPresence(store, renewEveryMs)
      const warnings: string[] = []
      const broker = new FaultyBroker(new MemoryBroker(nonce, exchange, { error: (_context, message) => { warnings.push(message) } }))
      const rooms = new RoomService({ presence, broker, leases, maxMembers, log: { debug: () => {}, info: () => {}, warn: (_context, message) => { warnings.push(message) } } })
      await rooms.open()
      t.after(async () => { await rooms.close() })
      return { rooms, presence, broker, warnings }
    }
  }
}

/** Joins a room as a new peer, and waits until it is in. */
export async function seat ({ rooms }: Instance, id: string, room = 'r', over: ConstructorParameters<typeof RecordingPeer>[1] = {}): Promise<RecordingPeer> {
  const peer = new RecordingPeer(id, over)
  await rooms.join(peer, { room })
  return peer
}

/** Sends data as a client writes it. */
export function say ({ rooms }: Instance, peer: RecordingPeer, data: unknown, to?: string): void {
  const message: ClientMessageOf<'data'> = { type: 'data', data, ...(to !== undefined && { to }) }
  rooms.relay(peer, message, Buffer.from(JSON.stringify(message)))
}

/** A turn or two of the event loop: every record in memory has been handed over then. */
export async function turns (): Promise<void> {
  for (let i = 0; i < 4; i++) await new Promise(resolve => { setImmediate(resolve) })
}

/** A promise with its resolve, for holding an answer up. */
export function gate (): { opened: Promise<void>, open: () => void } {
  let open = (): void => {}
  const opened = new Promise<void>(resolve => { open = resolve })
  return { opened, open }
}
