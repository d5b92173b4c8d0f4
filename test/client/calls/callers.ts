/** Runs in the page: sides of calls, each with a client and a mesh of its own, that count all that happens to them. */
import { PeerMesh, SignalingClient, SignalingError, type Peer } from '../../../src/client/index.ts'

/** How often the sides of a call that runs say something to each other. */
const PING_EVERY_MS = 100
/** When a join that the server could not do at the moment is tried again. */
const AGAIN_MS = 300
/** The last frames and events that a failure shows. */
const TOLD = 120

/** What one side says to another over their data channel, and hears. */
interface Talk { sent: number, heard: number, wrong: number, lastAt: number, longestMs: number }

/** What comes and goes of a peer's pictures. */
interface Video { direction: string, sent: number, received: number, frames: number }

/** What has happened to one side of a call. */
export interface Account {
  /** Of its client, and the instance that it is at. */
  state: string
  instance: string
  /** Its own, one after the other. */
  connectionIds: string[]
  /** RTCPeerConnections made. */
  connections: number
  offersMade: number
  offersTaken: number
  /** Offers that came while an own one was under way. */
  glares: number
  /** Times that a peer's state was this one. */
  reconnecting: number
  failed: number
  /** Peers that were closed. */
  left: number
  /** Members that the room was said to have lost. */
  userLeft: number
  /** What is connected now. */
  talks: Array<{ peer: string, path: string | undefined, video: Video } & Talk>
  told: string[]
}

export class Caller {
  readonly client: SignalingClient
  readonly mesh: PeerMesh
  readonly #account: Omit<Account, 'talks' | 'state' | 'instance'> = { connectionIds: [], connections: 0, offersMade: 0, offersTaken: 0, glares: 0, reconnecting: 0, failed: 0, left: 0, userLeft: 0, told: [] }
  readonly #talks = new Map<Peer, Talk>()
  readonly #timer: ReturnType<typeof setInterval>
  #changed: Array<() => void> = []

