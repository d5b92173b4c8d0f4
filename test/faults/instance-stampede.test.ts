import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { test } from 'node:test'
import WebSocket from 'ws'
import { tokenFor } from '../harness/token.ts'
import type { TurnipProcess } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'
import { InstanceCluster, quantile } from './instance-cluster.ts'

const CLIENTS = Number(process.env.STAMPEDE_CLIENTS ?? 1000)
const CLIENTS_A_ROOM = 4
/** So many come at a time before the fault. */
const AT_ONCE = 100
const BACK_LIMIT_MS = 10_000
/** A server that is only busy answers within this, ms; one whose loop is starved does not. */
const LIVE_LIMIT_MS = 3000
const PROBE_MS = 100
/** How long until a join that could not be done is tried again, ms. */
const RETRY_MS = 500

/** One that comes back at once when its connection drops; it keeps no frames, as there are thousands of it. */
class Returner {
  readonly #url: string
  readonly #room: string
  socket: WebSocket | undefined
  told = 0

  constructor (instance: TurnipProcess, index: number) {
    this.#url = `${instance.wsUrl}?token=${tokenFor(`user-${index}`)}`
    this.#room = `room-${Math.floor(index / CLIENTS_A_ROOM)}`
  }

  /** Resolves once it is in its room. A refusal that says when to come again is obeyed; any other failure is thrown. */
  async enter (): Promise<void> {
    for (;;) {
      const retryAfterS = await this.#attempt()
      if (retryAfterS === undefined) return
      this.told++
      await delay(retryAfterS * 1000)
    }
  }

  /** @returns after how many seconds to come again; undefined when it is in */
  async #attempt (): Promise<number | undefined> {
    const socket = this.socket = new WebSocket(this.#url, { perMessageDeflate: false })
    return await new Promise((resolve, reject) => {
      socket.once('error', reject)
      socket.once('close', code => { reject(new Error(`closed with ${code} before it was in`)) })
      socket.once('unexpected-response', (_request, { statusCode = 0, headers }) => {
        socket.removeAllListeners().on('error', () => {})
        socket.terminate()
        const after = Number(headers['retry-after'])
        if ((statusCode === 503 || statusCode === 429) && after >= 0) resolve(after)
        else reject(new Error(`refused with ${statusCode}, Retry-After ${headers['retry-after']}`))
      })
      socket.once('open', () => { socket.send(JSON.stringify({ type: 'join', room: this.#room })) })
      socket.on('message', (data: Buffer) => {
        const text = data.toString()
        if (text.startsWith('{"type":"joined"')) {
          socket.removeAllListeners().on('error', () => {})
          resolve(undefined)
        } else if (text.includes('"code":"unavailable"')) { // told to try again
          this.told++
          setTimeout(() => { socket.send(JSON.stringify({ type: 'join', room: this.#room })) }, RETRY_MS)
        } else if (text.startsWith('{"type":"error"')) reject(new Error(text))
      })
    })
  }
}

test(`${CLIENTS} clients that drop and come back together are back in their rooms in time, and the servers stay alive`, { timeout: 240_000 }, async t => {
  const cluster = await InstanceCluster.open(t)
  const instances = await Promise.all([cluster.start(), cluster.start()])
  const clients = Array.from({ length: CLIENTS }, (_, i) => new Returner(instances[i % 2] ?? assert.fail(), i))
  t.after(() => { for (const { socket } of clients) socket?.terminate() })
  for (let from = 0; from < CLIENTS; from += AT_ONCE) await Promise.all(clients.slice(from, from + AT_ONCE).map(client => client.enter()))

  const over = new AbortController()
  const answers: number[] = []
  const probe = async ({ url }: TurnipProcess): Promise<void> => {
    while (!over.signal.aborted) {
      const start = performance.now()
      assert.equal((await fetch(`${url}/health/live`)).status, 200)
      answers.push(performance.now() - start)
      await delay(PROBE_MS)
    }
  }
  const probes = Promise.all(instances.map(probe))

  const start = performance.now()
  for (const { socket } of clients) socket?.terminate()
  const back = await Promise.all(clients.map(async client => {
    await client.enter()
    return performance.now() - start
  }))
  over.abort()
  await probes
  t.diagnostic(`${CLIENTS} clients back in their rooms, ms: p50 ${quantile(back, 0.5)}, p99 ${quantile(back, 0.99)}, max ${quantile(back, 1)}; told to back off: ${clients.filter(({ told }) => told > 0).length}; /health/live, ms: p50 ${quantile(answers, 0.5)}, max ${quantile(answers, 1)}`)
  assert.ok(quantile(back, 0.99) < BACK_LIMIT_MS, `p99 is ${quantile(back, 0.99)} ms`)
  assert.ok(Math.max(...answers) < LIVE_LIMIT_MS, `/health/live took ${Math.max(...answers)} ms`)

  // Those that dropped are gone: every room holds its own again, and nobody twice.
  for (let room = 0; room < CLIENTS / CLIENTS_A_ROOM; room++) {
    await until(`room-${room} holds its own`, async () => (await cluster.rooms.find(`room-${room}`))?.members.size === CLIENTS_A_ROOM)
    const users = Array.from((await cluster.rooms.find(`room-${room}`))?.members.values() ?? [], ({ user_id: user }) => user).toSorted()
    assert.deepEqual(users, Array.from({ length: CLIENTS_A_ROOM }, (_, i) => `user-${room * CLIENTS_A_ROOM + i}`).toSorted())
  }
})
