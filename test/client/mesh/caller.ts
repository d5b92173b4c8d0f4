/** Runs in the page: the library as an application uses it, with what a test wants to know. */
import { PeerMesh, SignalingClient, type MeshOptions } from '../../../src/client/index.ts'
import { canvasStream, moves, until } from './pictures.ts'

/** One member: a client, a mesh, and what they did. */
export class Caller {
  readonly client: SignalingClient
  mesh: PeerMesh
  readonly events: string[] = []
  /** Descriptions that were applied and made here: none is ever rolled back, or ignored by the other side. */
  readonly states: string[] = []
  /** The types of signals sent, as they went to the server. */
  readonly sent: string[] = []
  readonly offers = new Set<string>()
  readonly answers = new Set<string>()
  connections: RTCPeerConnection[] = []
  readonly until = until

  constructor (url: string, token: string, options: MeshOptions & { picture?: boolean } = {}) {
    this.client = new SignalingClient({ url, token })
    this.client.on('state', ({ state, cause }) => { this.events.push(`${state}: ${cause}`) })
    this.client.on('error', ({ message }) => { this.events.push(`error: ${message}`) })
    this.client.on('frame', ({ direction, frame }) => {
      if (direction !== 'out' || frame.type !== 'data') return
      const { type, sdp } = frame.data as { type: string, sdp?: string }
      this.sent.push(type)
      if (sdp !== undefined) this[type === 'offer' ? 'offers' : 'answers'].add(sdp)
    })
    this.mesh = this.open(options)
  }

  open ({ picture = true, ...options }: MeshOptions & { picture?: boolean } = {}): PeerMesh {
    const { connections, states, events } = this
    const mesh = this.mesh = new PeerMesh(this.client, {
      ...(picture && { stream: canvasStream() }),
      ...options,
      RTCPeerConnection: class extends RTCPeerConnection {
        constructor (configuration?: RTCConfiguration) {
          super(configuration)
          connections.push(this)
          this.addEventListener('signalingstatechange', () => { states.push(this.signalingState) })
        }
      }
    })
    mesh.on('state', ({ peer, state }) => { events.push(`${state} ${peer.info.username}`) })
    mesh.on('left', peer => { events.push(`left ${peer.info.username}`) })
    mesh.on('error', ({ peer, error }) => { events.push(`error ${peer.info.username}: ${error.message}`) })
    return mesh
  }

  isConnected (others: number): boolean {
    return this.mesh.peers.size === others && [...this.mesh.peers.values()].every(({ state }) => state === 'connected')
  }

  /** Waits until so many others are connected. */
  async connected (others: number): Promise<void> {
    await until(`${others} others are connected: ${this.events.join(', ')}`, () => this.isConnected(others))
  }

  /** Waits until every picture moves. */
  async sees (): Promise<void> {
    await Promise.all([...this.mesh.peers.values()].map(async peer => { await moves(() => peer) }))
  }
}
