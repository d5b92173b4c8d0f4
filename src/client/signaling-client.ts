import type { IceServer, Resumed, ServerMessage, Welcome } from '../protocol/messages.ts'
import { baseOf } from './address.ts'
import { Emitter } from './emitter.ts'
import type { JoinedRoom, Members, SignalingEvents, SignalingState } from './events.ts'
import { Link } from './link.ts'
import type { CallReport, SignalingOptions, WebSocketClass } from './options.ts'
import { Outbox } from './outbox.ts'
import { watchPage } from './page.ts'
import type { NewRequest } from './requests.ts'
import { RoomView } from './room-view.ts'
import { Session } from './session.ts'
import { SignalingError } from './signaling-error.ts'
import { WayBack } from './way-back.ts'

/** Refusals that another try may overcome. */
const PASSING = ['unavailable', 'internal', 'rate_limited']

/** An `error` that repeats it is about a report. */
const REPORT_ID = 'report'

/** What the server says of this connection. */
type Self = Omit<Welcome, 'resumed'>

/** One connection to Turnip that comes back by itself, and the room it is in. */
export class SignalingClient extends Emitter<SignalingEvents> {
  readonly #link: Link
  readonly #outbox: Outbox
  readonly #view = new RoomView((event, detail) => { this.emit(event, detail) })
  #openers: Array<{ resolve: () => void, reject: (error: SignalingError) => void }> = []
  #self: Self | undefined
  #state: SignalingState = 'closed'
  #cause = 'Not connected yet'
  #wasOpen = false
  #isWatching = false
  /** While it is not in its room again. */
  #wayBack: WayBack | undefined
  #unwatchPage: () => void = () => {}

  /** @throws TypeError when there is no page to tell where the server is, or no WebSocket */
  constructor ({ url, token, resume = true, WebSocket = globalThis.WebSocket as WebSocketClass | undefined, fetch = globalThis.fetch, backoffMs = 300, maxBackoffMs = 10_000, connectTimeoutMs = 10_000 }: SignalingOptions) {
    super()
    if (WebSocket === undefined) throw new TypeError('There is no WebSocket here: pass the one of `ws`, as { WebSocket }')
    this.#link = new Link({ base: baseOf(url), token, WebSocket, fetch, backoffMs, maxBackoffMs, connectTimeoutMs }, {
      query: () => this.#outbox.session.claim ?? (resume ? { resume: 'true' } : {}),
      frame: text => { this.#receive(text) },
      ping: () => { this.#outbox.transmit(this.#outbox.session.ping) },
      refresh: token => this.#outbox.requests.add({ type: 'refresh', token }, frame => { this.#outbox.transmit(frame) }),
      notRefreshed: cause => { this.emit('error', cause instanceof SignalingError ? cause : new SignalingError('token_failed', `There is no new token: ${String(cause)}`, { request: 'refresh', cause })) },
      lost: (cause, retryInMs) => { this.#lost(cause, { retryInMs }) },
      over: error => { this.#end(error.message, error) }
    })
    this.#outbox = new Outbox(({ frame, text }) => {
      this.#link.send(text)
      this.emit('frame', { direction: 'out', frame: frame.type === 'refresh' ? { ...frame, token: '…' } : frame })
    })
  }

