import type { PeerInfo } from '../../protocol/messages.ts'
import { Emitter } from '../emitter.ts'
import type { Members } from '../events.ts'
import type { SignalingClient } from '../signaling-client.ts'
import type { LinkedSignal, LinkHeader } from './pair-link.ts'
import { Pair } from './pair.ts'
import type { Peer, PeerEvents } from './peer.ts'

/** A camera's picture sent to eight others is eight times its upload, and eight encoders. */
const MAX_PEERS = 8

/** How long a first offer is waited for. @see PairOptions.patienceMs */
const PATIENCE_MS = 2_500
/** ... by a mesh that is made in a room: the offer is on its way, or was made before there was anybody to take it. */
const LATE_PATIENCE_MS = 1_000

/** So often within this time, ms, a member may have begun anew. */
const MOST_RENEWALS = 5
const RENEWALS_MS = 10_000

export interface MeshOptions {
  /** What every peer gets from the start. */
  stream?: MediaStream
  /** The kinds that a first offer asks for although nothing is sent, which saves a second exchange where others do send. */
  receive?: Iterable<'audio' | 'video'>
  /** For each connection; the ICE servers are used besides those of the server. */
  rtc?: RTCConfiguration
  /** How many others are told to be too many for a mesh. Default: 8. */
  maxPeers?: number
  /** Whether the server is told how set-ups went. Default: true. */
  report?: boolean
  /** Default: the global one. */
  RTCPeerConnection?: new (configuration?: RTCConfiguration) => RTCPeerConnection
}

export interface MeshEvents extends PeerEvents {
  /** A member came, or was there: its connection is under way. */
  peer: Peer
  /** The connection with a member is closed for good. */
  left: Peer
  /** More others are in the room than a mesh is good for: each sends its media to each. It goes on connecting. */
  crowded: { members: number, limit: number }
}

let lastBirth = 0
/** Larger each time, in this page and after a reload of it. */
const birth = (): number => (lastBirth = Math.max(Date.now(), lastBirth + 1))

/**
 * A connection from browser to browser with each other member of the client's room. Made at any time, it is in step with
 * the room until it is closed.
 */
export class PeerMesh extends Emitter<MeshEvents> {
  readonly #client: SignalingClient
  readonly #options: MeshOptions & { RTCPeerConnection: NonNullable<MeshOptions['RTCPeerConnection']> }
  readonly #pairs = new Map<string, Pair>()
  readonly #tracks = new Map<MediaStreamTrack, MediaStream[]>()
  /** Members that are in the room and have said goodbye. */
  readonly #gone = new Set<string>()
  /** Calls that were taken and led to nothing, by their members. @see PairLinkOptions.taken */
  readonly #taken = new Map<string, number>()
  /** How often members had another connection of late. */
  readonly #renewals = new Map<string, { count: number, since: number }>()
  #offs: Array<() => void>
  #self = ''
  #crowded = false

