import type { PeerInfo } from '../../../src/client/index.ts'

/** What a client of its own making needs of the stage. */
export interface PlainLine {
  say (to: string, data: unknown): void
  onJoined (listener: (info: PeerInfo) => void): void
  onData (listener: (from: PeerInfo, data: unknown) => void): void
}

type PlainSignal = { type: 'offer' | 'answer', sdp: string } | { type: 'candidate', candidate: RTCIceCandidateInit }

/** docs/protocol.md's "A client in one page": who was here first calls who comes, and nothing is numbered. */
export class Plain {
  readonly heard: string[] = []
  readonly errors: string[] = []
  /** The kinds of media that came. */
  readonly kinds: string[] = []
  connection: RTCPeerConnection | undefined
  /** What it makes of its own descriptions before it sends them. */
  rewrite = (sdp: string): string => sdp
  /** How long its descriptions take, unlike its candidates. */
  delayMs = 0
  readonly #line: PlainLine

  constructor (line: PlainLine) {
    this.#line = line
    line.onJoined(({ connection_id: id }) => { this.call(id) })
    line.onData((from, data) => { this.#try(this.#receive(from.connection_id, data as PlainSignal)) })
  }

  call (id: string): void {
    this.#try(this.#describe(id))
  }

  hangUp (): void {
    this.connection?.close()
    this.connection = undefined
  }

  #try (done: Promise<void>): void {
    done.catch((error: Error) => { this.errors.push(error.message) })
  }

  async #receive (id: string, signal: PlainSignal): Promise<void> {
    const connection = this.#connect(id)
    if (signal.type === 'candidate') return await connection.addIceCandidate(signal.candidate)
    await connection.setRemoteDescription(signal)
    if (signal.type === 'offer') await this.#describe(id)
  }

  async #describe (id: string): Promise<void> {
    const connection = this.#connect(id)
    await connection.setLocalDescription()
    const { type, sdp = '' } = connection.localDescription ?? {}
    await new Promise(resolve => setTimeout(resolve, this.delayMs))
    this.#line.say(id, { type, sdp: this.rewrite(sdp) })
  }

  #connect (id: string): RTCPeerConnection {
    if (this.connection !== undefined) return this.connection
    const connection = this.connection = new RTCPeerConnection()
    connection.onicecandidate = ({ candidate }) => { if (candidate !== null) this.#line.say(id, { type: 'candidate', candidate }) }
    connection.ontrack = ({ track }) => { this.kinds.push(track.kind) }
    const channel = connection.createDataChannel('chat', { negotiated: true, id: 0 })
    channel.onopen = () => { channel.send('hello') }
    channel.onmessage = ({ data }) => { this.heard.push(String(data)) }
    return connection
  }
}
