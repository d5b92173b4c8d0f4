import { Mesh } from './mesh.js'
import { Signaling, backoff } from './signaling.js'

/**
 * A person's stay on the server: connects, joins, keeps the member list and the calls in step with it, leaves.
 * `state` is one of idle, connecting, open (connected, in no room), in-room, reconnecting, closed (for good).
 */
export class Call {
  state = 'idle'
  /** The room the person is in, or is on the way back to. */
  room = null
  /** The data of `welcome`. */
  self = null
  /** The others in the room, by connection_id. */
  members = new Map()
  #signaling
  #mesh
  #local
  #on
  #userId
  #username = ''
  #wanted = null
  #ready = Promise.resolve()
  #joins = 0
  #retry = null

  /**
   * @param {object} options
   * @param {URL} options.base what the server's routes are relative to
   * @param {string} options.userId
   * @param {import('./media.js').LocalMedia} options.local
   * @param {object} options.on
   * @param {(state: string) => void} options.on.state state, room or self changed
   * @param {(text: string, passing?: boolean) => void} options.on.note one line for the person; empty takes the last one
   *   back, a passing one goes by itself
   * @param {(text: string) => void} options.on.news something happened in the room
   * @param {(direction: 'in' | 'out' | 'here', frame: object) => void} options.on.event for the log
   * @param {() => void} options.on.members the member list changed
   * @param {(id: string, text: string) => void} options.on.chat
   * @param {(id: string, state: string) => void} options.on.peer a call's connection state
   * @param {(id: string, view: object) => void} options.on.media
   */
  constructor ({ base, userId, local, on }) {
    this.#local = local
    this.#on = on
    this.#userId = userId
    this.#signaling = new Signaling(base, {
      frame: (frame) => this.#received(frame),
      sent: (frame) => on.event('out', frame),
      lost: (text, waitMs) => this.#lost(text, waitMs),
      stopped: (text) => this.#stopped(text)
    })
    this.#mesh = new Mesh({
      local,
      send: (to, data) => this.#signaling.send({ type: 'data', to, data }),
      on: {
        state: on.peer,
        media: on.media,
        chat: on.chat,
        connected: (id, ms, path) => this.#here('connected', `${this.nameOf(id)}, ${ms} ms, ${path}`),
        trouble: (id, text) => this.#here('trouble', `${this.nameOf(id)}: ${text}`)
      }
    })
  }

  /** @returns {boolean} a join is under way */
  get busy () {
    return this.#wanted !== null && this.state !== 'in-room'
  }

  /** @param {string} id a connection_id */
  nameOf (id) {
    return this.members.get(id)?.username ?? id.slice(0, 8)
  }

  /**
   * @param {{ username: string, room: string, ready: Promise<unknown> }} wish `ready`: what to await before the join,
   *   so that the first offers already carry camera and microphone
   */
  join ({ username, room, ready }) {
    this.#wanted = room
    this.#ready = ready
    this.#on.note('')
    if (this.#signaling.open && username === this.#username) {
      this.#setState('open')
      this.#enter()
      return
    }
    // The name is in the token, so another name is another connection.
    this.#username = username
    this.#setState('connecting')
    this.#signaling.connect({ username, user_id: this.#userId })
  }

  /** Leaves the room and stays connected, or gives up what is under way. */
  leave () {
    if (this.state === 'in-room') {
      this.#signaling.send({ type: 'leave' })
      this.#exit('open')
    } else {
      this.hangUp()
    }
  }

  /** Closes the room for everybody in it. */
  disband () {
    this.#signaling.send({ type: 'disband_room' })
  }

  /** @param {string} text for all others in the room */
  chat (text) {
    this.#mesh.chat(text)
  }

  /**
   * @param {'audio' | 'video'} kind
   * @param {MediaStreamTrack | null} track
   */
  setTrack (kind, track) {
    this.#mesh.setTrack(kind, track)
  }

  /** Ends everything, the connection too. */
  hangUp () {
    this.#signaling.close()
    this.self = null
    this.#exit('idle')
    this.#on.note('')
  }

  #setState (state) {
    this.state = state
    this.#on.state(state)
  }

  #here (type, detail) {
    this.#on.event('here', { type, detail })
  }

  #exit (state) {
    clearTimeout(this.#retry)
    this.#wanted = null
    this.room = null
    this.members.clear()
    this.#mesh.clear()
    this.#local.stop()
    this.#on.members()
    this.#setState(state)
  }

  async #enter () {
    const wish = `join-${++this.#joins}`
    await this.#ready
    if (this.#wanted && wish === `join-${this.#joins}`) {
      this.#signaling.send({ type: 'join', room: this.#wanted, id: wish })
    }
  }

  #lost (text, waitMs) {
    clearTimeout(this.#retry)
    this.#here('closed', `${text} next attempt in ${waitMs} ms`)
    // Calls go on until the others are told otherwise; they are made anew when the room is joined again.
    if (this.room) this.#on.note('The connection to the server is lost. It comes back by itself.')
    this.#setState('reconnecting')
  }

  #stopped (text) {
    this.#here('closed', text)
    this.self = null
    this.#exit('closed')
    this.#on.note(text)
  }

  #received (frame) {
    this.#on.event('in', frame)
    this.#frames[frame.type]?.(frame)
  }

  /** What each frame does; one that is not here is an event for the log and no more. */
  #frames = {
    welcome: ({ data }) => {
      this.self = data
      this.#mesh.configure(data.connection_id, data.ice_servers)
      this.#setState('open')
      if (this.#wanted) this.#enter()
      else this.#on.note('')
    },
    joined: ({ room, data }) => {
      const again = this.room !== null
      this.room = room
      this.#replaceMembers(data.members)
      // The connection_id is a new one, so the others make their calls anew too.
      this.#mesh.clear()
      for (const id of this.members.keys()) this.#mesh.add(id, true)
      if (again) this.#on.note('')
      this.#on.news(again ? `You are back in ${room}` : `You joined ${room}`)
      this.#setState('in-room')
    },
    resynced: ({ room, data }) => {
      if (room !== this.room) return
      this.#replaceMembers(data.members)
      this.#mesh.keepOnly([...this.members.keys()])
    },
    user_joined: ({ data }) => {
      this.members.set(data.connection_id, data)
      this.#on.members()
      this.#mesh.add(data.connection_id, false)
      this.#on.news(`${data.username} joined`)
    },
    user_left: ({ data }) => {
      this.#mesh.remove(data.connection_id)
      this.members.delete(data.connection_id)
      this.#on.members()
      this.#on.news(`${data.username} left`)
    },
    data: ({ from, data }) => this.#mesh.receive(from.connection_id, data),
    left: ({ data }) => {
      // After an own leave `room` is null already: this is one that was not asked for.
      if (data.room === this.room) this.#exit('open')
    },
    room_disbanded: ({ data }) => {
      const why = data.reason === 'last_member_left' ? 'its last member left' : 'it was disbanded'
      this.#on.news(`The room ${data.room} is closed: ${why}`)
      if (data.room !== this.room) return
      this.#exit('open')
      this.#on.note(`The room ${data.room} was disbanded.`)
    },
    ice_servers: ({ data }) => this.#mesh.setIceServers(data.ice_servers),
    goaway: () => this.#on.note('The server is about to restart; the page reconnects by itself.'),
    degraded: ({ data }) => this.#on.note(data.redis === 'down'
      ? 'The server has lost its store: calls go on, joining a room has to wait.'
      : ''),
    error: (frame) => this.#refused(frame)
  }

  #refused ({ id, code, error }) {
    // A candidate for someone who has just left; nothing is lost.
    if (code === 'peer_not_found') return
    if (id !== `join-${this.#joins}`) return this.#on.note(`${error} (${code})`, true)
    if (code === 'unavailable' && this.room) {
      this.#retry = setTimeout(() => this.#enter(), backoff(2, 1_000))
      return
    }
    this.#exit('open')
    this.#on.note(`${error} (${code})`)
  }

  #replaceMembers (members) {
    this.members = new Map(members
      .filter(({ connection_id: id }) => id !== this.self.connection_id)
      .map((member) => [member.connection_id, member]))
    this.#on.members()
  }
}
