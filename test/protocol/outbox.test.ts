/** What is said to one socket, on a real one. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'node:test'
import WebSocket, { WebSocketServer } from 'ws'
import { frameOf } from '../../src/protocol/frame.ts'
import { Outbox, OutboxQueue } from '../../src/routes/outbox.ts'
import { Turn } from '../../src/routes/turn.ts'

test('all that one turn says to one socket is one write, in order, and nothing is written twice', async t => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  t.after(() => { server.close() })
  await once(server, 'listening')
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`)
  t.after(() => { client.terminate() })
  const [[socket, { socket: tcp }]] = await Promise.all([once(server, 'connection') as Promise<[WebSocket, { socket: Socket }]>, once(client, 'open')])
  const write = t.mock.method(tcp, 'write')
  const outbox = new Outbox(socket, tcp, { overflowed: () => assert.fail() }, new OutboxQueue(new Turn()))
  const heard: unknown[] = []
  client.on('message', (text: Buffer) => { heard.push((JSON.parse(text.toString()) as { id: unknown }).id) })
  for (const turn of [1, 2]) {
    for (let i = 0; i < 50; i++) outbox.push(frameOf({ type: 'pong', id: 100 * turn + i }))
    await new Promise(resolve => { setImmediate(resolve) })
    assert.equal(write.mock.callCount(), turn)
  }
  while (heard.length < 100) await once(client, 'message')
  assert.deepEqual(heard, [1, 2].flatMap(turn => Array.from({ length: 50 }, (_, i) => 100 * turn + i)))
})
