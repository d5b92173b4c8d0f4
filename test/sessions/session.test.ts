/** What is kept of a session, without sockets. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { frameOf, payloadOf, type Frame } from '../../src/protocol/frame.ts'
import type { ServerMessage } from '../../src/protocol/messages.ts'
import { Session, type SessionState } from '../../src/routes/session.ts'

const member = (id: string): { connection_id: string, user_id: string, username: string, joined_at: number } => ({ connection_id: id, user_id: id, username: id, joined_at: 5 })
const info = (id: string): { connection_id: string, user_id: string, username: string } => ({ connection_id: id, user_id: id, username: id })
const data = (n: number, size = 1): Frame => frameOf({ type: 'data', from: info('b'), room: 'r', data: [n, 'x'.repeat(size)] })
const numbers = (frames: readonly Frame[]): number[] => frames.map(frame => (payloadOf(frame) as { data: [number] }).data[0])

function create (state?: SessionState): { session: Session, spent: string[] } {
  const spent: string[] = []
  return { spent, session: new Session({ spent: key => { spent.push(key) }, ended: () => {} }, state) }
}

function tell (session: Session, ...messages: ServerMessage[]): void {
  for (const message of messages) session.push(frameOf(message))
}

test('frames after those that were seen are missed, and they are the first ones of the next session', () => {
  const { session, spent } = create()
  for (let n = 0; n < 5; n++) session.push(data(n))
  const { key } = session
  assert.deepEqual(numbers(session.resume(key, 2)?.missed ?? []), [2, 3, 4])
  assert.notEqual(session.key, key)
  session.push(data(5))
  session.handled()
  assert.deepEqual(spent, [key])
  assert.equal(session.resume(key, 3), undefined)
  assert.deepEqual(numbers(session.resume(session.key, 1)?.missed ?? []), [3, 4, 5])
})

test('what was not told, or is not kept any more, cannot be gone on from', () => {
  const { session } = create()
  for (let n = 0; n < 300; n++) session.push(data(n))
  for (const seen of [-1, 43, 301, NaN, Infinity]) assert.equal(session.resume(session.key, seen), undefined, String(seen))
  assert.equal(session.resume(session.key, 44)?.missed.length, 256)
  for (let n = 0; n < 40; n++) session.push(data(n, 60_000))
  assert.equal(session.resume(session.key, 256 + 40 - 18), undefined, 'of 2.4 MB, one is kept')
  assert.equal(session.resume(session.key, 256 + 40 - 17)?.missed.length, 17)
})

test('what a client says that it has seen is forgotten, and a number that cannot be changes nothing', () => {
  const { session } = create()
  for (let n = 0; n < 5; n++) session.push(data(n))
  session.saw(3)
  session.saw(1)
  assert.equal(session.resume(session.key, 2), undefined)
  session.saw(1000)
  assert.equal(session.resume(session.key, 1000), undefined)
  assert.deepEqual(session.resume(session.key, 5)?.missed, [])
})

test('the room is as the client knew it: after each frame that tells of it', () => {
  const { session } = create()
  const room = 'r'
  const steps: Array<[ServerMessage, object | undefined]> = [
    [{ type: 'joined', room, version: 2, data: { room, connection_id: 'a', members: [member('b')] } }, { room, version: 2, members: ['b'] }],
    [{ type: 'ready', data: info('c') }, { room, version: 2, members: ['b'] }],
    [{ type: 'user_joined', room, version: 3, data: info('c') }, { room, version: 3, members: ['b', 'c'] }],
    [{ type: 'user_resumed', room, version: 4, data: info('b') }, { room, version: 4, members: ['b', 'c'] }],
    [{ type: 'user_left', room, version: 5, data: info('b') }, { room, version: 5, members: ['c'] }],
    [{ type: 'room_disbanded', data: { room: 'another, as a watcher hears', reason: 'last_member_left' } }, { room, version: 5, members: ['c'] }],
    [{ type: 'resynced', room, version: 9, data: { room, members: [member('a'), member('d')] } }, { room, version: 9, members: ['a', 'd'] }],
    [{ type: 'left', data: { room } }, undefined],
    [{ type: 'joined', room: 's', version: 1, data: { room: 's', connection_id: 'a', members: [] } }, { room: 's', version: 1, members: [] }],
    [{ type: 'room_disbanded', data: { room: 's', reason: 'user_requested' } }, undefined]
  ]
  tell(session, ...steps.map(([message]) => message))
  for (const [i, [, expected]] of steps.entries()) {
    const { view } = session.resume(session.key, 1) ?? assert.fail(`after ${i + 1} frames`)
    assert.deepEqual(view && { ...view, members: view.members.map(({ connection_id: id }) => id) }, expected, `after ${i + 1} frames`)
  }
})

test('the next holder counts on from where the former one was, and takes the former name until its client has spoken', () => {
  const { session: former } = create()
  for (let n = 0; n < 3; n++) { former.push(data(n)); former.handled() }
  const { key } = former
  const given = former.resume(key, 1) ?? assert.fail('it can go on')
  assert.equal(given.received, 3)
  const { session: next, spent } = create({ ...given, spent: key, seen: 1 })
  next.push(data(3))
  assert.deepEqual(numbers(next.resume(key, 1)?.missed ?? []), [1, 2, 3], 'the one that told of the next session was lost')
  assert.equal(next.received, 0)
  next.handled()
  assert.equal(next.received, 1)
  assert.deepEqual(spent.includes(key), true)
})
