import { Redis } from 'ioredis'

/** A room as the store has it. */
export interface StoredRoom {
  epoch: string
  version: number
  /** By connection_id. */
  members: Map<string, { user_id: string, username: string }>
}

/** Looks at what the servers keep in a Redis. */
export class RedisRooms {
  readonly #redis: Redis
  readonly #realm: string

  constructor (url: string, realm = 'development') {
    this.#redis = new Redis(url)
    this.#redis.on('error', () => {}) // a test may take its Redis away
    this.#realm = realm
  }

  /** @returns undefined when there is no such room */
  async find (room: string): Promise<StoredRoom | undefined> {
    const { '#epoch': epoch, '#version': version, ...fields } = await this.#redis.hgetall(`turnip:${this.#realm}:room:{${room}}`)
    if (epoch === undefined || version === undefined) return undefined
    const members: StoredRoom['members'] = new Map()
    for (const [name, value] of Object.entries(fields)) {
      if (name.startsWith('#')) continue
      const { user_id, username } = JSON.parse(value.slice(value.indexOf('{'))) as { user_id: string, username: string }
      members.set(name, { user_id, username })
    }
    return { epoch, version: Number(version), members }
  }

  /** All rooms of the realm, by name. */
  async all (): Promise<Map<string, StoredRoom>> {
    const prefix = `turnip:${this.#realm}:room:{`
    const found = new Map<string, StoredRoom>()
    for (const key of await this.keys()) {
      if (!key.startsWith(prefix)) continue
      const name = key.slice(prefix.length, -1)
      const room = await this.find(name)
      if (room !== undefined) found.set(name, room)
    }
    return found
  }

  /** Keys of ours, of all realms, but for the generation and tombstones: those outlast everybody, and expire. */
  async keys (): Promise<string[]> {
    const kept: string[] = []
    for (const key of await this.#redis.keys('turnip:*')) {
      const outlasts = /:(\{cluster\}:generation$|tombstone:)/.test(key)
      if (!outlasts || await this.#redis.pttl(key) === -1) kept.push(key)
    }
    return kept
  }

  async close (): Promise<void> {
    await this.#redis.quit()
  }

  /** Lets go of a Redis that may not answer any more. */
  drop (): void {
    this.#redis.disconnect()
  }
}