  get state (): SignalingState { return this.#state }
  /** Why it is in this state, for people. */
  get cause (): string { return this.#cause }
  /** Empty before the first connection; another one after a loss that could not be mended. */
  get connectionId (): string { return this.#self?.connection_id ?? '' }
  get userId (): string { return this.#self?.user_id ?? '' }
  get username (): string { return this.#self?.username ?? '' }
  get instanceId (): string { return this.#self?.instance_id ?? '' }
  /** For `new RTCPeerConnection({ iceServers })`. */
  get iceServers (): IceServer[] { return [...this.#self?.ice_servers ?? []] }
  /** The room it is in, or is on the way back to. */
  get room (): string | null { return this.#view.name }
  /** The others in the room, by their connection_id. */
  get members (): Members { return this.#view.members }

  /**
   * Resolves when the connection is open. While the network or the server is away it goes on trying; it rejects with a
   * SignalingError when the server refuses this client, or when there is no token.
   */
  async connect (): Promise<void> {
    this.#begin()
    if (this.#state !== 'open') await new Promise<void>((resolve, reject) => { this.#openers.push({ resolve, reject }) })
  }

  /** Enters a room, and leaves the one it was in. Connects first where needed. */
  async join (room: string): Promise<JoinedRoom> {
    this.#begin()
    await this.#ask({ type: 'join', room })
    return { room, members: this.members }
  }

  async leave (): Promise<void> { await this.#ask({ type: 'leave' }) }

  /** Ends the room, for everybody in it. */
  async disband (): Promise<void> { await this.#ask({ type: 'disband_room' }) }

  /** From now on `room_created` and `room_disbanded` tell of all rooms that the token names. Connects first where needed. */
  async watch (): Promise<void> {
    this.#begin()
    await this.#ask({ type: 'watch' })
  }

  async unwatch (): Promise<void> { await this.#ask({ type: 'unwatch' }) }

  /**
   * Says something to all others in the room, or to one connection_id or user_id. While the connection is away it waits.
   * @param data whatever JSON can tell
   * @returns false when it goes nowhere: in no room, closed, or too much waits already (256 messages, or 1 MiB)
   */
  send (data: unknown, to?: string): boolean {
    if (this.room === null && !this.#outbox.requests.has('join')) return false
    return this.#outbox.say({ type: 'data', data: data ?? null, ...(to !== undefined && { to }) })
  }

  /** Tells the server how a call's set-up went. */
  report (report: CallReport): void {
    if (this.#state !== 'closed') this.#outbox.say({ type: 'report', ...report, id: REPORT_ID })
  }

  /** Leaves for good; what is under way rejects with `closed`. `connect()` begins anew. */
  close (): void {
    if (this.#state === 'closed') return
    this.#link.stop()
    this.#end('Closed by this side')
  }

  #begin (): void {
    if (this.#state !== 'closed') return
    this.#wasOpen = false
    this.#unwatchPage = watchPage({
      online: () => { this.#link.hurry() },
      offline: () => { this.#link.offline() },
      shown: () => { this.#link.hurry() },
      hidden: () => {
        this.#link.stop()
        this.#outbox.session = new Session() // its end was said
        this.#lost('The page was put aside')
      },
      restored: () => { this.#link.start(false) }
    })
    this.#setState('connecting', 'Connecting')
    this.#link.start(true)
  }

  async #ask (request: NewRequest): Promise<void> {
    if (this.#state === 'closed') throw new SignalingError('not_connected', this.#cause, { request: request.type })
    await this.#outbox.ask(request)
  }

  #lost (cause: string, more?: { retryInMs: number }): void {
    this.#wayBack?.hold()
    this.#outbox.hold()
    this.#setState(this.#wasOpen ? 'reconnecting' : 'connecting', cause, more)
  }

  /** @param error why it is over; absent: this side closed it */
  #end (cause: string, error?: SignalingError): void {
    this.#unwatchPage()
    this.#wayBack?.hold()
    this.#wayBack = undefined
    this.#isWatching = false
    this.#state = 'closed'
    const why = error ?? new SignalingError('closed', cause)
    this.#outbox.end(why)
    for (const { reject } of this.#openers.splice(0)) reject(why)
    this.#setState('closed', cause, error && { error })
    this.#view.exit('closed') // last: who comes back from within a listener must not be overruled
  }

  #setState (state: SignalingState, cause: string, more: { retryInMs?: number, error?: SignalingError } = {}): void {
    this.#state = state
    this.#cause = cause
    this.emit('state', { state, cause, ...more })
  }

  #receive (text: string): void {
    let frame: ServerMessage
    try {
      frame = JSON.parse(text) as ServerMessage
    } catch {
      return
    }
    const { session } = this.#outbox
    this.emit('frame', { direction: 'in', frame })
    if (session !== this.#outbox.session) return // whoever heard of it has closed the client
    if (frame.type === 'welcome') return this.#welcomed(frame.data)
    if (frame.type === 'resumed') return this.#resumed(frame.data)
    this.#outbox.session.seen++
    if (frame.type === 'error') return this.#refused(frame)
    this.#view.receive(frame)
    switch (frame.type) {
      case 'joined': {
        const { room, version, data: { members }, id } = frame
        const rejoined = this.#wayBack?.isAnsweredBy(id) === true
        this.#view.enter(room, version, members)
        this.emit('joined', { room, members: this.members, rejoined })
        if (rejoined) this.#open('Back in the room')
        break
      }
      case 'ice_servers':
        if (this.#self !== undefined) this.#self.ice_servers = frame.data.ice_servers
        this.emit('ice_servers', frame.data)
        break
      case 'goaway':
        this.#link.goaway(frame.data.reconnect_after_ms)
        this.emit('goaway', frame.data)
        break
      case 'pong':
        this.#outbox.session.received(frame.received ?? 0)
        break
      case 'watching':
      case 'unwatched':
        this.#isWatching = frame.type === 'watching'
        break
      case 'room_created':
      case 'degraded':
        this.emit(frame.type, frame.data)
    }
    if ('id' in frame && frame.id !== undefined) this.#outbox.requests.settle(frame.id)
  }

  #refused ({ id, code, error: message }: Extract<ServerMessage, { type: 'error' }>): void {
    if (id !== undefined && this.#outbox.requests.settle(id, { code, message })) return
    if (this.#wayBack?.isAnsweredBy(id) === true) return this.#notBack(new SignalingError(code, message, { request: 'join' }))
    if (id === REPORT_ID && code === 'unknown_type') return // the server is older than reports
    this.emit('error', new SignalingError(code, message, { request: id === REPORT_ID ? 'report' : 'data' }))
  }

  #welcomed ({ resumed, ...self }: Welcome): void {
    const isSameMember = self.connection_id === this.connectionId && this.#wayBack?.isSameMember !== false
    this.#outbox.begin(self.session, () => { this.#view.exit('left') })
    this.#up(self)
    const { requests } = this.#outbox
    if (this.#isWatching && !requests.has('watch') && !requests.has('unwatch')) this.#outbox.ask({ type: 'watch' }).catch((error: SignalingError) => { this.emit('error', error) })
    if (this.room === null) return this.#open('Connected')
    this.#wayBack = new WayBack(isSameMember, () => this.#goBack())
    this.#wayBack.go()
  }

  #resumed ({ received, room, version, members, missed, ...self }: Resumed): void {
    const resent = this.#outbox.goOn(received, self.session)
    this.#up(self)
    if (this.#wayBack === undefined) {
      if (room === null || version === null) this.#view.exit('gone')
      else this.#view.enter(room, version, members)
    }
    this.emit('resumed', { missed, resent })
    if (this.#wayBack === undefined) this.#open('Resumed')
    else this.#wayBack.goOn()
  }

  #up (self: Self): void {
    this.#self = self
    this.#view.self = self.connection_id
    this.#link.up(self.ping_interval_ms)
    if (self.ice_servers !== undefined) this.emit('ice_servers', { ice_servers: self.ice_servers })
  }

  #goBack (): number | undefined {
    const { room } = this
    if (room === null) { // it ended meanwhile: a watcher hears of it
      this.#open('Connected')
      return undefined
    }
    const id = this.#outbox.requests.nextId()
    this.#outbox.transmit({ type: 'join', room, id })
    return id
  }

  #notBack (error: SignalingError): void {
    if (this.#wayBack !== undefined && PASSING.includes(error.code)) {
      const retryInMs = this.#wayBack.retry(attempt => this.#link.backoff(attempt))
      return this.#setState('reconnecting', error.message, { retryInMs })
    }
    this.#view.exit('refused')
    this.emit('error', error)
    this.#open('Connected')
  }

  /** It is where it should be: what waits goes out. */
  #open (cause: string): void {
    if (this.#state === 'closed') return // a listener did that
    const wayBack = this.#wayBack
    this.#wayBack = undefined
    this.#wasOpen = true
    this.#setState('open', cause)
    for (const { resolve } of this.#openers.splice(0)) resolve()
    if (this.state !== 'open') return // ... again
    const useless = this.#outbox.open(to => wayBack === undefined || this.#view.reaches(to, wayBack.isSameMember))
    if (useless > 0) this.emit('error', new SignalingError('left_out', `Messages that waited for members who are gone: ${useless}`, { request: 'data' }))
  }
}
