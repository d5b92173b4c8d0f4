import { PeerMesh, SignalingClient } from './client/index.js'
import { fetchToken } from './token.js'

/** Of a chat line that somebody else sent; this page's own field takes no more either. */
const CHAT_LIMIT = 2_000
/** How often each connection is asked for its round trip. Browsers measure it about as often. */
const ROUND_TRIP_MS = 3_000

/** @param {string} text */
const sentence = (text) => /[.!?]$/.test(text) ? text : `${text}.`

/** What a person does here: enters a room, sees, hears and writes to the others, leaves. */
export class Call {
  /** The room the person is in, or is on the way back to. */
  room = null
  /** A join is under way. */
  busy = false
  #client
  /** A mesh for each stay in a room. */
  #mesh = null
  #local
  #on
  #username = ''
  /** Grows with every join and every end: what an older one still has under way is void. */
  #run = 0
  #wasRefused = false
  /** Until the server has said so, the client is in its old room. */
  #leaving = Promise.resolve()
  #timer
  /** What is known of each peer besides what it says itself. */
  #extras = new WeakMap()
  /** Whom the server does not see any more, and who is heard all the same. */
  #away = new Set()
  #limit = Infinity

  /**
   * @param {object} options
   * @param {URL} options.base what the server's routes are relative to
   * @param {string} options.userId
   * @param {import('./media.js').LocalMedia} options.local
   * @param {object} options.on
   * @param {() => void} options.on.state `state`, `room` or `busy` changed
   * @param {(text: string) => void} options.on.trouble with the connection to the server; empty: none any more
   * @param {(isDown: boolean) => void} options.on.degraded the server's store
   * @param {(text: string, passing?: boolean) => void} options.on.note one line for the person; empty takes the last one
   *   back, a passing one goes by itself
   * @param {(text: string) => void} options.on.news something happened in the room
   * @param {(direction: 'in' | 'out' | 'here', frame: object) => void} options.on.event for the log
   * @param {() => void} options.on.people `others` changed
   * @param {(id: string) => void} options.on.peer what `way` and `view` tell of one of them
   * @param {(name: string, text: string) => void} options.on.chat
   */
  constructor ({ base, userId, local, on }) {
    this.#local = local
    this.#on = on
    this.#client = new SignalingClient({ url: base, token: () => fetchToken(base, { username: this.#username, user_id: userId }) })
    this.#listen()
  }

  /** @returns {'idle' | 'connecting' | 'open' | 'in-room' | 'reconnecting' | 'closed'} open: connected, in no room; closed: for good */
  get state () {
    const { state } = this.#client
    if (state === 'closed') return this.#wasRefused ? 'closed' : 'idle'
    return state === 'open' && this.room !== null ? 'in-room' : state
  }

