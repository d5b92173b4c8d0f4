/**
 * Runs in the page: a room whose signals a test can lose, with real connections between its members. The server's own
 * part is tested over a real one; here it is what it does when an instance dies.
 */
import { Emitter, PeerMesh, type CallReport, type IceServer, type Member, type MeshOptions, type Peer, type PeerInfo, type SignalingClient, type SignalingEvents, type SignalingState } from '../../../src/client/index.ts'
import { canvasStream, moves, until } from './pictures.ts'
import { Plain } from './plain.ts'

/** As much of a `SignalingClient` as a mesh knows. */
class StageClient extends Emitter<SignalingEvents> {
  state: SignalingState = 'open'
  room: string | null = null
  members = new Map<string, Member>()
  iceServers: IceServer[] = []
  reports: CallReport[] = []
  readonly #stage: Stage
  connectionId: string

  constructor (stage: Stage, id: string) {
    super()
    this.#stage = stage
    this.connectionId = id
  }

  send (data: unknown, to?: string): boolean { return this.#stage.carry(this, data, to) }
  report (report: CallReport): void { this.reports.push(report) }
  tell<K extends keyof SignalingEvents> (event: K, detail: SignalingEvents[K]): void { this.emit(event, detail) }
}

export interface Carried { from: string, to: string, type: string, sdp: string | undefined, link: object | undefined, at: number }

const infoOf = (id: string): PeerInfo => ({ connection_id: id, user_id: id, username: id })

export class Stage {
  readonly clients = new Map<string, StageClient>()
  readonly meshes = new Map<string, PeerMesh>()
  /** What was sent, lost or not. */
  readonly carried: Carried[] = []
  /** What happened, as `member event detail`. */
  readonly events: string[] = []
  /** Whether a signal is lost. */
  lose: (signal: Carried) => boolean = () => false
  readonly connections: RTCPeerConnection[] = []
  #way = Promise.resolve()
  /** Pages have a clock of their own to wait by. */
  readonly until = until
  readonly stream = canvasStream

  /** A client that is in no room yet. */
  client (id: string): StageClient {
    const client = new StageClient(this, id)
    this.clients.set(id, client)
    return client
  }

  mesh (id: string, options: MeshOptions = {}): PeerMesh {
    const stage = this
    const mesh = new PeerMesh(this.clients.get(id) as unknown as SignalingClient, {
      RTCPeerConnection: class extends RTCPeerConnection {
        constructor (configuration?: RTCConfiguration) {
          super(configuration)
          stage.connections.push(this)
        }
      },
      ...options
    })
    this.meshes.set(id, mesh)
    for (const event of ['peer', 'left'] as const) mesh.on(event, peer => { this.events.push(`${id} ${event} ${peer.id}`) })
    mesh.on('state', ({ peer, state }) => { this.events.push(`${id} ${state} ${peer.id}`) })
    mesh.on('error', ({ peer, error }) => { this.events.push(`${id} error ${peer.id}: ${error.message}`) })
    return mesh
  }

  /** Both in one: a member with a mesh, in the room. */
  enter (id: string, options: MeshOptions = {}): PeerMesh {
    this.client(id)
    const mesh = this.mesh(id, options)
    this.join(id)
    return mesh
  }

  /** A client that does without the library, as docs/protocol.md's does, and that is in no room yet. */
  plain (id: string): Plain {
    const client = this.client(id)
    return new Plain({
      say: (to, data) => { this.say(id, to, data) },
      onJoined: listener => client.on('user_joined', listener),
      onData: listener => client.on('data', ({ from, data }) => { listener(from, data) })
    })
  }

  #others (id: string): StageClient[] {
    return [...this.clients.values()].filter(client => client.connectionId !== id && client.room !== null)
  }

