import { SignalingClient } from './client/index.js'
import { Others } from './others.js'
import { fetchToken } from './token.js'

/** @param {string} text */
const sentence = (text) => /[.!?]$/.test(text) ? text : `${text}.`

/** A person's stay on the server: connects, joins, comes back, leaves. */
export class Call {
  /** The room the person is in, or is on the way back to. */
  room = null
  /** A join is under way. */
  busy = false
  /** @type {Others | null} Null where there is no room, not even one to come. */
  others = null
  #client
  #local
  #on
  #username = ''
  /** Grows with every join and every end: what an older one still has under way is void. */
  #run = 0
  #wasRefused = false
  /** Until the server has said so, the client is in its old room. */
  #leaving = Promise.resolve()

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
   * @param {() => void} options.on.people who is in the room changed
   * @param {(id: string) => void} options.on.peer what is known of one of the others
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
    return this.#client.state === 'open' ? this.#client.instanceId : ''
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
      this.others = new Others({ client: this.#client, local: this.#local, on: { ...this.#on, here: (...line) => { this.#here(...line) } } })
      await this.#client.join(room)
    } catch (error) {
      if (run !== this.#run) return
      this.#exit()
      // What ends the connection is told with it.
      if (this.#client.state !== 'closed') this.#on.note(`${error.message} (${error.code})`)
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
    client.on('left', ({ room, reason }) => {
      if (room !== this.room) return
      this.#exit()
      if (reason === 'user_requested') this.#on.note(`The room ${room} was disbanded.`)
      if (reason === 'gone') this.#on.note(`The server does not have you in ${room} any more.`)
    })
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
    if (state === 'reconnecting') this.#on.trouble(`${why} ${this.others?.areThere ? 'Calls go on, and the' : 'The'} page comes back by itself.`)
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

  #exit () {
    this.#run++
    this.busy = false
    this.room = null
    this.others?.close()
    this.others = null
    this.#local.stop()
    this.#on.people()
    this.#on.state()
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
