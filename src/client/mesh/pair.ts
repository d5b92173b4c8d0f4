import type { PeerInfo } from '../../protocol/messages.ts'
import { Emitter } from '../emitter.ts'
import type { CallReport } from '../options.ts'
import { PairLink, type LinkedSignal, type Signal } from './pair-link.ts'
import { Negotiator } from './negotiator.ts'
import type { Peer, PeerEvents, PeerState } from './peer.ts'
import { Senders } from './senders.ts'
import { pathOf, whyNoPath, type Path } from './stats.ts'
import { Timers } from './timers.ts'

/** A pair that is not connected after this time has failed, though it goes on trying. */
const SETUP_MS = 20_000
/** A path that is `disconnected` often comes back by itself within this time. */
const RESTART_MS = 2_000
/** Between two restarts: what the browser's checks need, doubled each time up to the longest. */
const RESTART_PAUSE_MS = 8_000
const RESTART_LONGEST_MS = 30_000
/** How long a path that works is kept after the server has said that its member left. */
const GRACE_MS = 10_000
/** When the path is read for good: at first a candidate of the other side's may be known by a check of its alone, as prflx. */
const PATH_MS = 1_000

export interface PairOptions {
  info: PeerInfo
  /** This side gives the life, restarts first, reports, and does not give way when two offers meet. */
  leading: boolean
  /** This side makes the first offer. */
  calling: boolean
  /** How long the leading side waits for the other side's first offer before it calls; the other one waits twice as long. */
  patienceMs: number
  birth: number
  /** @see PairLinkOptions.taken */
  taken: number
  connection: RTCPeerConnection
  tracks: ReadonlyMap<MediaStreamTrack, MediaStream[]>
  /** The kinds that the first offer asks for although nothing is sent. */
  receive: Iterable<'audio' | 'video'>
  /** Whether what is sent now can reach the member. */
  online (): boolean
  send (signal: LinkedSignal): void
  tell<K extends keyof PeerEvents> (event: K, detail: PeerEvents[K]): void
  report (report: CallReport): void
  /** Another pair is needed in the place of this one, and is to have this signal. */
  renew (signal: LinkedSignal): void
  closed (): void
}

/** This side of one pair: its connection, its link, and what is done when the way between the two is lost. */
export class Pair extends Emitter<PeerEvents> implements Peer {
  readonly connection: RTCPeerConnection
  state: PeerState = 'new'
  path: Path | undefined
  readonly #options: PairOptions
  readonly #link: PairLink
  readonly #negotiator: Negotiator
  readonly #control: RTCDataChannel
  readonly #senders: Senders
  readonly #streams = new Set<MediaStream>()
  readonly #timers = new Timers<'deadline' | 'patience' | 'restart' | 'grace' | 'path'>()
  readonly #born = performance.now()
  /** How long the set-up took. */
  #setupMs: number | undefined
  #reported = false
  /** The server has said that the member left. */
  #left = false
  #restarts = 0

