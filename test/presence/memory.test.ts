import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LobbyEvent } from '../../src/broker/lobby-event.ts'
import { MemoryPresence } from '../../src/presence/memory-presence.ts'
import { testPresence } from './conformance.ts'

testPresence('presence in memory', async () => {
  const events: LobbyEvent[] = []
  const store = new MemoryPresence(event => { events.push(event) })
  return { first: store, second: store, announced: async () => events }
})

test('nothing expires in memory, so nothing has to be renewed', async () => {
  const store = new MemoryPresence(() => {})
  assert.equal(store.renewEveryMs, undefined)
  await store.renew()
})