  /** @returns {{ id: string, name: string } | null} null in no room */
  get self () {
    return this.room === null ? null : { id: this.#client.connectionId, name: this.#username }
  }

  get instance () {
    return this.state === 'in-room' || this.state === 'open' ? this.#client.instanceId : ''
  }

  /** @returns {{ id: string, name: string }[]} all who are seen or heard here */
  get others () {
    if (this.#mesh === null) return []
    const away = [...this.#away].filter((id) => !this.#client.members.has(id))
    return [...this.#client.members.keys(), ...away].map((id) => ({ id, name: this.nameOf(id) }))
  }

  /** @returns {number} how many others are good for such a call, where there are more; else 0 */
  get exceeds () {
    return this.others.length > this.#limit ? this.#limit : 0
  }

  /** @param {string} id a connection_id */
  nameOf (id) {
    return this.#client.members.get(id)?.username ?? this.#mesh?.peers.get(id)?.info.username ?? id.slice(0, 8)
  }

  /**
   * @param {string} id
   * @returns {import('./words.js').Way}
   */
  way (id) {
    const peer = this.#mesh?.peers.get(id)
    if (peer === undefined) return { state: 'closed' }
    const { rtt, cause } = this.#extra(peer)
    return { state: peer.state, path: peer.path, rtt, cause, away: this.#away.has(id) }
  }

  /**
   * @param {string} id
   * @returns {{ stream: MediaStream | null, video: boolean, audio: boolean }}
   */
  view (id) {
    const peer = this.#mesh?.peers.get(id)
    const stream = peer?.stream ?? null
    const { video, audio } = peer === undefined ? {} : this.#extra(peer)
    return { stream, audio: audio !== false, video: video !== false && stream?.getVideoTracks().some(({ readyState }) => readyState === 'live') === true }
  }

  /**
   * @param {{ username: string, room: string, ready: Promise<unknown> }} wish `ready`: what to await before the join,
   *   so that the first offers already carry camera and microphone
   */
  async join ({ username, room, ready }) {
    const run = ++this.#run
    // The name is in the token, so another name is another connection.
    if (username !== this.#username) this.#client.close()
    this.#username = username
    this.busy = true
    this.#on.note('')
    this.#on.trouble('')
    try {
      await Promise.all([this.#client.connect(), this.#leaving, ready])
      if (run !== this.#run) return
      // Before the join: who is there first calls who comes, and a mesh has to see who that is.
      this.#mesh = this.#makeMesh()
      await this.#client.join(room)
    } catch (error) {
      if (run !== this.#run) return
      // What ends the connection is told with it.
      if (this.#client.state !== 'closed') this.#on.note(`${error.message} (${error.code})`)
      this.#exit()
    }
  }

  /** Leaves the room and stays connected, or gives up what is under way. */
  leave () {
    const isIn = this.state === 'in-room'
    this.#exit()
    // Who cannot be told now is told by the end of the connection.
    if (isIn) this.#leaving = this.#client.leave().catch(() => {})
    else this.#client.close()
  }

  /** Closes the room for everybody in it. */
  disband () {
    this.#client.disband().catch((error) => { this.#refused(error) })
  }

  /**
   * Goes from browser to browser; by way of the server to whom there is no open channel (yet).
   * @param {string} text for all others
   */
  chat (text) {
    const message = { type: 'chat', text }
    for (const { id } of this.others) {
      if (this.#mesh.peers.get(id)?.send(JSON.stringify(message)) !== true) this.#client.send(message, id)
    }
  }

  /**
   * @param {MediaStreamTrack} track came, went, or was muted
   * @param {boolean} isSent
   */
  setTrack (track, isSent) {
    if (isSent) this.#mesh?.addTrack(track, this.#local.stream)
    else this.#mesh?.removeTrack(track)
    this.#mesh?.send(this.#media)
  }

  get #media () {
    return JSON.stringify({ type: 'media', ...this.#local.sending })
  }

  #listen () {
    const client = this.#client
    client.on('frame', ({ direction, frame }) => {
      if (frame.type !== 'ping' && frame.type !== 'pong') this.#on.event(direction, frame)
      // Where it has not recovered, `degraded` follows.
      if (frame.type === 'welcome') this.#on.degraded(false)
    })
    client.on('state', (change) => { this.#changed(change) })
    client.on('joined', ({ room, rejoined }) => { this.#entered(room, rejoined) })
    client.on('resumed', () => {
      if (this.room !== null) this.#on.news(`You are back in ${this.room}, and nobody saw you leave`)
    })
    client.on('left', ({ room, reason }) => { if (room === this.room) this.#left(reason) })
    client.on('resynced', () => { this.#on.people() })
    client.on('user_resumed', () => { this.#on.people() })
    client.on('user_joined', ({ connection_id: id, username }) => {
      this.#on.people()
      this.#on.news(this.#away.delete(id) ? `${username} is back` : `${username} joined`)
    })
    // After the mesh, which may have hung up by then: who leaves on purpose says so before.
    client.on('user_left', ({ connection_id: id, username }) => queueMicrotask(() => {
      const isHeard = this.#mesh?.peers.get(id)?.state === 'connected'
      if (isHeard) this.#away.add(id)
      this.#on.people()
      this.#on.news(isHeard ? `The server has lost sight of ${username}` : `${username} left`)
    }))
    client.on('data', ({ from, data }) => { this.#heard(from.connection_id, data) })
    client.on('room_disbanded', ({ room, reason }) => {
      this.#on.news(`The room ${room} is closed: ${reason === 'last_member_left' ? 'its last member left' : 'it was disbanded'}`)
    })
    client.on('goaway', () => { this.#on.trouble('The server is about to restart. The page comes back by itself.') })
    client.on('degraded', ({ redis }) => { this.#on.degraded(redis === 'down') })
    client.on('error', (error) => { this.#refused(error) })
  }

  /** @param {import('./client/index.js').StateChange} change */
  #changed ({ state, cause, retryInMs, error }) {
    this.#wasRefused = error !== undefined
    if (retryInMs !== undefined) this.#here('lost', cause)
    if (error !== undefined) this.#here('closed', cause)
    const why = sentence(navigator.onLine ? cause : 'This device is offline')
    const calls = this.#mesh?.peers.size > 0 ? 'Calls go on, and the' : 'The'
    if (state === 'reconnecting') this.#on.trouble(`${why} ${calls} page comes back by itself.`)
    else if (state === 'connecting' && retryInMs !== undefined) this.#on.trouble(`${why} The page tries again.`)
    else this.#on.trouble(error === undefined ? '' : sentence(cause))
    this.#on.state()
  }

  #entered (room, rejoined) {
    this.busy = false
    this.room = room
    this.#on.news(rejoined ? `You are back in ${room}` : `You joined ${room}`)
    this.#on.people()
    this.#on.state()
  }

  #left (reason) {
    const { room } = this
    this.#exit()
    if (reason === 'user_requested') this.#on.note(`The room ${room} was disbanded.`)
  }

  #exit () {
    this.#run++
    this.busy = false
    this.room = null
    clearInterval(this.#timer)
    this.#away.clear()
    const mesh = this.#mesh
    this.#mesh = null
    mesh?.close()
    this.#local.stop()
    this.#on.people()
    this.#on.state()
  }

  #makeMesh () {
    const mesh = new PeerMesh(this.#client, { stream: this.#local.stream, receive: ['audio', 'video'] })
    mesh.on('peer', ({ id }) => { this.#on.peer(id) })
    mesh.on('state', ({ peer, state }) => {
      // Connected for the first time, its path is not known yet.
      if (state !== 'connected' || peer.path !== undefined) this.#here(state, peer.info.username)
      this.#on.peer(peer.id)
    })
    mesh.on('path', ({ peer, path }) => {
      this.#here('connected', `${peer.info.username}, ${path}`)
      this.#measure(peer)
    })
    mesh.on('track', ({ peer, streams }) => {
      for (const stream of streams) stream.onremovetrack = () => { this.#on.peer(peer.id) }
      this.#on.peer(peer.id)
    })
    mesh.on('open', ({ peer }) => { peer.send(this.#media) })
    mesh.on('message', ({ peer, data }) => { this.#message(peer.id, data) })
    mesh.on('error', ({ peer, error }) => {
      this.#extra(peer).cause = error.message
      this.#here('trouble', `${peer.info.username}: ${error.message}`)
      this.#on.peer(peer.id)
    })
    mesh.on('left', ({ id, info }) => {
      if (this.#away.delete(id)) this.#on.news(`${info.username} left`)
      this.#on.people()
    })
    mesh.on('crowded', ({ limit }) => {
      this.#limit = limit
      this.#on.people()
    })
    this.#timer = setInterval(() => {
      // Nobody sees it.
      if (document.hidden) return
      for (const peer of mesh.peers.values()) this.#measure(peer)
    }, ROUND_TRIP_MS)
    return mesh
  }

  #extra (peer) {
    if (!this.#extras.has(peer)) this.#extras.set(peer, {})
    return this.#extras.get(peer)
  }

  async #measure (peer) {
    if (peer.state !== 'connected') return
    this.#extra(peer).rtt = await peer.roundTripTime()
    this.#on.peer(peer.id)
  }

  /** From a member's browser: this page's own messages, or words of a page that knows no other kind. */
  #message (id, data) {
    if (typeof data !== 'string') return
    let message
    try {
      message = JSON.parse(data)
    } catch {
      message = { type: 'chat', text: data }
    }
    this.#heard(id, message)
  }

  #heard (id, message) {
    const peer = this.#mesh?.peers.get(id)
    if (message?.type === 'chat' && typeof message.text === 'string') this.#on.chat(this.nameOf(id), message.text.slice(0, CHAT_LIMIT))
    if (message?.type !== 'media' || peer === undefined) return
    Object.assign(this.#extra(peer), { audio: message.audio === true, video: message.video === true })
    this.#on.peer(id)
  }

  /** What nobody waits for. */
  #refused ({ code, message }) {
    // Words for someone who has just left; nothing is lost.
    if (code !== 'peer_not_found' && code !== 'left_out') this.#on.note(`${message} (${code})`, true)
  }

  #here (type, detail) {
    this.#on.event('here', { type, detail })
  }
}
