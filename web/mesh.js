import { Peer } from './peer.js'

/** Of a chat line that somebody else sent; this page's own field takes no more either. */
const CHAT_LIMIT = 2_000

/** A call with everybody in the room: one `Peer` for each other member, by connection_id. */
export class Mesh {
  #peers = new Map()
  #local
  #send
  #on
  #self = ''
  #iceServers = []

  /**
   * @param {object} options
   * @param {import('./media.js').LocalMedia} options.local
   * @param {(to: string, data: object) => void} options.send carries a signal to a member, by way of the server
   * @param {object} options.on
   * @param {(id: string, state: string) => void} options.on.state
   * @param {(id: string, view: { stream: MediaStream, video: boolean, audio: boolean }) => void} options.on.media
   * @param {(id: string, text: string) => void} options.on.chat
   * @param {(id: string, ms: number, path: string) => void} options.on.connected
   * @param {(id: string, text: string) => void} options.on.trouble
   */
  constructor ({ local, send, on }) {
    this.#local = local
    this.#send = send
    this.#on = on
  }

  /**
   * @param {string} self the own connection_id
   * @param {RTCIceServer[]} [iceServers]
   */
  configure (self, iceServers = []) {
    this.#self = self
    this.#iceServers = iceServers
  }

  /** @param {RTCIceServer[]} iceServers new credentials, for calls under way too */
  setIceServers (iceServers) {
    this.#iceServers = iceServers
    for (const { peer } of this.#peers.values()) peer.setIceServers(iceServers)
  }

  /**
   * Starts the call with one member.
   * @param {string} id
   * @param {boolean} [offering] who makes the first offer. The newcomer does; when it is not known who that is,
   *   as after a resync, the impolite side does
   */
  add (id, offering = this.#self > id) {
    if (this.#peers.has(id)) return
    const entry = { peer: null, remote: { audio: true, video: true } }
    const show = () => {
      const { peer, remote } = entry
      this.#on.media(id, { stream: peer.stream, video: peer.hasVideo && remote.video, audio: remote.audio })
    }
    entry.peer = new Peer({
      polite: this.#self < id,
      offering,
      iceServers: this.#iceServers,
      local: this.#local,
      on: {
        signal: (data) => this.#send(id, data),
        state: (state) => this.#on.state(id, state),
        stream: show,
        channel: () => entry.peer.send({ type: 'media', ...this.#local.sending }),
        connected: (ms, path) => this.#on.connected(id, ms, path),
        trouble: (text) => this.#on.trouble(id, text),
        message: (message) => {
          if (message?.type === 'media') {
            entry.remote = { audio: message.audio === true, video: message.video === true }
            show()
          } else this.#chat(id, message)
        }
      }
    })
    this.#peers.set(id, entry)
  }

  /** @param {string} id */
  remove (id) {
    this.#peers.get(id)?.peer.close()
    this.#peers.delete(id)
  }

  /** Ends all calls. */
  clear () {
    for (const id of [...this.#peers.keys()]) this.remove(id)
  }

  /**
   * Makes the calls those with exactly these members; calls that stay are not touched.
   * @param {string[]} ids
   */
  keepOnly (ids) {
    for (const id of [...this.#peers.keys()]) {
      if (!ids.includes(id)) this.remove(id)
    }
    for (const id of ids) this.add(id)
  }

  /**
   * @param {string} id who sent it, as the server says
   * @param {unknown} data what a `data` frame carried
   */
  receive (id, data) {
    const entry = this.#peers.get(id)
    if (!entry || typeof data !== 'object' || data === null) return
    if (data.type === 'chat') this.#chat(id, data)
    else if (['offer', 'answer', 'candidate'].includes(data.type)) entry.peer.receive(data)
  }

  /**
   * Goes from browser to browser; by way of the server to whom there is no open channel (yet).
   * @param {string} text
   */
  chat (text) {
    const message = { type: 'chat', text }
    for (const [id, { peer }] of this.#peers) {
      if (!peer.send(message)) this.#send(id, message)
    }
  }

  /**
   * @param {'audio' | 'video'} kind
   * @param {MediaStreamTrack | null} track
   */
  setTrack (kind, track) {
    for (const [id, { peer }] of this.#peers) {
      peer.setTrack(kind, track).catch((error) => this.#on.trouble(id, error.message))
      peer.send({ type: 'media', ...this.#local.sending })
    }
  }

  #chat (id, message) {
    if (message?.type === 'chat' && typeof message.text === 'string') this.#on.chat(id, message.text.slice(0, CHAT_LIMIT))
  }
}
