/** Clients that behave, while others do not: what they are told is checked all the time. */
import assert from 'node:assert/strict'
import type { ServerMessage } from '../../src/protocol/messages.ts'
import { Client } from '../harness/client.ts'
import { until } from '../harness/until.ts'
import { LOUD_ROOM, QUIET_ROOM } from './hostile-case.ts'

/** How often the two say something, ms. */
const PAUSE_MS = 10

/** Two who talk to each other, on two instances, in a room that is theirs. */
export class Pair {
  /** How long a message took there and back, ms. */
  readonly roundTrips: number[] = []
  readonly #ada: Client
  readonly #ben: Client
  #isOver = false
  #talk: Promise<void> | undefined

  private constructor (ada: Client, ben: Client) {
    this.#ada = ada
    this.#ben = ben
  }

  static async open (urls: readonly string[]): Promise<Pair> {
    const [ada, ben] = await Promise.all([Client.open(urls[0] ?? '', 'ada'), Client.open(urls.at(-1) ?? '', 'ben')])
    await ada.join(QUIET_ROOM)
    await ben.join(QUIET_ROOM)
    await ada.next('user_joined')
    return new Pair(ada, ben)
  }

  /** Begins to talk. @param fail told of the first thing that is not as it should be */
  talk (fail: (error: unknown) => void): void {
    const loop = async (): Promise<void> => {
      for (let n = 0; !this.#isOver; n++) {
        const start = performance.now()
        await this.#say(this.#ada, this.#ben, n)
        await this.#say(this.#ben, this.#ada, n)
        this.roundTrips.push(performance.now() - start)
        await new Promise(resolve => { setTimeout(resolve, PAUSE_MS) })
      }
    }
    this.#talk = loop().catch(fail)
  }

  async end (): Promise<void> {
    this.#isOver = true
    await this.#talk
    this.#ada.socket.terminate()
    this.#ben.socket.terminate()
  }

  /** The very next thing that the other is told is this, from this one. */
  async #say (from: Client, to: Client, n: number): Promise<void> {
    from.send({ type: 'data', data: { n } })
    const frame = await to.take()
    assert.deepEqual(frame, { type: 'data', from: from.info, room: QUIET_ROOM, data: { n } } satisfies ServerMessage)
  }
}

/** One that sits among the hostile clients: what it is told of them is in order, and from whom they are. */
export class Listener {
  readonly info: Client['info']
  heard = 0
  readonly #client: Client
  readonly #members = new Set<string>()
  #version = 0
  #isIn = false

  private constructor (client: Client) {
    this.#client = client
    this.info = client.info
  }

  /** @param fail told of the first thing that is not as it should be */
  static async open (url: string, fail: (error: unknown) => void): Promise<Listener> {
    const listener = new Listener(await Client.open(url, 'listener'))
    const { socket } = listener.#client
    socket.on('message', () => {
      const frame = listener.#client.frames.at(-1)
      listener.#client.frames.length = listener.#client.texts.length = 0
      try {
        if (frame !== undefined) listener.#receive(frame)
      } catch (error) {
        fail(error)
      }
    })
    socket.on('close', code => { fail(new Error(`the listener was closed with ${code}`)) })
    listener.#join()
    await until('the listener is in its room', async () => listener.#isIn)
    return listener
  }

  end (): void {
    this.#client.socket.removeAllListeners('close')
    this.#client.socket.terminate()
  }

  #join (): void {
    this.#client.send({ type: 'join', room: LOUD_ROOM })
  }

  #receive (frame: ServerMessage): void {
    this.heard++
    const text = JSON.stringify(frame).slice(0, 500)
    if ('room' in frame) assert.equal(frame.room, LOUD_ROOM, text)
    switch (frame.type) {
      case 'joined':
      case 'resynced':
        assert.equal(frame.type === 'joined', !this.#isIn, text)
        this.#isIn = true
        this.#version = frame.version
        this.#members.clear()
        for (const { connection_id: id } of frame.data.members) this.#members.add(id)
        break
      case 'ready': break
      case 'user_joined':
      case 'user_left':
        assert.equal(frame.version, ++this.#version, text)
        assert.match(frame.data.user_id, /^fuzz-\d+$/, text)
        assert.equal(this.#members.has(frame.data.connection_id), frame.type === 'user_left', text)
        if (frame.type === 'user_left') this.#members.delete(frame.data.connection_id)
        else this.#members.add(frame.data.connection_id)
        break
      case 'data':
        assert.match(frame.from.user_id, /^fuzz-\d+$/, text)
        assert.equal(frame.from.username, frame.from.user_id, text)
        assert.ok(this.#members.has(frame.from.connection_id), text)
        break
      case 'room_disbanded':
        assert.deepEqual(frame.data, { room: LOUD_ROOM, reason: 'user_requested' })
        this.#isIn = false
        this.#join()
        break
      default: assert.fail(`the listener was told ${text}`)
    }
  }
}