  join (id: string, rejoined = false): void {
    const client = this.at(id)
    client.room = 'stage'
    client.state = 'open'
    client.members = new Map(this.#others(id).map(other => [other.connectionId, { ...infoOf(other.connectionId), joined_at: 0 }]))
    for (const other of this.#others(id)) {
      other.members.set(id, infoOf(id))
      other.tell('user_joined', infoOf(id))
    }
    client.tell('joined', { room: 'stage', members: client.members, rejoined })
  }

  leave (id: string): void {
    this.gone(id)
    const client = this.at(id)
    client.room = null
    client.members = new Map()
    client.tell('left', { room: 'stage', reason: 'left' })
  }

  /** The server tells the others that this one left; it knows nothing of it. */
  gone (id: string): void {
    for (const other of this.#others(id)) {
      other.members.delete(id)
      other.tell('user_left', infoOf(id))
    }
  }

  /** Its instance is dead: it neither hears nor says anything until it is back. */
  away (id: string): void { this.at(id).state = 'reconnecting' }

  /** It has joined again under its connection_id before anybody saw it leave. */
  back (id: string): void {
    const client = this.at(id)
    client.state = 'open'
    for (const other of this.#others(id)) other.tell('user_resumed', infoOf(id))
    client.tell('joined', { room: 'stage', members: client.members, rejoined: true })
    client.tell('state', { state: 'open', cause: '' })
  }

  at (id: string): StageClient {
    const client = this.clients.get(id)
    if (client === undefined) throw new Error(`nobody is called ${id}`)
    return client
  }

  peer (id: string, other: string): Peer {
    const peer = this.meshes.get(id)?.peers.get(other)
    if (peer === undefined) throw new Error(`${id} has no connection with ${other}`)
    return peer
  }

  isConnected (...ids: string[]): boolean {
    return ids.every(id => {
      const peers = [...this.meshes.get(id)?.peers.values() ?? []]
      return (ids.length === 1 ? peers.length > 0 : peers.length === ids.length - 1) && peers.every(({ state }) => state === 'connected')
    })
  }

  async connected (...ids: string[]): Promise<void> {
    await until(`${ids.join()} are connected`, () => this.isConnected(...ids))
  }

  /** Waits until one sees a picture of the other that moves. */
  async moves (id: string, other: string): Promise<void> {
    await moves(() => this.peer(id, other))
  }

  /** The types of what was sent from one to another. */
  said (from: string, to: string): string[] {
    return this.carried.filter(signal => signal.from === from && signal.to === to).map(({ type }) => type)
  }

  /** How many different offers, or answers, were made; what is sent again counts once. */
  distinct (type: 'offer' | 'answer'): number {
    return new Set(this.carried.filter(signal => signal.type === type).map(({ sdp }) => sdp)).size
  }

  /** Waits until nothing was said for longer than a link waits before it says it once more. */
  async quiet (): Promise<void> {
    await until('nothing is said any more', () => performance.now() - (this.carried.at(-1)?.at ?? 0) > 3_500)
  }

  count (from: string, to: string, type: string): number {
    return this.said(from, to).filter(said => said === type).length
  }

  say (from: string, to: string, data: unknown): void { this.carry(this.at(from), data, to) }

  carry (from: StageClient, data: unknown, to = ''): boolean {
    const { type, sdp, link } = (data ?? {}) as { type: string, sdp?: string, link?: object }
    const signal: Carried = { from: from.connectionId, to, type, sdp, link, at: performance.now() }
    this.carried.push(signal)
    const receiver = this.clients.get(to)
    if (from.state !== 'open' || receiver?.state !== 'open' || receiver.room === null || this.lose(signal)) return true
    const copy: unknown = JSON.parse(JSON.stringify(data))
    this.#way = this.#way.then(async () => {
      await this.#rewire(copy)
      receiver.tell('data', { from: infoOf(from.connectionId), data: copy, to })
    })
    return true
  }

  /** Has the candidates of a signal lead through the test's cable; one that can not says nothing. */
  async #rewire (data: unknown): Promise<void> {
    const through = (globalThis as { through?: (candidate: string) => Promise<string | undefined> }).through
    if (through === undefined) return
    const signal = (data ?? {}) as { sdp?: string, candidate?: RTCIceCandidateInit }
    if (signal.sdp !== undefined) signal.sdp = signal.sdp.replace(/^a=candidate:.*\r\n/gm, '')
    if (signal.candidate?.candidate === undefined) return
    signal.candidate.candidate = await through(signal.candidate.candidate) ?? ''
  }
}
