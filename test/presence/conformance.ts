/** What src/presence/presence.ts promises, asked of every implementation. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import fc from 'fast-check'
import type { LobbyEvent } from '../../src/broker/lobby-event.ts'
import type { Entry, NewMember, Presence, Snapshot } from '../../src/presence/presence.ts'

/** One store, as two instances see it. */
export interface PresenceKit {
  first: Presence
  second: Presence
  /** Everything announced in the lobby so far, in order. */
  announced (): Promise<LobbyEvent[]>
}

export const FIRST = 'one:aaaa'
export const SECOND = 'two:bbbb'

export function member (id: string, instance = FIRST): NewMember {
  return { connection_id: id, user_id: `user of ${id}`, username: `Ünï ${id}`, instance }
}

/** A join that must succeed. */
export async function joined (presence: Presence, room: string, newcomer: NewMember, limit = 0): Promise<Entry> {
  const entry = await presence.join(room, newcomer, limit)
  assert.notEqual(entry, 'full')
  return entry as Entry
}

/** A leave of the life that there is, by a member that knows all of it. */
export async function leave (presence: Presence, room: string, id: string): ReturnType<Presence['leave']> {
  const epoch = (await presence.snapshot(room))?.epoch ?? 'none'
  return await presence.leave(room, id, { epoch, version: Number.MAX_SAFE_INTEGER })
}

/** Who joins next joins in a later millisecond: the order of members tells. */
function laterMs (): void {
  const start = Date.now()
  while (Date.now() <= start + 1);
}

function idsOf ({ members }: Snapshot): string[] {
  return members.map(({ connection_id: id }) => id)
}

