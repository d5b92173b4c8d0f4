import assert from 'node:assert/strict'
import type { Client } from '../../harness/client.ts'
import { MAX_PAYLOAD_BYTES } from '../cluster.ts'
import { joinOf, leaveOf, type Play } from '../scene.ts'

/** What a client must not send, by the code that its connection is closed with. */
const breaches: Record<string, { sentence: string, commit: (client: Client) => void }> = {
  1002: { sentence: 'A frame that breaks the WebSocket protocol', commit: client => { client.write(Buffer.from([0x83, 0x80, 0, 0, 0, 0])) } },
  1003: { sentence: 'A binary frame', commit: client => { client.socket.send(Buffer.from('{"type":"ping"}'), { binary: true }) } },
  1007: { sentence: 'A text that is not UTF-8', commit: client => { client.socket.send(Buffer.from([0x22, 0xff, 0x22]), { binary: false }) } },
  1009: { sentence: 'A message over the limit', commit: client => { client.send({ type: 'data', data: 'x'.repeat(MAX_PAYLOAD_BYTES) }) } }
}

export function closingCases (play: Play): void {
  for (const [code, { sentence, commit }] of Object.entries(breaches)) {
    play(`${sentence} closes the connection with ${code}, and its room is told`, async scene => {
      const room = scene.room()
      const [ana, ben] = [await scene.first('ana'), await scene.second('ben')]
      await scene.gather(room, ana, ben)
      commit(ana)
      assert.equal((await ana.closed).code, Number(code))
      assert.deepEqual((await leaveOf(ben, ana)), [{ type: 'user_left', room, version: 3, data: ana.info }])
    })
  }

  play('What a client sent behind a frame that closes its connection is not carried out', async scene => {
    const room = scene.room()
    const [ana, ben] = [await scene.first('ana'), await scene.second('ben')]
    ana.together(() => {
      ana.socket.send(Buffer.from('{"type":"ping"}'), { binary: true })
      ana.send({ type: 'join', room })
    })
    assert.equal((await ana.closed).code, 1003)
    const { version, data: { members } } = await ben.join(room)
    assert.deepEqual([version, members], [1, []])
  })

  play('A client that closes leaves its room', async scene => {
    const room = scene.room()
    const [ana, ben] = [await scene.first('ana'), await scene.second('ben')]
    await scene.gather(room, ana, ben)
    await ana.close(1000)
    assert.deepEqual(await ben.take(), { type: 'user_left', room, version: 3, data: ana.info })
  })

  play('A client that vanishes leaves its room, and the others are told', async scene => {
    const room = scene.room()
    const [ana, ben, cleo] = [await scene.first('ana'), await scene.second('ben'), await scene.first('cleo')]
    await scene.gather(room, ana, ben, cleo)
    ana.socket.terminate()
    for (const member of [ben, cleo]) assert.deepEqual((await leaveOf(member, ana)).at(-1), { type: 'user_left', room, version: 4, data: ana.info })
    assert.deepEqual((await cleo.join(room)).data.members.map(member => member.connection_id), [ben.id])
  })

  play('A room whose last member vanishes ends', async scene => {
    const room = scene.room()
    const root = await scene.second('root', { role: 'admin' })
    root.send({ type: 'watch' })
    await root.next('watching')
    const ana = await scene.first('ana')
    await ana.join(room)
    ana.socket.terminate()
    const isEnd = ({ type, data }: { type: string, data?: unknown }): boolean => type === 'room_disbanded' && (data as { room: string }).room === room
    assert.deepEqual((await root.upTo(isEnd)).at(-1), { type: 'room_disbanded', data: { room, reason: 'last_member_left' } })
    const { version, data: { members } } = await (await scene.second('ben')).join(room)
    assert.deepEqual([version, members], [1, []])
  })

  play('A client that closes right behind its join has left as soon as it is in', async scene => {
    const room = scene.room()
    const ben = await scene.second('ben')
    await ben.join(room)
    const ends: Array<(client: Client) => void> = [client => { client.socket.close() }, client => { client.socket.terminate() }]
    for (let round = 0; round < 20; round++) {
      const ana = await scene.first('ana')
      ana.together(() => { ana.send({ type: 'join', room }) })
      ends[round % 2]?.(ana)
      await joinOf(ben, ana)
      await leaveOf(ben, ana)
    }
    const cleo = await scene.first('cleo')
    const { version, data: { members } } = await cleo.join(room)
    assert.deepEqual([version, members.map(member => member.connection_id)], [42, [ben.id]])
  })
}
