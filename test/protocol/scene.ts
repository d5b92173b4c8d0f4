import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import type { ServerMessage } from '../../src/protocol/messages.ts'
import { Client } from '../harness/client.ts'
import type { Claims } from '../harness/token.ts'
import type { Cluster } from './cluster.ts'

/** Plays one case: a sentence of the protocol, and what shows it. */
export type Play = (sentence: string, body: (scene: Scene) => Promise<void>) => void

/** What one case is played with. Its rooms are its own; its clients are closed when it ends. */
export class Scene {
  readonly cluster: Cluster
  readonly #suffix = randomUUID().slice(0, 8)
  readonly #clients: Client[] = []

  constructor (cluster: Cluster) {
    this.cluster = cluster
  }

  /** @returns the name of a room that no other case has */
  room (name = 'room'): string { return `${name}-${this.#suffix}` }

  /** A client of the first instance. */
  async first (userId: string, claims: Claims = {}): Promise<Client> {
    return this.keep(await Client.open(this.cluster.first.wsUrl, userId, claims))
  }

  /** A client of the second instance, which is the first where there is only one. */
  async second (userId: string, claims: Claims = {}): Promise<Client> {
    return this.keep(await Client.open(this.cluster.second.wsUrl, userId, claims))
  }

  keep (client: Client): Client {
    this.#clients.push(client)
    return client
  }

  /** Has clients join a room one after the other, until all know of all. */
  async gather (room: string, ...clients: Client[]): Promise<void> {
    const present: Client[] = []
    for (const client of clients) {
      await client.join(room)
      for (const other of present) await joinOf(other, client)
      present.push(client)
    }
  }

  async close (): Promise<void> {
    await Promise.all(this.#clients.map(client => client.close()))
  }
}

/** @param cluster asked for when a case begins */
export function playOn (cluster: () => Cluster): Play {
  return (sentence, body) => {
    void test(sentence, async () => {
      const scene = new Scene(cluster())
      try {
        await body(scene)
      } finally {
        await scene.close()
      }
    })
  }
}

/** Waits until a member is told of another's join. @returns the frames up to that */
export async function joinOf (member: Client, other: Client): Promise<ServerMessage[]> {
  return await member.upTo(frame => frame.type === 'user_joined' && frame.data.connection_id === other.id)
}

/** Waits until a member is told that another is gone. @returns the frames up to that */
export async function leaveOf (member: Client, other: Client): Promise<ServerMessage[]> {
  return await member.upTo(frame => frame.type === 'user_left' && frame.data.connection_id === other.id)
}

/**
 * Has a member say something to another that must arrive after all that was said before it on that way.
 * @returns what arrived before it
 */
export async function heardUntil (receiver: Client, sender: Client): Promise<ServerMessage[]> {
  const mark = randomUUID()
  sender.send({ type: 'data', to: receiver.id, data: mark })
  return (await receiver.upTo(frame => frame.type === 'data' && frame.data === mark)).slice(0, -1)
}

/** Checks that a client is refused, and how. */
export async function assertRefused (client: Client, message: object | string, code: string, sentence?: string): Promise<void> {
  const answer = await client.refused(message)
  const what = `${JSON.stringify(message)} is answered ${JSON.stringify(answer)}`
  assert.equal(answer.code, code, what)
  assert.ok(answer.error.length > 0, what)
  if (sentence !== undefined) assert.equal(answer.error, sentence)
}
