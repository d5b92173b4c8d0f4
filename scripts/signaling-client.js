import { once } from 'node:events'
import WebSocket from 'ws'
import { Trouble } from './reach-server.js'

/** How long an answer may take, ms. Only a server that is broken, or far away, ever takes it. */
const PATIENCE_MS = 10_000

/**
 * A frame as the server sends it. Demos look at what they print: its fields are described in docs/protocol.md.
 *
 * @typedef {{ type: string, [field: string]: any }} Frame
 */

/** A client of the demos: it says and hears frames, and shows both. */
export class SignalingClient {
  /** @type {Frame[]} what has come, in order */
  frames = []
  #socket
  #show
  #taken = 0
  #wake = () => {}

  /**
   * @param {WebSocket} socket
   * @param {(direction: '>' | '<', frame: Frame) => void} show
   */
  constructor (socket, show) {
    this.#socket = socket
    this.#show = show
    socket.on('message', data => {
      const frame = JSON.parse(data.toString())
      this.frames.push(frame)
      this.#show('<', frame)
      this.#wake()
    })
    socket.on('close', () => { this.#wake() })
  }

  /**
   * @param {URL} base what the server's routes are relative to
   * @param {string} token
   * @param {(direction: '>' | '<', frame: Frame) => void} [show]
   * @returns {Promise<SignalingClient>} once it is welcome
   * @throws {Trouble} with what the server said
   */
  static async open (base, token, show = () => {}) {
    const url = new URL('ws', base)
    url.protocol = base.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(url, { headers: { authorization: `Bearer ${token}` } })
    const client = new SignalingClient(socket, show)
    await new Promise((resolve, reject) => {
      socket.once('open', resolve)
      socket.once('error', error => { reject(new Trouble(`${url.href}: ${error.message}`)) })
      socket.once('unexpected-response', async (_request, response) => {
        const { code, message } = JSON.parse(Buffer.concat(await response.toArray()).toString())
        reject(new Trouble(`The server refused a connection: ${message} (${code})`))
      })
    })
    await client.next('welcome')
    return client
  }

  /** @param {Frame} frame */
  send (frame) {
    this.#show('>', frame)
    this.#socket.send(JSON.stringify(frame))
  }

  /**
   * The next frame of a type among those that nobody has waited for; others before it are passed over.
   *
   * @param {string} type
   * @returns {Promise<Frame>}
   */
  async next (type) {
    const deadline = performance.now() + PATIENCE_MS
    for (;;) {
      while (this.#taken < this.frames.length) {
        const frame = this.frames[this.#taken++]
        if (frame?.type === type) return frame
      }
      if (this.#socket.readyState === WebSocket.CLOSED) throw new Trouble(`The server closed the connection where "${type}" was expected`)
      const left = deadline - performance.now()
      if (left <= 0) throw new Trouble(`The server sent no "${type}" within ${PATIENCE_MS / 1000} s`)
      await new Promise(resolve => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => { clearTimeout(timer); resolve(undefined) }
      })
    }
  }

  /**
   * Says something and waits for what it brings.
   *
   * @param {Frame} frame
   * @param {string} answer
   */
  async ask (frame, answer) {
    this.send(frame)
    return await this.next(answer)
  }

  /**
   * @param {string} type
   * @returns {number} how many frames of this type have come
   */
  count (type) {
    return this.frames.filter(frame => frame.type === type).length
  }

  async close () {
    if (this.#socket.readyState === WebSocket.CLOSED) return
    this.#socket.close(1000)
    await once(this.#socket, 'close')
  }
}
