import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { Client } from '../harness/client.ts'
import type { Claims } from '../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serving, until } from '../harness/until.ts'
import { heardUntil, joinOf, leaveOf } from '../protocol/scene.ts'

/** As clients are told that it cannot be done now. */
const AGAIN_LIMIT_MS = 30_000

/** Where an instance is. */
type Reachable = Pick<TurnipProcess, 'url' | 'wsUrl'>

/** Two instances over one Redis, whichever form that has, until the test ends. */
export class Pair<I extends Reachable = TurnipProcess> {
  readonly instances: readonly I[]
  readonly #t: TestContext

  constructor (t: TestContext, instances: readonly I[]) {
    this.#t = t
    this.instances = instances
  }

  static async start (t: TestContext, env: Record<string, string>): Promise<Pair> {
    return new Pair(t, await Promise.all([startInstance(t, env), startInstance(t, env)]))
  }

  async enter (index: 0 | 1, userId: string, claims: Claims = {}): Promise<Client> {
    const client = await Client.open(this.instances[index]?.wsUrl ?? '', userId, claims)
    this.#t.after(() => { client.socket.terminate() })
    return client
  }

  /** Two members on the first instance and one on the second, who know of each other. */
  async gather (room: string): Promise<[Client, Client, Client]> {
    const [ana, ben, cleo] = [await this.enter(0, 'ana'), await this.enter(0, 'ben'), await this.enter(1, 'cleo')]
    await ana.join(room)
    await ben.join(room)
    await joinOf(ana, ben)
    await cleo.join(room)
    for (const member of [ana, ben]) await joinOf(member, cleo)
    return [ana, ben, cleo]
  }

  /** Plays a room across both instances from its first join to its end, before somebody who watches. */
  async play (room: string): Promise<void> {
    const [one, two, root] = [await this.enter(0, 'one'), await this.enter(1, 'two'), await this.enter(1, 'root', { role: 'admin' })]
    root.send({ type: 'watch' })
    await root.next('watching')
    assert.deepEqual((await one.join(room)).data.members, [])
    await root.upTo(frame => frame.type === 'room_created' && frame.data.room === room)
    assert.deepEqual((await two.join(room)).data.members.map(member => member.connection_id), [one.id])
    await joinOf(one, two)
    await assertTalk(one, two)
    two.send({ type: 'leave' })
    await leaveOf(one, two)
    await two.join(room)
    await joinOf(one, two)
    two.send({ type: 'disband_room' })
    assert.deepEqual((await one.next('room_disbanded')).data, { room, reason: 'user_requested' })
    await root.upTo(frame => frame.type === 'room_disbanded' && frame.data.room === room)
    await Promise.all([one, two, root].map(client => client.close()))
  }

  /** Has somebody join, as soon as that can be done again. */
  async joinAgain (index: 0 | 1, userId: string, room: string): Promise<Client> {
    const client = await this.enter(index, userId)
    const deadline = performance.now() + AGAIN_LIMIT_MS
    for (;;) {
      client.send({ type: 'join', room })
      const answer = await client.upTo(frame => frame.type === 'joined' || frame.type === 'error')
      const last = answer.at(-1)
      if (last?.type === 'joined') return client
      assert.ok(last?.type === 'error' && last.code === 'unavailable', JSON.stringify(last))
      assert.ok(performance.now() < deadline, 'it is still unavailable')
      await client.fence()
    }
  }

  async health (status: 'healthy' | 'degraded'): Promise<void> {
    for (const { url } of this.instances) {
      await until(`${url} is ${status}`, async () => (await (await fetch(`${url}/health`)).json() as { status: string }).status === status)
    }
  }
}

/** An instance that lets clients in, until the test ends. */
export async function startInstance (t: TestContext, env: Record<string, string>): Promise<TurnipProcess> {
  const instance = await startTurnip({ env: { DRAIN_TIMEOUT_MS: '2000', ...env } })
  t.after(() => instance.stop('SIGTERM', 10_000))
  return await serving(instance)
}

/** Waits until a member has been told of another, by a join or by a roster that replaces its own. */
export async function knows (member: Client, other: Client): Promise<void> {
  await member.upTo(frame => (frame.type === 'user_joined' && frame.data.connection_id === other.id) ||
    (frame.type === 'resynced' && frame.data.members.some(({ connection_id: id }) => id === other.id)))
}

/** Waits until a member has been told that another is gone, by its leave or by a roster that replaces its own. */
export async function misses (member: Client, other: Client): Promise<void> {
  await member.upTo(frame => (frame.type === 'user_left' && frame.data.connection_id === other.id) ||
    (frame.type === 'resynced' && frame.data.members.every(({ connection_id: id }) => id !== other.id)))
}

/** What each says to the other arrives. */
export async function assertTalk (one: Client, two: Client): Promise<void> {
  await heardUntil(two, one)
  await heardUntil(one, two)
}

/** Nobody was told that a member had left, or that its room was over. */
export function assertNobodyLeft (...clients: Client[]): void {
  for (const client of clients) {
    assert.deepEqual(client.frames.filter(frame => frame.type === 'user_left' || frame.type === 'room_disbanded'), [])
  }
}
