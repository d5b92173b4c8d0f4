import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client } from '../harness/client.ts'
import { startTurnip } from '../harness/turnip-process.ts'

const CLIENTS = 120
const DRAIN_TIMEOUT_MS = 20_000
const LIMIT_MS = 15_000

test('a drain waits for nobody who left by itself while others were told', async t => {
  const instance = await startTurnip({ env: { DRAIN_TIMEOUT_MS: String(DRAIN_TIMEOUT_MS) } })
  t.after(() => instance.stop())
  const clients: Client[] = []
  t.after(() => { for (const { socket } of clients) socket.terminate() })
  for (let i = 0; i < CLIENTS; i++) clients.push(await Client.open(instance.wsUrl, `user-${i}`)) // they are told in this order
  const [first, ...others] = clients
  assert.ok(first)
  const leavers = others.slice(-20)
  first.socket.on('message', (data: Buffer) => {
    if (data.toString().includes('"goaway"')) for (const { socket } of leavers) socket.close(1000)
  })

  const start = performance.now()
  const exit = await instance.stop('SIGTERM')
  const took = performance.now() - start
  assert.deepEqual(exit, { code: 0, signal: null }, instance.logs.join('\n'))
  assert.ok(took < LIMIT_MS, `it took ${took} ms`)
  for (const client of clients) {
    const { code } = await client.closed
    if (!leavers.includes(client)) assert.deepEqual([code, client.all('goaway').length], [1012, 1])
  }
})
