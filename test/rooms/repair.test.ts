import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { MemoryPresence } from '../../src/presence/memory-presence.ts'
import type { Member } from '../../src/presence/presence.ts'
import { GAP_MS, Repair } from '../../src/rooms/repair.ts'
import { Roster, type RosterChange } from '../../src/rooms/roster.ts'
import { Seat } from '../../src/rooms/seat.ts'
import { RecordingPeer } from '../harness/recording-peer.ts'
import { FaultyPresence } from './cluster.ts'

const member = (id: string): Member => ({ connection_id: id, user_id: id, username: id, instance: 'there', joined_at: 1 })
const joined = (version: number): RosterChange => ({ kind: 'joined', version, member: member(`p${version}`) })

interface Kit { roster: Roster, peer: RecordingPeer, asked: string[], pass: (ms: number) => void }

/** A roster at version 1 with a member here, looked after by a clock that the test moves on. */
function create (t: TestContext): Kit {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const presence = new FaultyPresence(new MemoryPresence(() => {}))
  const asked: string[] = []
  presence.before = (_name, room) => { asked.push(room) }
  const repair = new Repair({ presence, log: { warn: () => {} }, onWhole: () => {} })
  t.after(() => { repair.stop() })
  const roster = new Roster('r', { epoch: 'e', version: 0, members: [] }, 'here', { onGap: gapped => { repair.watch(gapped) }, onDisbanded: () => {} })
  const peer = new RecordingPeer('a')
  roster.receive({ kind: 'joined', version: 1, member: { ...member('a'), instance: 'here' } }, new Seat(peer, roster, false))
  return { roster, peer, asked, pass: ms => { t.mock.timers.tick(ms) } }
}

test('a change that does not come in time has the whole room asked for', t => {
  const { roster, asked, pass } = create(t)
  roster.receive(joined(3))
  pass(GAP_MS - 1)
  assert.deepEqual(asked, [])
  pass(1)
  assert.deepEqual(asked, ['r'])
})

test('a change that comes late, and soon another one, have the room asked for by neither', t => {
  const { roster, peer, asked, pass } = create(t)
  roster.receive(joined(3))
  pass(5)
  roster.receive(joined(2))
  pass(GAP_MS - 10)
  roster.receive(joined(5))
  pass(10) // a second after the first gap
  roster.receive(joined(4))
  pass(3 * GAP_MS)
  assert.deepEqual(asked, [])
  assert.deepEqual(peer.all('user_joined').map(({ version }) => version), [2, 3, 4, 5])
})

test('a second change that is lost has its own time to come', t => {
  const { roster, asked, pass } = create(t)
  roster.receive(joined(3))
  pass(GAP_MS / 2)
  roster.receive(joined(2))
  roster.receive(joined(5))
  pass(GAP_MS / 2)
  assert.deepEqual(asked, [])
  pass(GAP_MS)
  assert.ok(asked.length > 0)
})
