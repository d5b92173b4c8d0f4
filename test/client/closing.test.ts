/** What listeners do in the middle of something. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientFor } from './recorded.ts'
import { ScriptedServer } from './scripted-server.ts'

test('a client that is closed when it hears that it has left, by a welcome, does not come back', async t => {
  const server = await ScriptedServer.start(t)
  const ada = clientFor(t, server.url, 'ada', { backoffMs: 1 })
  const joined = ada.client.join('tea')
  const line = await server.next()
  line.welcome({ ping_interval_ms: 50 })
  await line.letIn()
  await joined
  ada.client.on('left', () => { ada.client.close() })
  const left = ada.client.leave()
  await line.next('leave')
  line.terminate()
  const other = await server.next()
  other.welcome({ ping_interval_ms: 50 })
  await left.catch(() => {})
  assert.equal(await other.closed, 1000)
  await new Promise(resolve => setTimeout(resolve, 300))
  assert.equal(ada.client.state, 'closed')
  assert.equal(server.attempts.length, 2)
})

test('a client that joins again when it has left, as the server closed the connection for good, is open again', async t => {
  const server = await ScriptedServer.start(t)
  const ada = clientFor(t, server.url, 'ada')
  const joined = ada.client.join('tea')
  const line = await server.next()
  line.welcome()
  await line.letIn()
  await joined
  const again = new Promise((resolve, reject) => { ada.client.once('left', () => { ada.client.join('tea').then(resolve, reject) }) })
  line.close(4409)
  const other = await server.next()
  other.welcome()
  await other.letIn()
  await again
  assert.equal(ada.client.state, 'open')
})
