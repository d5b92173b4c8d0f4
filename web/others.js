import { PeerMesh } from './client/index.js'

/** Of a chat line that somebody else sent; this page's own field takes no more either. */
const CHAT_LIMIT = 2_000
/** How often each connection is asked for its round trip. Browsers measure it about as often. */
const ROUND_TRIP_MS = 3_000

/** All who are seen or heard during one stay in a room: a connection with each, and what is said over it. */
export class Others {
  #client
  #local
  #on
  #mesh
  #offs
  #timer
  /** What is known of each peer besides what it says itself. */
  #extras = new WeakMap()
  /** Whom the server does not see any more, and who is heard all the same. */
  #away = new Set()
  #limit = Infinity

  /**
   * Made before the room is joined: who is there first calls who comes, and has to see who that is.
   * @param {object} options
   * @param {import('./client/index.js').SignalingClient} options.client
   * @param {import('./media.js').LocalMedia} options.local
   * @param {object} options.on
   * @param {() => void} options.on.people `list` changed
   * @param {(id: string) => void} options.on.peer what `way` and `view` tell of one of them
   * @param {(name: string, text: string) => void} options.on.chat
   * @param {(text: string) => void} options.on.news somebody came or went
   * @param {(type: string, detail: string) => void} options.on.here for the log
   */
  constructor ({ client, local, on }) {
    this.#client = client
    this.#local = local
    this.#on = on
    this.#mesh = new PeerMesh(client, { stream: local.stream, receive: ['audio', 'video'] })
    this.#offs = [
      client.on('resynced', on.people),
      client.on('user_resumed', on.people),
      client.on('user_joined', ({ connection_id: id, username }) => {
        on.people()
        on.news(this.#away.delete(id) ? `${username} is back` : `${username} joined`)
      }),
      client.on('user_left', ({ connection_id: id, username }) => { this.#left(id, username) }),
      client.on('data', ({ from, data }) => { this.#heard(from.connection_id, data) })
    ]
    this.#watchPeers()
    this.#timer = setInterval(() => {
      // Nobody sees it.
      if (document.hidden) return
      for (const peer of this.#mesh.peers.values()) this.#measure(peer)
    }, ROUND_TRIP_MS)
  }

  /** @returns {{ id: string, name: string }[]} */
  get list () {
    const away = [...this.#away].filter((id) => !this.#client.members.has(id))
    return [...this.#client.members.keys(), ...away].map((id) => ({ id, name: this.nameOf(id) }))
  }

  /** @returns {number} how many are good for such a call, where there are more; else 0 */
  get exceeded () {
    return this.list.length > this.#limit ? this.#limit : 0
  }

  /** @returns {boolean} somebody is connected, or about to be */
  get areThere () {
    return this.#mesh.peers.size > 0
  }

  /** @param {string} id a connection_id */
  nameOf (id) {
    return (this.#client.members.get(id) ?? this.#mesh.peers.get(id)?.info)?.username ?? id.slice(0, 8)
  }

  /**
   * @param {string} id
   * @returns {import('./words.js').Way}
   */
  way (id) {
    const peer = this.#mesh.peers.get(id)
    if (peer === undefined) return { state: 'closed' }
    const { rtt, cause } = this.#extra(peer)
    return { state: peer.state, path: peer.path, rtt, cause, away: this.#away.has(id) }
  }

  /**
   * @param {string} id
   * @returns {{ stream: MediaStream | null, video: boolean, audio: boolean }}
   */
  view (id) {
    const peer = this.#mesh.peers.get(id)
    if (peer === undefined) return { stream: null, video: false, audio: true }
    const { stream = null } = peer
    const { video = true, audio = true } = this.#extra(peer)
    return { stream, audio, video: video && stream?.getVideoTracks().some(({ readyState }) => readyState === 'live') === true }
  }

  /**
   * Goes from browser to browser; by way of the server to whom there is no open channel (yet).
   * @param {string} text for all of them
   */
  chat (text) {
    const message = { type: 'chat', text }
    for (const { id } of this.list) {
      if (this.#mesh.peers.get(id)?.send(JSON.stringify(message)) !== true) this.#client.send(message, id)
    }
  }

  /**
   * @param {MediaStreamTrack} track came, went, or was muted
   * @param {boolean} isSent
   */
  setTrack (track, isSent) {
    if (isSent) this.#mesh.addTrack(track, this.#local.stream)
    else this.#mesh.removeTrack(track)
    this.#mesh.send(this.#media)
  }

  /** Hangs up; nothing is told after it. */
  close () {
    clearInterval(this.#timer)
    for (const off of this.#offs) off()
    this.#mesh.close()
  }

  get #media () {
    return JSON.stringify({ type: 'media', ...this.#local.sending })
  }

  #watchPeers () {
    const on = this.#on
    const offs = [
      this.#mesh.on('peer', ({ id }) => { on.peer(id) }),
      this.#mesh.on('state', ({ peer, state }) => {
        // Connected for the first time, its path is not known yet.
        if (state !== 'connected' || peer.path !== undefined) on.here(state, peer.info.username)
        on.peer(peer.id)
      }),
      this.#mesh.on('path', ({ peer, path }) => {
        on.here('connected', `${peer.info.username}, ${path}`)
        this.#measure(peer)
      }),
      this.#mesh.on('track', ({ peer, streams }) => {
        for (const stream of streams) stream.onremovetrack = () => { on.peer(peer.id) }
        on.peer(peer.id)
      }),
      this.#mesh.on('open', ({ peer }) => { peer.send(this.#media) }),
      this.#mesh.on('message', ({ peer, data }) => { this.#message(peer.id, data) }),
      this.#mesh.on('error', ({ peer, error }) => {
        this.#extra(peer).cause = error.message
        on.here('trouble', `${peer.info.username}: ${error.message}`)
        on.peer(peer.id)
      }),
      this.#mesh.on('left', ({ id, info }) => {
        if (this.#away.delete(id)) on.news(`${info.username} left`)
        on.people()
      }),
      this.#mesh.on('crowded', ({ limit }) => {
        this.#limit = limit
        on.people()
      })
    ]
    this.#offs.push(...offs)
  }

  /** Who leaves on purpose hangs up first, and who is not heard any more either is gone: the mesh has closed both. */
  #left (id, name) {
    const isHeard = this.#mesh.peers.has(id)
    if (isHeard) this.#away.add(id)
    this.#on.people()
    this.#on.news(isHeard ? `The server has lost sight of ${name}` : `${name} left`)
  }

  #extra (peer) {
    if (!this.#extras.has(peer)) this.#extras.set(peer, {})
    return this.#extras.get(peer)
  }

  async #measure (peer) {
    if (peer.state !== 'connected') return
    this.#extra(peer).rtt = await peer.roundTripTime()
    if (peer.state === 'connected') this.#on.peer(peer.id)
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
    const peer = this.#mesh.peers.get(id)
    if (message?.type === 'chat' && typeof message.text === 'string') this.#on.chat(this.nameOf(id), message.text.slice(0, CHAT_LIMIT))
    if (message?.type !== 'media' || peer === undefined) return
    Object.assign(this.#extra(peer), { audio: message.audio === true, video: message.video === true })
    this.#on.peer(id)
  }
}
