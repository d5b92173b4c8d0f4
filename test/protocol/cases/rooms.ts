import assert from 'node:assert/strict'
import { MAX_ROOM_MEMBERS } from '../cluster.ts'
import { assertRefused, heardUntil, joinOf, leaveOf, type Play } from '../scene.ts'

export function roomCases (play: Play): void {
  play('A room is created by its first join, at version 1, with nobody else in it', async scene => {
    const room = scene.room()
    const ana = await scene.first('ana')
    ana.send({ type: 'join', room })
    assert.deepEqual(await ana.take(), { type: 'joined', room, version: 1, data: { room, connection_id: ana.id, members: [] } })
  })

  play('Members are told of a newcomer by ready and user_joined, with versions that follow each other', async scene => {
    const room = scene.room()
    const ana = await scene.first('ana', { username: 'Ana' })
    const ben = await scene.second('ben', { username: 'Ben' })
    const cleo = await scene.first('cleo', { username: 'Cleo' })
    await ana.join(room)
    await ben.join(room)
    assert.deepEqual(await ana.take(), { type: 'ready', data: { connection_id: ben.id, user_id: 'ben', username: 'Ben' } })
    assert.deepEqual(await ana.take(), { type: 'user_joined', room, version: 2, data: { connection_id: ben.id, user_id: 'ben', username: 'Ben' } })
    await cleo.join(room)
    for (const member of [ana, ben]) {
      assert.deepEqual(await member.take(), { type: 'ready', data: cleo.info })
      assert.deepEqual(await member.take(), { type: 'user_joined', room, version: 3, data: cleo.info })
    }
    cleo.send({ type: 'leave' })
    for (const member of [ana, ben]) assert.deepEqual(await member.take(), { type: 'user_left', room, version: 4, data: cleo.info })
  })

  play('joined lists the members in joining order, without the joiner, and without what is private', async scene => {
    const room = scene.room()
    const earliest = Date.now() - 60_000
    const clients = [await scene.first('ana', { username: 'Ana' }), await scene.second('ben'), await scene.first('cleo'), await scene.second('dan')]
    await scene.gather(room, ...clients)
    for (const viewer of [await scene.first('eve'), await scene.second('fay')]) {
      viewer.send({ type: 'join', room })
      const { version, data: { members, ...data }, ...frame } = await viewer.next('joined')
      assert.deepEqual({ ...frame, data }, { type: 'joined', room, data: { room, connection_id: viewer.id } })
      assert.equal(version, members.length + 1)
      const times = members.map(member => member.joined_at)
      assert.deepEqual(times, times.toSorted((a, b) => a - b))
      for (const [index, { info }] of clients.entries()) {
        const found = members.find(member => member.connection_id === info.connection_id)
        assert.ok(found !== undefined)
        assert.deepEqual(found, { ...info, joined_at: found.joined_at })
        assert.ok(found.joined_at > earliest && found.joined_at < Date.now() + 60_000)
        const before = times.filter(time => time < found.joined_at).length
        assert.ok(before <= index, 'somebody who came later comes before it')
      }
      clients.push(viewer)
    }
  })

  play('The reply to a request repeats its id, be it a string or a number', async scene => {
    const room = scene.room()
    const ana = await scene.first('ana', { rooms: ['*'] })
    for (const id of ['a-1', '', 7, 0, -1.5]) {
      assert.equal((await ana.join(room, { id })).id, id)
      ana.send({ type: 'ping', id })
      assert.deepEqual(await ana.take(), { type: 'pong', id })
      ana.send({ type: 'watch', id })
      assert.deepEqual(await ana.take(), { type: 'watching', id })
      ana.send({ type: 'unwatch', id })
      assert.deepEqual(await ana.take(), { type: 'unwatched', id })
      ana.send({ type: 'leave', id })
      assert.deepEqual(await ana.take(), { type: 'left', data: { room }, id })
      assert.equal((await ana.refused({ type: 'leave', id })).id, id)
    }
    ana.send({ type: 'ping' })
    assert.deepEqual(await ana.next('pong'), { type: 'pong' })
  })

  play('Joining the same room again answers joined and tells nobody', async scene => {
    const room = scene.room()
    const [ana, ben] = [await scene.first('ana'), await scene.second('ben')]
    await scene.gather(room, ana, ben)
    const again = await ben.join(room, { id: 2 })
    const [member] = again.data.members
    assert.ok(member !== undefined)
    assert.deepEqual(again, { type: 'joined', room, version: 2, data: { room, connection_id: ben.id, members: [{ ...ana.info, joined_at: member.joined_at }] }, id: 2 })
    assert.deepEqual(await heardUntil(ana, ben), [])
  })

  play('Joining another room leaves the first: left, then joined; each room is told', async scene => {
    const [from, to] = [scene.room('from'), scene.room('to')]
    const [ana, ben, cleo] = [await scene.first('ana'), await scene.second('ben'), await scene.second('cleo')]
    await scene.gather(from, ben, ana)
    await cleo.join(to)
    ana.send({ type: 'join', room: to, id: 'move' })
    assert.deepEqual(await ana.take(), { type: 'left', data: { room: from } })
    const joined = await ana.take()
    assert.ok(joined.type === 'joined')
    assert.deepEqual([joined.room, joined.version, joined.id, joined.data.members.map(member => member.connection_id)], [to, 2, 'move', [cleo.id]])
    assert.deepEqual(await ben.take(), { type: 'user_left', room: from, version: 3, data: ana.info })
    assert.deepEqual(await cleo.take(), { type: 'ready', data: ana.info })
    assert.deepEqual(await cleo.take(), { type: 'user_joined', room: to, version: 2, data: ana.info })
    ben.send({ type: 'data', data: 'nobody hears this' })
    await ben.fence()
    assert.deepEqual(await heardUntil(ana, cleo), [])
  })

  play('The last member that moves on gets left, room_disbanded and joined, in this order', async scene => {
    const [from, to] = [scene.room('from'), scene.room('to')]
    const ana = await scene.first('ana')
    await ana.join(from)
    ana.send({ type: 'join', room: to })
    assert.deepEqual(await ana.take(), { type: 'left', data: { room: from } })
    assert.deepEqual(await ana.take(), { type: 'room_disbanded', data: { room: from, reason: 'last_member_left' } })
    assert.deepEqual(await ana.take(), { type: 'joined', room: to, version: 1, data: { room: to, connection_id: ana.id, members: [] } })
  })

  play('What a new room says to a member on the move comes after its joined', async scene => {
    const [from, to] = [scene.room('from'), scene.room('to')]
    const [ana, ben, cleo] = [await scene.first('ana'), await scene.first('ben'), await scene.second('cleo')]
    await scene.gather(to, ben, cleo)
    for (let round = 0; round < 20; round++) {
      await ana.join(from)
      ana.send({ type: 'join', room: to })
      for (const member of [ben, cleo]) {
        await joinOf(member, ana)
        member.send({ type: 'data', data: 'hello' })
      }
      const frames = await ana.upTo(frame => frame.type === 'joined' && frame.room === to)
      assert.deepEqual(frames.map(frame => frame.type), ['left', 'room_disbanded', 'joined'])
      await ana.next('data')
      await ana.next('data')
      ana.send({ type: 'leave' })
      await Promise.all([ben, cleo].map(member => leaveOf(member, ana)))
    }
  })

  play('A join that fails leaves the client where it was', async scene => {
    const [room, full] = [scene.room('allowed'), scene.room('allowed-full')]
    const [ana, ben] = [await scene.first('ana', { rooms: ['allowed*'] }), await scene.second('ben')]
    await scene.gather(room, ana, ben)
    const crowd = await Promise.all(Array.from({ length: MAX_ROOM_MEMBERS }, (_, index) => index % 2 === 0 ? scene.first('crowd') : scene.second('crowd')))
    await Promise.all(crowd.map(client => client.join(full)))
    await assertRefused(ana, { type: 'join', room: 'no spaces' }, 'room_invalid')
    await assertRefused(ana, { type: 'join', room: scene.room('forbidden') }, 'room_forbidden')
    await assertRefused(ana, { type: 'join', room: full }, 'room_full')
    await assertRefused(ana, { type: 'join', room: full, user_id: 'ben' }, 'identity_mismatch')
    assert.deepEqual(await heardUntil(ana, ben), [])
    assert.deepEqual(await heardUntil(ben, ana), [])
    assert.equal((await ana.join(room)).version, 2)
  })

  play('A join may name the user_id of its token, and no other', async scene => {
    const room = scene.room()
    const ana = await scene.first('ana')
    assert.deepEqual(await ana.refused({ type: 'join', room, user_id: 'ben', id: 1 }), { type: 'error', error: 'The identity is not that of your token', code: 'identity_mismatch', id: 1 })
    assert.equal((await ana.join(room, { user_id: 'ana' })).version, 1)
  })

  play('leave is answered with left; outside a room it is refused', async scene => {
    const room = scene.room()
    const [ana, ben] = [await scene.first('ana'), await scene.second('ben')]
    await assertRefused(ana, { type: 'leave' }, 'not_in_room')
    await scene.gather(room, ana, ben)
    ana.send({ type: 'leave' })
    assert.deepEqual(await ana.take(), { type: 'left', data: { room } })
    assert.deepEqual(await ben.take(), { type: 'user_left', room, version: 3, data: ana.info })
    await assertRefused(ana, { type: 'leave' }, 'not_in_room')
    ben.send({ type: 'data', data: 'nobody hears this' })
    await ben.fence()
    ben.send({ type: 'leave' })
    assert.deepEqual(await ben.take(), { type: 'left', data: { room } })
    await ben.next('room_disbanded')
    assert.deepEqual(await ana.fence(), [])
  })

  play('When the last member leaves, it gets room_disbanded after left; the next join begins a new life', async scene => {
    const room = scene.room()
    const [ana, ben] = [await scene.first('ana'), await scene.second('ben')]
    await scene.gather(room, ana, ben)
    ana.send({ type: 'leave' })
    assert.deepEqual((await ana.fence()).map(frame => frame.type), ['left'])
    await leaveOf(ben, ana)
    ben.send({ type: 'leave' })
    assert.deepEqual(await ben.take(), { type: 'left', data: { room } })
    assert.deepEqual(await ben.take(), { type: 'room_disbanded', data: { room, reason: 'last_member_left' } })
    assert.deepEqual(await ben.fence(), [])
    assert.deepEqual(await ana.fence(), [])
    const { version, data: { members } } = await ana.join(room)
    assert.deepEqual([version, members], [1, []])
  })

  play('Two devices of one user are two members', async scene => {
    const room = scene.room()
    const [phone, laptop, ben] = [await scene.first('ana'), await scene.second('ana'), await scene.second('ben')]
    await scene.gather(room, phone, laptop, ben)
    assert.notEqual(phone.id, laptop.id)
    const [joined] = ben.all('joined')
    assert.deepEqual(joined?.data.members.map(member => [member.user_id, member.connection_id]).toSorted(), [['ana', phone.id], ['ana', laptop.id]].toSorted())
    phone.send({ type: 'leave' })
    for (const member of [laptop, ben]) assert.deepEqual(await member.next('user_left'), { type: 'user_left', room, version: 4, data: phone.info })
    assert.deepEqual(await heardUntil(laptop, ben), [])
  })

  play('disband_room ends the room for all its members, the sender too; their sockets stay open, and they are in no room', async scene => {
    const room = scene.room()
    const clients = [await scene.first('ana'), await scene.second('ben'), await scene.first('cleo')] as const
    const [ana, ben, cleo] = clients
    await scene.gather(room, ...clients)
    ben.send({ type: 'disband_room' })
    for (const client of clients) assert.deepEqual(await client.take(), { type: 'room_disbanded', data: { room, reason: 'user_requested' } })
    for (const client of clients) {
      await assertRefused(client, { type: 'data', data: 1 }, 'not_in_room')
      await assertRefused(client, { type: 'leave' }, 'not_in_room')
      await assertRefused(client, { type: 'disband_room' }, 'not_in_room')
    }
    const { version, data: { members } } = await cleo.join(room)
    assert.deepEqual([version, members], [1, []])
    await ana.join(room)
    assert.deepEqual((await joinOf(cleo, ana)).map(frame => frame.type), ['ready', 'user_joined'])
    assert.deepEqual(await ben.fence(), [])
  })

  play('disband_room before a join is refused', async scene => {
    const ana = await scene.first('ana')
    assert.deepEqual(await ana.refused({ type: 'disband_room', id: 3 }), { type: 'error', error: 'You must be a member of a room to disband it', code: 'not_in_room', id: 3 })
  })

  play('Two members that disband a room at the same time end it once', async scene => {
    const room = scene.room()
    const [ana, ben] = [await scene.first('ana'), await scene.second('ben')]
    for (let round = 0; round < 10; round++) {
      await scene.gather(room, ana, ben)
      ana.send({ type: 'disband_room' })
      ben.send({ type: 'disband_room' })
      for (const client of [ana, ben]) {
        assert.deepEqual(await client.next('room_disbanded'), { type: 'room_disbanded', data: { room, reason: 'user_requested' } })
        const late = await client.fence()
        assert.ok(late.every(frame => frame.type === 'error' && frame.code === 'not_in_room'), JSON.stringify(late))
      }
    }
  })

  play('A room takes no more than its limit of members, and takes one again when one has left', async scene => {
    const room = scene.room()
    const members = await Promise.all(Array.from({ length: MAX_ROOM_MEMBERS }, (_, index) => index % 2 === 0 ? scene.first('crowd') : scene.second('crowd')))
    await Promise.all(members.map(member => member.join(room)))
    const late = await scene.second('late')
    assert.deepEqual(await late.refused({ type: 'join', room, id: 'x' }), { type: 'error', error: 'The room is full', code: 'room_full', id: 'x' })
    await assertRefused(late, { type: 'data', data: 1 }, 'not_in_room')
    const [member] = members
    assert.ok(member !== undefined)
    assert.equal((await member.join(room)).data.members.length, MAX_ROOM_MEMBERS - 1)
    member.send({ type: 'leave' })
    await member.fence()
    assert.equal((await late.join(room)).data.members.length, MAX_ROOM_MEMBERS - 1)
  })

  play('A room name is 1 to 128 characters of A-Z a-z 0-9 _ - . : @', async scene => {
    const ana = await scene.first('ana')
    const longest = scene.room(`AZaz09_-.:@${'x'.repeat(108)}`)
    assert.equal(longest.length, 128)
    for (const room of ['a', '.', '-', '__proto__', 'constructor', longest]) {
      assert.equal((await ana.join(room)).room, room)
    }
    for (const room of ['', `${longest}x`, '*', '{x}', 'a b', 'a/b', 'a\0b', 'a\n', 'ä', '房间', '🥕', '#epoch', '%']) {
      await assertRefused(ana, { type: 'join', room }, 'room_invalid')
    }
  })

  play('A rooms claim opens the rooms that it names, by name or by a wildcard at the end, and no other', async scene => {
    const [exact, wild] = [scene.room('exact'), scene.room('wild')]
    const ana = await scene.first('ana', { rooms: [exact, `${wild}:*`] })
    for (const room of [exact, `${wild}:`, `${wild}:1`, `${wild}:a.b`]) assert.equal((await ana.join(room)).room, room)
    for (const room of [`${exact}x`, exact.slice(0, -1), wild, `x${wild}:1`]) await assertRefused(ana, { type: 'join', room }, 'room_forbidden')
    const ben = await scene.second('ben', { rooms: [] })
    await assertRefused(ben, { type: 'join', room: exact }, 'room_forbidden')
    const cleo = await scene.second('cleo', { rooms: ['*'] })
    assert.equal((await cleo.join(exact)).room, exact)
  })
}