  constructor (url: string, token: string, stream: MediaStream) {
    const account = this.#account
    this.client = new SignalingClient({ url, token })
    this.mesh = new PeerMesh(this.client, {
      stream,
      RTCPeerConnection: class extends RTCPeerConnection {
        constructor (configuration?: RTCConfiguration) {
          super(configuration)
          account.connections++
        }

        override async setLocalDescription (description?: RTCLocalSessionDescriptionInit): Promise<void> {
          await super.setLocalDescription(description)
          if (this.signalingState === 'have-local-offer') account.offersMade++
        }

        override async setRemoteDescription (description: RTCSessionDescriptionInit): Promise<void> {
          if (description.type === 'offer') {
            account.offersTaken++
            if (this.signalingState !== 'stable') account.glares++
          }
          await super.setRemoteDescription(description)
        }
      } as typeof RTCPeerConnection
    })
    this.#listen()
    this.#timer = setInterval(() => {
      for (const peer of this.mesh.peers.values()) {
        const talk = this.#talkWith(peer)
        if (peer.send(String(talk.sent + 1))) talk.sent++
      }
    }, PING_EVERY_MS)
  }

  /** @returns its connection_id */
  async connect (): Promise<string> {
    await this.client.connect()
    return this.client.connectionId
  }

  /** Asks again where the server could not do it at the moment. */
  async join (room: string): Promise<void> {
    for (;;) {
      try {
        await this.client.join(room)
        return
      } catch (error) {
        if (!(error instanceof SignalingError && error.code === 'unavailable')) throw error
        await new Promise(resolve => setTimeout(resolve, AGAIN_MS))
      }
    }
  }

  /** Resolves when so many others are connected, and have been heard over their data channels. @returns when that was, ms since 1970 */
  async talks (others: number): Promise<number> {
    while (!this.#isTalking(others)) await new Promise<void>(resolve => { this.#changed.push(resolve) })
    return Date.now()
  }

  async account (): Promise<Account> {
    return {
      ...this.#account,
      state: this.client.state,
      instance: this.client.instanceId,
      talks: await Promise.all([...this.mesh.peers.values()].map(async peer => ({
        peer: peer.id,
        path: peer.path,
        video: await videoOf(peer.connection),
        ...this.#talkWith(peer)
      })))
    }
  }

  close (): void {
    clearInterval(this.#timer)
    this.mesh.close()
    this.client.close()
  }

  #isTalking (others: number): boolean {
    const peers = [...this.mesh.peers.values()]
    return peers.length === others && peers.every(peer => peer.state === 'connected' && this.#talkWith(peer).heard > 0)
  }

  #talkWith (peer: Peer): Talk {
    const talk = this.#talks.get(peer) ?? { sent: 0, heard: 0, wrong: 0, lastAt: 0, longestMs: 0 }
    this.#talks.set(peer, talk)
    return talk
  }

  #listen (): void {
    const account = this.#account
    const { client, mesh } = this
    const tell = (what: string): void => {
      account.told.push(`${Date.now()} ${what}`)
      account.told.splice(0, account.told.length - TOLD)
      for (const resolve of this.#changed.splice(0)) resolve()
    }
    client.on('state', ({ state, cause, retryInMs }) => {
      if (client.connectionId !== '' && account.connectionIds.at(-1) !== client.connectionId) account.connectionIds.push(client.connectionId)
      tell(`client ${state}: ${cause}${retryInMs === undefined ? '' : `, again in ${retryInMs} ms`}`)
    })
    client.on('user_left', ({ connection_id: id }) => {
      account.userLeft++
      tell(`user_left ${id}`)
    })
    client.on('error', error => { tell(`client error ${error.code}: ${error.message}`) })
    client.on('frame', ({ direction, frame }) => { tell(`${direction === 'in' ? '<' : '>'} ${shortOf(frame)}`) })
    mesh.on('peer', peer => { tell(`peer ${peer.id}`) })
    mesh.on('left', peer => {
      account.left++
      tell(`left ${peer.id}`)
    })
    mesh.on('state', ({ peer, state }) => {
      if (state === 'reconnecting' || state === 'failed') account[state]++
      tell(`peer ${peer.id} ${state}, ${peer.connection.connectionState}, ${peer.connection.signalingState}`)
    })
    mesh.on('error', ({ error }) => { tell(`peer error: ${error.message}`) })
    mesh.on('message', ({ peer, data }) => {
      const talk = this.#talkWith(peer)
      const now = performance.now()
      if (talk.heard > 0) talk.longestMs = Math.max(talk.longestMs, now - talk.lastAt)
      if (Number(data) !== talk.heard + 1) talk.wrong++
      talk.heard = Number(data)
      talk.lastAt = now
      if (talk.heard === 1) tell(`heard ${peer.id}`)
    })
  }
}

/** All of one page, by their names. */
export class Callers {
  readonly #all = new Map<string, Caller>()
  #stream: Promise<MediaStream> | undefined

  async open (name: string, url: string, token: string): Promise<string> {
    const stream = await (this.#stream ??= navigator.mediaDevices.getUserMedia({ video: { width: 160, height: 120, frameRate: 5 } }))
    const caller = new Caller(url, token, stream)
    this.#all.set(name, caller)
    return await caller.connect()
  }

  at (name: string): Caller {
    const caller = this.#all.get(name)
    if (caller === undefined) throw new Error(`nobody here is called ${name}`)
    return caller
  }

  close (name: string): void {
    this.#all.get(name)?.close()
    this.#all.delete(name)
  }
}

async function videoOf (connection: RTCPeerConnection): Promise<Video> {
  const video = { direction: connection.getTransceivers().map(({ currentDirection }) => currentDirection).join(), sent: 0, received: 0, frames: 0 };
  (await connection.getStats()).forEach(({ packetsSent = 0, packetsReceived = 0, framesDecoded = 0, kind }: { kind?: string, packetsSent?: number, packetsReceived?: number, framesDecoded?: number }) => {
    if (kind !== 'video') return
    video.sent += packetsSent
    video.received += packetsReceived
    video.frames += framesDecoded
  })
  return video
}

function shortOf (frame: object): string {
  const { type, to, id, data, error, room, seen, received } = frame as Record<string, unknown>
  const inner = data as { type?: string, link?: object } | undefined
  const signal = type === 'data' ? ` ${inner?.type ?? ''} ${JSON.stringify(inner?.link ?? null)}` : ''
  const whom = (inner as { connection_id?: string } | undefined)?.connection_id
  return [type, signal, to, id, room, whom, seen, received, error].filter(part => part !== undefined && part !== '').join(' ')
}