  constructor (options: PairOptions) {
    super()
    const { connection, leading, calling, birth, taken, renew, tracks } = this.#options = options
    this.connection = connection
    this.#senders = new Senders(connection)
    this.#link = new PairLink({
      leading,
      calling,
      birth,
      taken,
      renew,
      transmit: signal => { if (options.online()) options.send(signal) },
      deliver: signal => { this.#deliver(signal) }
    })
    this.#negotiator = new Negotiator({
      connection,
      leading,
      calling,
      send: signal => { this.#link.send(signal) },
      failed: error => { this.#tell('error', { peer: this, error }) }
    })
    connection.addEventListener('connectionstatechange', () => { this.#changed() })
    connection.addEventListener('track', event => { this.#incoming(event) })
    connection.addEventListener('datachannel', ({ channel }) => { this.#tell('channel', { peer: this, channel }) })

    // There is always something to connect, and something that tells at once when the other side closes.
    this.#control = connection.createDataChannel('turnip', { negotiated: true, id: 0 })
    this.#control.binaryType = 'arraybuffer'
    this.#control.addEventListener('message', ({ data }) => { this.#tell('message', { peer: this, data: data as string | ArrayBuffer }) })
    this.#control.addEventListener('open', () => {
      // One that closes without having been open was declined.
      this.#control.addEventListener('close', () => { if (this.#left || this.#link.plain) this.close() })
      this.#tell('open', { peer: this })
    })
    for (const [track, streams] of tracks) this.addTrack(track, streams)
    if (calling) this.#senders.ask(options.receive)
    else this.#wait()
    this.#expect()
  }

  get id (): string { return this.#options.info.connection_id }
  get info (): PeerInfo { return this.#options.info }
  /** What only this connection of this side can take; 0 once it has led to something. @see PairLinkOptions.taken */
  get taken (): number { return this.#setupMs === undefined ? this.#link.taken : 0 }
  get streams (): MediaStream[] { return [...this.#streams] }
  get stream (): MediaStream | undefined { return this.streams[0] }

  channel (label: string, init?: RTCDataChannelInit): RTCDataChannel {
    return this.connection.createDataChannel(label, init)
  }

  send (data: string | ArrayBuffer | ArrayBufferView<ArrayBuffer>): boolean {
    if (this.#control.readyState !== 'open') return false // not every browser throws where it is closed
    try {
      this.#control.send(data as string)
      return true
    } catch {
      return false
    }
  }

  async roundTripTime (): Promise<number | undefined> {
    return (await pathOf(this.connection))?.roundTripTime
  }

  addTrack (track: MediaStreamTrack, streams: MediaStream[]): void { this.#settle(this.#senders.add(track, streams)) }
  removeTrack (track: MediaStreamTrack): void { this.#settle(this.#senders.remove(track)) }
  async replaceTrack (old: MediaStreamTrack, track: MediaStreamTrack): Promise<void> { await this.#senders.replace(old, track) }

  receive (signal: LinkedSignal): void { this.#link.receive(signal) }

  /** Makes the first offer after all, unless something was heard meanwhile. */
  call (): void {
    if (this.#link.heard) return
    this.#timers.clear('patience')
    this.#senders.ask(this.#options.receive)
    this.#link.call()
    this.#negotiator.call()
  }

  /** Either side is back after it was away: what was lost on the way is sent again, and a path that is lost is looked for. */
  back (): void {
    this.#link.resend()
    if (['disconnected', 'failed'].includes(this.connection.connectionState)) this.#restart(0)
  }

  memberLeft (): void {
    const works = this.connection.connectionState === 'connected' && ['connecting', 'open'].includes(this.#control.readyState)
    if (!works || this.#link.plain) return this.close() // without a link nothing tells whether the same connection comes back
    this.#left = true
    this.#timers.set('grace', GRACE_MS, () => { this.close() })
  }

  memberBack (): void {
    this.#left = false
    this.#timers.clear('grace')
  }

  /** @param bye whether the other side is told */
  close (bye = false): void {
    if (this.state === 'closed') return
    if (bye) this.#link.bye()
    this.#succeeded()
    this.#link.close()
    this.#negotiator.close()
    this.#timers.end()
    this.connection.close()
    this.#setState('closed')
    this.#options.closed()
  }

  #deliver (signal: Signal): void {
    this.#timers.clear('patience')
    if (signal.type === 'offer' && this.#timers.has('restart')) this.#restart(this.#options.leading ? RESTART_PAUSE_MS : RESTART_LONGEST_MS)
    if (signal.type === 'bye') this.close()
    else this.#negotiator.receive(signal)
  }

  /** The member may be one that waits for an offer too. */
  #wait (): void {
    const { leading, patienceMs, online } = this.#options
    this.#timers.set('patience', leading ? patienceMs : 2 * patienceMs, () => {
      if (online()) this.call()
      else this.#wait()
    })
  }

  #changed (): void {
    const { connectionState } = this.connection
    if (connectionState === 'connected') this.#up()
    else if (connectionState === 'disconnected' || connectionState === 'failed') this.#down(connectionState)
    else if (connectionState === 'connecting' && this.state === 'new') this.#setState('connecting')
  }

  #up (): void {
    this.#timers.clear('deadline', 'restart')
    this.#restarts = 0
    this.#setupMs ??= Math.round(performance.now() - this.#born)
    this.#setState('connected')
    this.#settle(this.#readPath())
    this.#timers.set('path', PATH_MS, () => { this.#settle(this.#readPath().then(() => { this.#succeeded() })) })
  }

  #down (how: 'disconnected' | 'failed'): void {
    if (this.#left) return this.close()
    if (this.state === 'connected') {
      this.#setState('reconnecting')
      this.#expect()
    }
    if (this.#restarts === 0) this.#restart(how === 'failed' ? 0 : RESTART_MS)
  }

  /**
   * Again and again, because the network may come back at any time; and by the leading side first, or two offers would
   * meet: the other one waits for a pause longer, and for longer than that side does after each of its offers.
   */
  #restart (afterMs: number): void {
    this.#timers.set('restart', this.#options.leading ? afterMs : afterMs + RESTART_PAUSE_MS, () => {
      // While an offer has no answer, another one could not be made.
      if (this.#options.online() && this.connection.signalingState === 'stable') this.connection.restartIce()
      this.#restart(Math.min(RESTART_LONGEST_MS, RESTART_PAUSE_MS * 2 ** this.#restarts++))
    })
  }

  #expect (): void {
    this.#timers.set('deadline', SETUP_MS, () => {
      this.#setState('failed')
      this.#settle(this.#failed())
      if (this.#restarts === 0) this.#restart(0)
    })
  }

  async #failed (): Promise<void> {
    let cause = 'Nothing was heard from the other side'
    if (!this.#options.online()) cause = 'The connection to the server is lost'
    else if (this.#link.heard) cause = await whyNoPath(this.connection)
    this.#tell('error', { peer: this, error: new Error(cause) })
    this.#report({ result: 'failed', ms: SETUP_MS, cause })
  }

  async #readPath (): Promise<void> {
    const path = (await pathOf(this.connection))?.path
    if (path === undefined || path === this.path || this.state !== 'connected') return
    this.path = path
    this.#tell('path', { peer: this, path })
  }

  #succeeded (): void {
    if (this.#setupMs !== undefined && this.path !== undefined) this.#report({ result: 'connected', ms: this.#setupMs, path: this.path })
  }

  /** One report a pair: by the leading side, or by the only one that knows how. */
  #report (outcome: Omit<CallReport, 'peer'>): void {
    if (this.#reported || !(this.#options.leading || this.#link.plain)) return
    this.#reported = true
    this.#options.report({ peer: this.id, ...outcome })
  }

  #incoming ({ track, streams }: RTCTrackEvent): void {
    this.#tell('track', { peer: this, track, streams })
    for (const stream of streams.filter(stream => !this.#streams.has(stream))) {
      this.#streams.add(stream)
      stream.addEventListener('removetrack', () => { if (stream.getTracks().length === 0) this.#streams.delete(stream) })
      this.#tell('stream', { peer: this, stream })
    }
  }

  #setState (state: PeerState): void {
    if (state === this.state) return
    this.state = state
    this.#tell('state', { peer: this, state })
  }

  #tell<K extends keyof PeerEvents> (event: K, detail: PeerEvents[K]): void {
    this.emit(event, detail)
    this.#options.tell(event, detail)
  }

  #settle (promise: Promise<void>): void {
    promise.catch((error: unknown) => {
      if (this.state !== 'closed') this.#tell('error', { peer: this, error: error instanceof Error ? error : new Error(String(error)) })
    })
  }
}
