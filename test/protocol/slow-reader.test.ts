/** A reader that is too slow, on a real socket and a clock that the test moves on. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import WebSocket, { WebSocketServer } from 'ws'
import { MemoryBroker, MemoryExchange } from '../../src/broker/memory-broker.ts'
import { MemoryPresence } from '../../src/presence/memory-presence.ts'
import { frameOf } from '../../src/protocol/frame.ts'
import { RoomService } from '../../src/rooms/room-service.ts'
import { Connection } from '../../src/routes/connection.ts'
import { Connections } from '../../src/routes/connections.ts'
import { Line } from '../../src/routes/line.ts'
import { OutboxQueue } from '../../src/routes/outbox.ts'
import { Throttle } from '../../src/routes/throttle.ts'
import { Traffic } from '../../src/routes/traffic.ts'
import { Turn } from '../../src/routes/turn.ts'
import { identityOf } from '../harness/recording-peer.ts'

const SEND_BUFFER_BYTES = 256 * 1024
const FRAME = frameOf({ type: 'data', from: { connection_id: 'x', user_id: 'x', username: 'x' }, room: 'r', data: 'x'.repeat(16_000) })

interface Kit { connection: Connection, client: WebSocket, connections: Connections, got: () => number, waitUntilWaiting: (bytes: number) => Promise<number> }

/** A connection whose client does not read. */
async function create (t: TestContext): Promise<Kit> {
  const exchange = new MemoryExchange()
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
  const rooms = new RoomService({ presence: new MemoryPresence(() => {}), broker: new MemoryBroker('n', exchange, log), log, maxMembers: 0 })
  const connections = new Connections()
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  t.after(() => { server.close() })
  await once(server, 'listening')
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`, { perMessageDeflate: false })
  t.after(() => { client.terminate() })
  let received = 0
  client.on('message', () => { received++ })
  client.on('error', () => {})
  const [[socket, request]] = await Promise.all([once(server, 'connection') as Promise<[WebSocket, { socket: Socket }]>, once(client, 'open')])
  client.pause()
  const turn = new Turn()
  const context = {
    rooms,
    connections,
    log,
    sendBufferBytes: SEND_BUFFER_BYTES,
    verify: async () => identityOf('slow'),
    traffic: new Traffic(),
    outboxes: new OutboxQueue(turn),
    turn,
    reports: { take: () => undefined },
    ice: { grant: () => ({ ice_servers: [], expires_at: null }), renewAt: Infinity },
    throttle: new Throttle({ messagesPerSecond: 100, bytesPerSecond: 262_144, maxPayloadBytes: 65536 }),
    instanceId: 'n',
    pingIntervalMs: 3_600_000,
    pongTimeoutMs: 3_600_000,
    resumeWindowMs: 0
  }
  const connection = new Connection(identityOf('slow'), context)
  connection.open(new Line(socket, request.socket, context), { type: 'welcome', data: connection.greeting })
  t.after(() => { connection.terminate() })
  return {
    connection,
    client,
    connections,
    got: () => received,
    waitUntilWaiting: async bytes => {
      let frames = 0
      for (; request.socket.writableLength <= bytes; frames++) {
        connection.send(FRAME)
        await new Promise(resolve => { setImmediate(resolve) }) // the outbox is flushed, and the kernel takes what it can
      }
      return frames
    }
  }
}

test('a reader that was too slow for five seconds reads the close code 1013 when it reads on, behind all that it was sent', async t => {
  const { connection, client, connections, got, waitUntilWaiting } = await create(t)
  const sent = await waitUntilWaiting(SEND_BUFFER_BYTES)
  connection.beat(1000)
  connection.beat(5999)
  assert.equal(connections.size, 1)
  connection.beat(6000)
  assert.equal(connections.size, 0)
  const closed = once(client, 'close')
  client.resume()
  assert.equal((await closed)[0], 1013)
  assert.equal(got(), 1 + sent, 'the welcome, and every frame')
})

test('a reader that catches up within the time is left alone', async t => {
  const { connection, client, connections, got, waitUntilWaiting } = await create(t)
  const sent = await waitUntilWaiting(SEND_BUFFER_BYTES)
  connection.beat(1000)
  client.resume()
  while (got() < 1 + sent) await once(client, 'message')
  connection.beat(7000)
  client.pause()
  await waitUntilWaiting(SEND_BUFFER_BYTES)
  connection.beat(8000)
  assert.equal(connections.size, 1)
  assert.equal(client.readyState, client.OPEN)
})

test('one with four times the buffer waiting is cut off at once, before memory fills', async t => {
  const { connection, client, connections, waitUntilWaiting } = await create(t)
  await waitUntilWaiting(4 * SEND_BUFFER_BYTES)
  connection.beat(1000)
  assert.equal(connections.size, 0)
  const closed = once(client, 'close')
  client.resume()
  assert.equal((await closed)[0], 1006)
})