export function testPresence (name: string, open: (t: TestContext) => Promise<PresenceKit>): void {
  test(`${name}: the first join begins a life at version 1`, async t => {
    const { first } = await open(t)
    const before = Date.now()
    const { epoch, version, members } = await joined(first, 'r', member('a'))
    assert.ok(epoch.length > 0)
    assert.equal(version, 1)
    const [only, ...others] = members
    assert.equal(others.length, 0)
    const { joined_at: at = 0, ...rest } = only ?? {}
    assert.deepEqual(rest, member('a'))
    assert.ok(Number.isInteger(at) && at >= before - 1000 && at <= Date.now() + 1000, `joined_at is ${at}`)
  })

  test(`${name}: every life of a room has an epoch that was never there before`, async t => {
    const { first, second } = await open(t)
    const epochs: string[] = []
    for (let life = 0; life < 20; life++) {
      for (const room of ['r', 's']) {
        epochs.push((await joined(first, room, member(`${room}${life}`))).epoch)
        await (life % 2 === 0 ? leave(first, room, `${room}${life}`) : second.disband(room, undefined))
      }
    }
    assert.equal(new Set(epochs).size, 40)
  })

  test(`${name}: versions count every change from 1 without a gap`, async t => {
    const { first, second } = await open(t)
    const versions: Array<number | undefined> = []
    versions.push((await joined(first, 'r', member('a'))).version)
    versions.push((await joined(second, 'r', member('b', SECOND))).version)
    versions.push((await leave(first, 'r', 'a'))?.version)
    versions.push((await joined(first, 'r', member('a'))).version)
    versions.push((await leave(second, 'r', 'b'))?.version)
    versions.push((await first.disband('r', 'a'))?.version)
    assert.deepEqual(versions, [1, 2, 3, 4, 5, 6])
    assert.equal((await joined(first, 'r', member('a'))).version, 1)
  })

  test(`${name}: joining again changes nothing but the version, not even in a full room`, async t => {
    const { first, second, announced } = await open(t)
    const once = await joined(first, 'r', member('a'), 1)
    const twice = await joined(first, 'r', member('a'), 1)
    assert.deepEqual(twice, { ...once, version: 2 })
    assert.deepEqual(await second.snapshot('r'), twice)
    assert.deepEqual(await leave(first, 'r', 'a'), { epoch: once.epoch, version: 3, emptied: true, instances: [] })
    assert.equal((await announced()).length, 2)
  })

  test(`${name}: a member that joins over another instance goes on there, in a full room too, and no room is born`, async t => {
    const { first, second, announced } = await open(t)
    const { epoch, members: [a] } = await joined(first, 'r', member('a'), 2)
    laterMs()
    const { members: [, b] } = await joined(first, 'r', member('b'), 2)
    assert.ok(a && b)
    const taken = await joined(second, 'r', member('a', SECOND), 2)
    assert.deepEqual(taken, { epoch, version: 3, members: [{ ...a, instance: SECOND }, b], from: FIRST })
    assert.deepEqual(await joined(second, 'r', member('a', SECOND), 2), { epoch, version: 4, members: taken.members }, 'the answer to that was lost')
    assert.equal(await first.leave('r', 'a', { epoch, version: 2 }), undefined, 'its former holder knows nothing of it')
    assert.deepEqual(idsOf(await first.snapshot('r') as Snapshot), ['a', 'b'])
    assert.deepEqual(await first.leave('r', 'b', { epoch, version: 2 }), { epoch, version: 5, emptied: false, instances: [SECOND] })
    assert.deepEqual(await second.leave('r', 'a', { epoch, version: 3 }), { epoch, version: 6, emptied: true, instances: [] })
    assert.equal((await announced()).length, 2)
  })

  test(`${name}: a member moves from one instance to another, and back`, async t => {
    const { first, second, announced } = await open(t)
    const { epoch, members: [a] } = await joined(first, 'r', member('a'))
    assert.ok(a)
    assert.deepEqual(await second.move('r', member('a', SECOND), epoch), { epoch, version: 2, members: [{ ...a, instance: SECOND }], from: FIRST })
    assert.deepEqual(await second.move('r', member('a', SECOND), epoch), { epoch, version: 3, members: [{ ...a, instance: SECOND }] }, 'once more')
    assert.deepEqual(await first.move('r', member('a'), epoch), { epoch, version: 4, members: [a], from: SECOND })
    assert.equal(await second.leave('r', 'a', { epoch, version: 3 }), undefined)
    assert.deepEqual(await first.leave('r', 'a', { epoch, version: 4 }), { epoch, version: 5, emptied: true, instances: [] })
    assert.equal((await announced()).length, 2)
  })

  test(`${name}: nobody moves who is no member, nor into another life`, async t => {
    const { first, second, announced } = await open(t)
    assert.equal(await second.move('r', member('a', SECOND), 'none'), undefined)
    const { epoch } = await joined(first, 'r', member('a'))
    const before = await joined(first, 'r', member('b'))
    assert.equal(await second.move('r', member('stranger', SECOND), epoch), undefined)
    await leave(first, 'r', 'a')
    assert.equal(await second.move('r', member('a', SECOND), epoch), undefined)
    await first.disband('r', 'b')
    assert.equal(await second.move('r', member('b', SECOND), epoch), undefined)
    await joined(first, 'r', member('b'))
    assert.equal(await second.move('r', member('b', SECOND), epoch), undefined)
    const after = await first.snapshot('r')
    assert.deepEqual([after?.version, after?.members.map(({ instance }) => instance)], [1, [FIRST]])
    assert.notEqual(after?.epoch, before.epoch)
    assert.equal((await announced()).length, 3)
  })

  test(`${name}: reconciling leaves a member where it has gone on, whoever claims it`, async t => {
    const { first, second } = await open(t)
    const known = await joined(first, 'r', member('a'))
    await joined(first, 'r', member('b'))
    const taken = await second.move('r', member('a', SECOND), known.epoch)
    assert.ok(taken)
    const { from, ...snapshot } = taken
    const claims = await first.reconcile('r', FIRST, snapshot.members.map(each => ({ ...each, instance: FIRST })), { epoch: known.epoch, version: 2 }, 'kept')
    assert.deepEqual(claims, { kind: 'held', snapshot, changes: [], restored: false })
    const gone = await first.reconcile('r', FIRST, [], snapshot, 'lapsed')
    assert.ok(gone.kind === 'held')
    assert.deepEqual(gone.changes, [{ kind: 'left', version: 4, connectionId: 'b' }])
    assert.deepEqual(await second.leave('r', 'a', gone.snapshot), { epoch: known.epoch, version: 5, emptied: true, instances: [] })
  })

  test(`${name}: a room takes as many members as the limit says, and a refused join changes nothing`, async t => {
    const { first, second } = await open(t)
    await joined(first, 'r', member('a'), 2)
    const full = await joined(second, 'r', member('b', SECOND), 2)
    assert.equal(await first.join('r', member('c'), 2), 'full')
    assert.equal(await second.join('r', member('d', SECOND), 2), 'full')
    assert.deepEqual(await first.snapshot('r'), full)
    assert.equal(await leave(first, 'r', 'c'), undefined)
    assert.equal((await joined(first, 'r', member('c'), 3)).version, 3)
    assert.equal((await joined(first, 'r', member('d'), 0)).version, 4, '0 is no limit')
  })

  test(`${name}: members come in the order they joined`, async t => {
    const { first, second } = await open(t)
    const ids = ['m', 'z', 'a', 'k', 'b', 'y', '0', '9', 'c', 'x']
    for (const [i, id] of ids.entries()) {
      await joined(i % 2 === 0 ? first : second, 'r', member(id, i % 2 === 0 ? FIRST : SECOND))
      laterMs()
    }
    const snapshot = await first.snapshot('r')
    assert.ok(snapshot)
    assert.deepEqual(idsOf(snapshot), ids)
    assert.deepEqual(idsOf(await joined(second, 'r', member('m', SECOND))), ids)
  })

  test(`${name}: a stranger's leave is undefined and changes nothing`, async t => {
    const { first, second } = await open(t)
    assert.equal(await leave(first, 'nowhere', 'a'), undefined)
    const before = await joined(first, 'r', member('a'))
    assert.equal(await leave(second, 'r', 'b'), undefined)
    assert.deepEqual(await first.snapshot('r'), before)
    assert.ok(await leave(first, 'r', 'a'))
    assert.equal(await leave(first, 'r', 'a'), undefined, 'it has left already')
  })

  test(`${name}: a leave names the instances that remain, and emptied only for the last`, async t => {
    const { first, second } = await open(t)
    const { epoch } = await joined(first, 'r', member('a'))
    await joined(first, 'r', member('b'))
    await joined(second, 'r', member('c', SECOND))
    const sorted = (change: { instances: string[] } | undefined): unknown => change && { ...change, instances: change.instances.toSorted() }
    assert.deepEqual(sorted(await leave(first, 'r', 'a')), { epoch, version: 4, emptied: false, instances: [FIRST, SECOND] })
    assert.deepEqual(sorted(await leave(first, 'r', 'b')), { epoch, version: 5, emptied: false, instances: [SECOND] })
    assert.deepEqual(sorted(await leave(second, 'r', 'c')), { epoch, version: 6, emptied: true, instances: [] })
    assert.equal(await first.snapshot('r'), undefined)
  })

  test(`${name}: a member or the host may disband a room, a stranger may not`, async t => {
    const { first, second } = await open(t)
    assert.equal(await first.disband('nowhere', undefined), undefined)
    assert.equal(await first.disband('nowhere', 'a'), undefined)
    const { epoch } = await joined(first, 'r', member('a'))
    const before = await joined(second, 'r', member('b', SECOND))
    assert.equal(await first.disband('r', 'stranger'), undefined)
    assert.deepEqual(await first.snapshot('r'), before)
    const change = await second.disband('r', 'a')
    assert.deepEqual(change && { ...change, instances: change.instances.toSorted() }, { epoch, version: 3, instances: [FIRST, SECOND] })
    assert.equal(await first.snapshot('r'), undefined)
    assert.equal(await leave(first, 'r', 'a'), undefined)
    assert.equal(await second.disband('r', 'b'), undefined)

    await joined(first, 'r', member('a'))
    assert.deepEqual((await second.disband('r', undefined))?.instances, [FIRST])
  })

  test(`${name}: a snapshot is what the last change left, and undefined without a room`, async t => {
    const { first, second } = await open(t)
    assert.equal(await second.snapshot('r'), undefined)
    await joined(first, 'r', member('a'))
    const both = await joined(second, 'r', member('b', SECOND))
    assert.deepEqual(await first.snapshot('r'), both)
    await leave(first, 'r', 'a')
    assert.deepEqual(await second.snapshot('r'), { ...both, version: 3, members: both.members.filter(({ connection_id: id }) => id === 'b') })
  })

  test(`${name}: reconciling makes a room hold exactly the members of one instance, and leaves the others' alone`, async t => {
    const { first, second } = await open(t)
    const a = await joined(first, 'r', member('a'))
    await joined(second, 'r', member('b', SECOND))
    const before = await joined(first, 'r', member('ghost'))
    const [kept] = before.members
    assert.ok(kept)
    const found = await first.reconcile('r', FIRST, [kept], { epoch: a.epoch, version: 3 }, 'kept')
    assert.ok(found.kind === 'held')
    assert.deepEqual(found.changes, [{ kind: 'left', version: 4, connectionId: 'ghost' }])
    assert.deepEqual(idsOf(found.snapshot), ['a', 'b'])
    assert.deepEqual(found.snapshot, await second.snapshot('r'))
    const again = await first.reconcile('r', FIRST, [kept], found.snapshot, 'kept')
    assert.deepEqual(again, { ...found, changes: [] }, 'it may be repeated')
    assert.equal((await leave(first, 'r', 'a'))?.version, 5)
    assert.deepEqual(await leave(second, 'r', 'b'), { epoch: a.epoch, version: 6, emptied: true, instances: [] })
  })

  test(`${name}: a member that the store does not have is put back with its time of joining`, async t => {
    const { first, second, announced } = await open(t)
    const { epoch, members: [a] } = await joined(first, 'r', member('a'))
    const { version } = await joined(second, 'r', member('b', SECOND))
    assert.ok(a)
    await leave(first, 'r', 'a')
    const found = await first.reconcile('r', FIRST, [a], { epoch, version }, 'kept')
    assert.ok(found.kind === 'held')
    assert.deepEqual(found.changes, [{ kind: 'joined', version: 4, member: a }])
    assert.deepEqual(idsOf(found.snapshot).toSorted(), ['a', 'b'])
    assert.equal((await announced()).length, 1)
  })

  test(`${name}: reconciling with the last members gone ends the life, once`, async t => {
    const { first, second, announced } = await open(t)
    const known = await joined(first, 'r', member('a'))
    assert.deepEqual(await first.reconcile('r', FIRST, [], known, 'kept'), { kind: 'gone' })
    assert.deepEqual(await first.lastLeavers('r', [known.epoch, 'another']), ['a', undefined])
    assert.equal((await first.reconcile('r', FIRST, [], known, 'kept')).kind, 'gone')
    assert.equal((await second.reconcile('r', SECOND, [], undefined, 'kept')).kind, 'gone')
    assert.deepEqual((await announced()).map(({ type }) => type), ['room_created', 'room_disbanded'])
  })

  test(`${name}: a life that was disbanded does not come back, although another has ended since`, async t => {
    const { first, second } = await open(t)
    await joined(first, 'r', member('a'))
    const known = await joined(second, 'r', member('b', SECOND))
    await first.disband('r', 'a')
    await joined(first, 'r', member('a'))
    await leave(first, 'r', 'a')
    const found = await second.reconcile('r', SECOND, known.members.slice(1), known, 'kept')
    assert.deepEqual(found, { kind: 'disbanded', version: 3, reason: 'user_requested' })
    assert.equal(await second.snapshot('r'), undefined)
  })

  test(`${name}: a life that was disbanded does not come back`, async t => {
    const { first, second, announced } = await open(t)
    const known = await joined(first, 'r', member('a'))
    await joined(second, 'r', member('b', SECOND))
    await second.disband('r', 'b')
    const found = await first.reconcile('r', FIRST, known.members, known, 'kept')
    assert.deepEqual({ kind: found.kind, reason: found.kind === 'disbanded' && found.reason }, { kind: 'disbanded', reason: 'user_requested' })
    assert.equal(await first.snapshot('r'), undefined)
    assert.equal((await announced()).length, 2)
  })

  test(`${name}: positions are those of the rooms asked for, in their order`, async t => {
    const { first, second } = await open(t)
    const r = await joined(first, 'r', member('a'))
    const s = await joined(second, 's', member('b', SECOND))
    assert.deepEqual(await first.positions(['s', 'nowhere', 'r']), [s, undefined, r].map(room => room && { epoch: room.epoch, version: room.version }))
    assert.deepEqual(await first.positions([]), [])
  })

  test(`${name}: rooms do not touch each other`, async t => {
    const { first } = await open(t)
    await joined(first, 'r', member('a'))
    await joined(first, 'R', member('b'))
    await joined(first, 'r:s', member('c'))
    await first.disband('R', undefined)
    assert.deepEqual(idsOf(await first.snapshot('r') as Snapshot), ['a'])
    assert.deepEqual(idsOf(await first.snapshot('r:s') as Snapshot), ['c'])
  })

  test(`${name}: birth and end are announced exactly once a life`, async t => {
    const { first, second, announced } = await open(t)
    const { epoch: one } = await joined(first, 'r', member('a'))
    await joined(second, 'r', member('b', SECOND))
    await joined(second, 'r', member('b', SECOND))
    await leave(first, 'r', 'a')
    await leave(first, 'r', 'a')
    await leave(second, 'r', 'b')
    await leave(second, 'r', 'b')
    const { epoch: two } = await joined(second, 'r', member('b', SECOND))
    await first.disband('r', 'stranger')
    await first.disband('r', 'b')
    await first.disband('r', 'b')
    assert.deepEqual(await announced(), [
      { type: 'room_created', room: 'r', epoch: one },
      { type: 'room_disbanded', room: 'r', epoch: one, reason: 'last_member_left' },
      { type: 'room_created', room: 'r', epoch: two },
      { type: 'room_disbanded', room: 'r', epoch: two, reason: 'user_requested' }
    ])
  })

  test(`${name}: a hundred joins and leaves at once from two instances are one history`, async t => {
    const { first, second, announced } = await open(t)
    const ids = Array.from({ length: 100 }, (_, i) => `c${i}`)
    const presenceOf = (i: number): Presence => i % 2 === 0 ? first : second
    const joins = await Promise.all(ids.map((id, i) => joined(presenceOf(i), 'r', member(id, i % 2 === 0 ? FIRST : SECOND))))
    assert.deepEqual(joins.map(({ version }) => version).toSorted((a, b) => a - b), ids.map((_, i) => i + 1))
    assert.equal(new Set(joins.map(({ epoch }) => epoch)).size, 1)
    for (const { version, members } of joins) assert.equal(members.length, version)

    const leaves = await Promise.all(ids.map((id, i) => leave(presenceOf(i), 'r', id)))
    assert.deepEqual(leaves.map(leave => leave?.version ?? 0).toSorted((a, b) => a - b), ids.map((_, i) => i + 101))
    assert.deepEqual(leaves.filter(leave => leave?.emptied).map(leave => leave?.version), [200])
    assert.deepEqual((await announced()).map(({ type }) => type), ['room_created', 'room_disbanded'])
  })

  test(`${name}: a full house at once lets in exactly as many as the limit says`, async t => {
    const { first, second } = await open(t)
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) =>
      i % 2 === 0 ? first.join('r', member(`c${i}`), 7) : second.join('r', member(`c${i}`, SECOND), 7)))
    assert.equal(answers.filter(answer => answer === 'full').length, 33)
    assert.equal((await first.snapshot('r'))?.members.length, 7)
  })

  test(`${name}: last leaves, disbands and new joins that race make lives that begin and end once`, async t => {
    const { first, second, announced } = await open(t)
    const lives = new Set<string>()
    let ends = 0
    for (let round = 0; round < 30; round++) {
      const [a, b, left, ended] = await Promise.all([
        first.join('r', member(`a${round}`), 0),
        second.join('r', member(`b${round}`, SECOND), 0),
        leave(first, 'r', `a${round}`),
        round % 3 === 0 ? second.disband('r', `b${round}`) : leave(second, 'r', `b${round}`)
      ])
      for (const answer of [a, b]) if (answer !== 'full') lives.add(answer.epoch)
      if (left?.emptied) ends++
      if (ended !== undefined && (!('emptied' in ended) || ended.emptied)) ends++
    }
    assert.equal(await first.snapshot('r'), undefined)
    assert.equal(ends, lives.size)
    const events = await announced()
    assert.equal(events.length, 2 * lives.size)
    for (let i = 0; i < events.length; i += 2) {
      assert.equal(events[i]?.type, 'room_created')
      assert.equal(events[i + 1]?.type, 'room_disbanded')
      assert.equal(events[i]?.epoch, events[i + 1]?.epoch)
      assert.ok(lives.delete(events[i]?.epoch ?? ''))
    }
  })

  test(`${name}: any history of joins, leaves and disbands is that of a simple model`, async t => {
    const { first, second } = await open(t)
    const id = fc.constantFrom('a', 'b', 'c', 'd')
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ do: fc.constant('join' as const), id, here: fc.boolean() }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('leave' as const), id, here: fc.boolean() }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('disband' as const), id, here: fc.boolean() }) }
    )
    let run = 0
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 20 }), async steps => {
      const room = `room${run++}`
      const model = { version: 0, members: [] as string[] }
      for (const { do: what, id } of steps) {
        // A member belongs to the instance that holds its connection.
        const [presence, instance] = id < 'c' ? [first, FIRST] : [second, SECOND]
        const isIn = model.members.includes(id)
        if (what === 'join') {
          const answer = await presence.join(room, member(id, instance), 3)
          if (!isIn && model.members.length === 3) {
            assert.equal(answer, 'full')
            continue
          }
          model.version++
          if (!isIn) model.members.push(id)
          assert.notEqual(answer, 'full')
          assert.deepEqual(idsOf(answer as Snapshot).toSorted(), model.members.toSorted())
          assert.equal((answer as Snapshot).version, model.version)
        } else {
          const answer = await (what === 'leave' ? leave(presence, room, id) : presence.disband(room, id))
          if (!isIn) {
            assert.equal(answer, undefined)
            continue
          }
          assert.equal(answer?.version, ++model.version)
          model.members = what === 'leave' ? model.members.filter(other => other !== id) : []
          if (what === 'leave') assert.equal(answer && 'emptied' in answer && answer.emptied, model.members.length === 0)
          if (model.members.length === 0) model.version = 0
        }
      }
      assert.deepEqual((await second.snapshot(room))?.members.length ?? 0, model.members.length)
      await first.disband(room, undefined)
    }), { numRuns: 40 })
  })
}