  /** @throws TypeError where there is no WebRTC */
  constructor (client: SignalingClient, options: MeshOptions = {}) {
    super()
    const { RTCPeerConnection = globalThis.RTCPeerConnection as MeshOptions['RTCPeerConnection'] } = options
    if (RTCPeerConnection === undefined) throw new TypeError('There is no RTCPeerConnection here: pass one, as { RTCPeerConnection }')
    this.#client = client
    this.#options = { ...options, RTCPeerConnection }
    for (const track of options.stream?.getTracks() ?? []) this.#tracks.set(track, options.stream === undefined ? [] : [options.stream])
    this.#offs = [
      client.on('joined', ({ members, rejoined }) => { this.#enter(members, rejoined) }),
      client.on('resynced', ({ members }) => {
        this.#follow(members)
        this.#back()
      }),
      client.on('left', () => { this.#exit() }),
      client.on('user_joined', info => {
        this.#gone.delete(info.connection_id)
        this.#arrived(info)
      }),
      client.on('user_resumed', info => { this.#arrived(info) }),
      client.on('user_left', ({ connection_id: id }) => {
        this.#gone.delete(id)
        this.#renewals.delete(id)
        this.#pairs.get(id)?.memberLeft()
        this.#count()
      }),
      client.on('data', ({ from, data }) => { this.#receive(from, data) }),
      client.on('state', ({ state }) => { if (state === 'open') this.#back() }),
      // What was said to other instances meanwhile, or by them, is lost.
      client.on('degraded', ({ redis }) => { if (redis === 'up') this.#back() }),
      client.on('ice_servers', () => { this.#configure() })
    ]
    if (typeof addEventListener === 'function') {
      const hangUp = (): void => { this.#exit(true) }
      addEventListener('pagehide', hangUp, true)
      this.#offs.push(() => { removeEventListener('pagehide', hangUp, true) })
    }
    this.#self = client.connectionId
    // Who came later than this client waits for its call, and has no `joined_at`.
    for (const member of client.members.values()) this.#connect(member, member.joined_at === undefined, LATE_PATIENCE_MS)
    this.#count()
  }

  /** Whom there is a connection with, or one under way, by connection_id. */
  get peers (): ReadonlyMap<string, Peer> { return this.#pairs }

  /** Sends a track to all peers, those to come too. */
  addTrack (track: MediaStreamTrack, ...streams: MediaStream[]): void {
    if (this.#tracks.has(track)) return
    this.#tracks.set(track, streams)
    for (const pair of this.#pairs.values()) pair.addTrack(track, streams)
  }

  removeTrack (track: MediaStreamTrack): void {
    if (!this.#tracks.delete(track)) return
    for (const pair of this.#pairs.values()) pair.removeTrack(track)
  }

  /** Sends another track in the place of one, as after a switch of cameras; nothing is negotiated. */
  async replaceTrack (old: MediaStreamTrack, track: MediaStreamTrack): Promise<void> {
    const streams = this.#tracks.get(old)
    if (streams === undefined) throw new Error('That track is not sent')
    this.#tracks.delete(old)
    this.#tracks.set(track, streams)
    await Promise.all([...this.#pairs.values()].map(async pair => { await pair.replaceTrack(old, track) }))
  }

  /** Says something to every peer that is connected. */
  send (data: string | ArrayBuffer | ArrayBufferView<ArrayBuffer>): void {
    for (const pair of this.#pairs.values()) pair.send(data)
  }

  /** Closes every connection, and does nothing any more. The client stays in its room. */
  close (): void {
    for (const off of this.#offs.splice(0)) off()
    this.#exit(true)
  }

  /** @param wasHere members that are new to this side came later than it */
  #enter (members: Members, wasHere: boolean): void {
    const { connectionId } = this.#client
    // To the others this is somebody else, and has just come.
    if (connectionId !== this.#self) {
      this.#exit()
      wasHere &&= this.#self === ''
    }
    this.#self = connectionId
    this.#configure()
    this.#follow(members, wasHere)
    this.#back()
  }

  #exit (bye = false): void {
    for (const pair of this.#pairs.values()) pair.close(bye)
    this.#gone.clear()
    this.#taken.clear()
    this.#crowded = false
  }

  #follow (members: Members, wasHere = false): void {
    for (const [id, pair] of this.#pairs) if (!members.has(id)) pair.memberLeft()
    for (const id of this.#gone) if (!members.has(id)) this.#gone.delete(id)
    for (const [id, info] of members) {
      const pair = this.#pairs.get(id)
      if (pair !== undefined) pair.memberBack()
      else if (!this.#gone.has(id)) this.#connect(info, wasHere)
    }
    this.#count()
  }

  #arrived (info: PeerInfo): void {
    const pair = this.#pairs.get(info.connection_id)
    pair?.memberBack()
    pair?.back()
    if (pair === undefined && !this.#gone.has(info.connection_id)) this.#connect(info, true)
    this.#count()
  }

  #back (): void {
    for (const pair of this.#pairs.values()) pair.back()
  }

  #count (): void {
    const members = this.#client.members.size
    const limit = this.#options.maxPeers ?? MAX_PEERS
    const crowded = members > limit
    if (crowded && !this.#crowded) {
      console.warn(`Turnip: ${members} others are in the room. In a mesh each sends its media to each of them: past ${limit} this takes an SFU.`)
      this.emit('crowded', { members, limit })
    }
    this.#crowded = crowded
  }

  #receive (from: PeerInfo, data: unknown): void {
    const id = from.connection_id
    if (!isSignal(data)) return
    if (!this.#pairs.has(id) && this.#client.members.has(id) && data.type !== 'bye') this.#connect(from, false)
    this.#pairs.get(id)?.receive(data)
    if (data.type === 'bye' && !this.#pairs.has(id)) this.#gone.add(id)
  }

  /** @param calling makes the first offer: the one who was here first does, as others than this library expect it */
  #connect (info: PeerInfo, calling: boolean, patienceMs = PATIENCE_MS): Pair | undefined {
    if (this.#offs.length === 0) return undefined // a listener has closed the mesh just now
    const id = info.connection_id
    this.#gone.delete(id)
    const { RTCPeerConnection, receive = [], report = true } = this.#options
    const leading = this.#self > id
    const pair = new Pair({
      info,
      leading,
      calling,
      patienceMs,
      birth: birth(),
      taken: this.#taken.get(id) ?? 0,
      connection: new RTCPeerConnection(this.#configuration()),
      tracks: this.#tracks,
      receive,
      online: () => this.#client.state === 'open' && this.#client.members.has(id),
      send: signal => { this.#client.send(signal, id) },
      report: outcome => { if (report) this.#client.report(outcome) },
      tell: (event, detail) => { this.emit(event, detail as MeshEvents[typeof event]) },
      renew: signal => {
        if (!this.#mayRenew(id)) return // it says so again
        pair.close()
        const next = this.#connect(info, false)
        next?.receive(signal)
        if (leading) next?.call()
      },
      closed: () => {
        this.#pairs.delete(id)
        if (pair.taken > 0) this.#taken.set(id, pair.taken)
        this.emit('left', pair)
      }
    })
    this.#pairs.set(id, pair)
    this.emit('peer', pair)
    return pair
  }

  /** A member that claims to be another one with each message must not make a browser open connections without end. */
  #mayRenew (id: string): boolean {
    const now = Date.now()
    const known = this.#renewals.get(id)
    const renewals = known === undefined || now - known.since > RENEWALS_MS ? { count: 0, since: now } : known
    this.#renewals.set(id, renewals)
    return ++renewals.count <= MOST_RENEWALS
  }

  #configuration (): RTCConfiguration {
    const { rtc } = this.#options
    return { bundlePolicy: 'max-bundle', ...rtc, iceServers: [...rtc?.iceServers ?? [], ...this.#client.iceServers] }
  }

  #configure (): void {
    for (const { connection } of this.#pairs.values()) {
      // the application may have closed it
      if (connection.signalingState !== 'closed') connection.setConfiguration(this.#configuration())
    }
  }
}

/** What a member sends may be anything: other data of the application's, or an attempt to break something. */
function isSignal (data: unknown): data is LinkedSignal {
  if (typeof data !== 'object' || data === null) return false
  const { type, sdp, candidate, link } = data as Record<string, unknown>
  if (link !== undefined && !isHeader(link)) return false
  if (type === 'offer' || type === 'answer') return typeof sdp === 'string'
  if (type === 'candidate') return typeof candidate === 'object' && candidate !== null
  return link !== undefined && (type === 'ack' || type === 'bye')
}

function isHeader (link: unknown): link is LinkHeader {
  if (typeof link !== 'object' || link === null) return false
  const { life, by = 0, seq, ack } = link as Record<string, unknown>
  return [life, by, seq, ack].every(number => Number.isSafeInteger(number) && Number(number) >= 0)
}
