import WebSocket from 'ws'
import type { Client } from '../harness/client.ts'
import type { RedisRooms, StoredRoom } from '../harness/redis-rooms.ts'
import { View } from '../protocol/view.ts'

/** Compares what members know of their rooms with what Redis holds. */
export class Agreement {
  readonly #rooms: RedisRooms
  readonly #mayStartOver: boolean
  readonly #followed = new Map<Client, { view: View, applied: number }>()

  /** @param mayStartOver whether rooms may end behind the back of members whose instance is cut off */
  constructor (rooms: RedisRooms, mayStartOver: boolean) {
    this.#rooms = rooms
    this.#mayStartOver = mayStartOver
  }

  /** From its first frame on. A client that only watches has no view. */
  follow (client: Client): void {
    this.#followed.set(client, { view: new View(client.info, { mayStartOver: this.#mayStartOver }), applied: 0 })
  }

  /**
   * Whether everybody who is connected knows exactly what Redis holds, and Redis holds nobody else.
   * @returns what differs, undefined when nothing does
   * @throws AssertionError when somebody got a frame that cannot follow those before it
   */
  async difference (): Promise<string | undefined> {
    const stored = await this.#rooms.all()
    const known = new Map<string, string[]>()
    const differences: string[] = []
    for (const [client, followed] of this.#followed) {
      for (const frame of client.frames.slice(followed.applied)) {
        followed.view.apply(frame)
        followed.applied++
      }
      if (client.socket.readyState === WebSocket.CLOSED) continue
      const { room, version, ids } = followed.view
      if (room === undefined) continue
      known.set(room, [...known.get(room) ?? [], client.id].toSorted())
      const [mine, theirs] = [`${version} ${ids.join()}`, describeRoom(stored.get(room))]
      if (mine !== theirs) differences.push(`${client.info.user_id} knows ${room} as ${mine}, Redis as ${theirs}`)
    }
    for (const [name, room] of stored) {
      const [ids, theirs] = [known.get(name) ?? [], [...room.members.keys()].toSorted()]
      if (ids.join() !== theirs.join()) differences.push(`${name} has ${theirs.join()} in Redis, and ${ids.join()} in truth`)
    }
    return differences.length === 0 ? undefined : differences.join('; ')
  }
}

function describeRoom (room: StoredRoom | undefined): string {
  return room === undefined ? 'nothing' : `${room.version} ${[...room.members.keys()].toSorted().join()}`
}
