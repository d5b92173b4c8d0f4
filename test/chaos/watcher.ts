import type { ServerMessage } from '../../src/protocol/messages.ts'
import type { Absences } from './absences.ts'
import { Connection, type ConnectionOwner } from './connection.ts'
import type { Fail } from './session.ts'
import { now, type Troubles } from './troubles.ts'

/** Until it tries again what was refused, ms. */
const RETRY_MS = 200

/**
 * An admin who watches all rooms on one instance, and comes back to it. For each room it hears of a birth, an end, a
 * birth, and so on, in turn. One allowance: announcements are said once and kept by nobody, so what is said while its
 * instance is cut off from Redis, or Redis from it, is missed. While that trouble lasts it does not count; after it, it
 * begins anew with what Redis says.
 */
export class Watcher implements ConnectionOwner {
  readonly instance: number
  isWatching = false
  announcements = 0
  /** Whether a room lives, by what it was told while nothing was the matter. */
  readonly #lives = new Map<string, boolean>()
  /** Whether the last announcement of a room was its birth. */
  readonly #last = new Map<string, boolean>()
  readonly #url: string
  readonly #troubles: Troubles
  readonly #absences: Absences
  readonly #fail: Fail
  #connection: Connection | undefined
  #timer: NodeJS.Timeout | undefined
  #isOver = false

  constructor (instance: number, url: string, troubles: Troubles, absences: Absences, fail: Fail) {
    this.instance = instance
    this.#url = url
    this.#troubles = troubles
    this.#absences = absences
    this.#fail = fail
    void this.#connect()
  }

  get history (): readonly string[] { return this.#connection?.history ?? [] }

  /** @returns whether the last announcement of a room was its birth; undefined when there was none */
  last (room: string): boolean | undefined { return this.#last.get(room) }

  /** All is well again: what it may have missed it takes from Redis. @param rooms that live */
  settle (rooms: ReadonlySet<string>): void {
    for (const room of [...rooms, ...this.#lives.keys()]) this.#lives.set(room, rooms.has(room))
  }

  /** @param rooms that live. @returns those of which it was told otherwise */
  differences (rooms: ReadonlySet<string>): string[] {
    if (this.#troubles.ofLobby(this.instance, now() - 1)) return []
    const all = new Set([...rooms, ...this.#lives.keys()])
    return [...all].filter(room => (this.#lives.get(room) ?? rooms.has(room)) !== rooms.has(room))
  }

  end (): void {
    this.#isOver = true
    clearTimeout(this.#timer)
    this.#connection?.close()
  }

  onFrame (frame: ServerMessage): void {
    switch (frame.type) {
      case 'watching':
        this.isWatching = true
        break
      case 'room_created':
        this.#hear(frame.data.room, true)
        break
      case 'room_disbanded':
        this.#hear(frame.data.room, false)
        if (frame.data.reason === 'last_member_left') this.#absences.emptied(this.instance, frame.data.room)
        break
      case 'error':
        if (frame.code !== 'unavailable' || !this.#troubles.ofAny(this.instance, now() - RETRY_MS)) this.#complain(`got ${JSON.stringify(frame)}`)
        else this.#later(() => { this.#connection?.ask({ type: 'watch' }) })
        break
      case 'welcome':
      case 'degraded':
      case 'goaway':
        break
      default:
        this.#complain(`got ${JSON.stringify(frame)}`)
    }
  }

  onClose (code: number): void {
    this.isWatching = false
    this.#lives.clear()
    if (this.#isOver) return
    if (!this.#troubles.ofProcess(this.instance, now() - 1)) this.#complain(`was closed with ${code}`)
    this.#later(() => { void this.#connect() })
  }

  #hear (room: string, lives: boolean): void {
    this.announcements++
    this.#last.set(room, lives)
    if (this.#troubles.ofLobby(this.instance, now() - 1)) return
    if (this.#lives.get(room) === lives) this.#complain(`was told twice in a row that ${room} ${lives ? 'was born' : 'has ended'}`)
    else this.#lives.set(room, lives)
  }

  #complain (what: string): void {
    this.#fail(`the watcher of instance ${this.instance} ${what}; its last frames:\n  ${this.history.join('\n  ')}`)
  }

  async #connect (): Promise<void> {
    const connection = await Connection.open(this.#url, this.instance, { userId: `watcher-${this.instance}`, claims: { role: 'admin' } }, opened => {
      this.#connection = opened
      return this
    })
    if (connection === undefined && !this.#isOver) this.#later(() => { void this.#connect() })
    else if (this.#isOver) connection?.close()
    else connection?.ask({ type: 'watch' })
  }

  #later (act: () => void): void {
    this.#timer = setTimeout(() => { if (!this.#isOver) act() }, RETRY_MS)
  }
}
