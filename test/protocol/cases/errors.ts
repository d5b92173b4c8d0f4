import assert from 'node:assert/strict'
import { assertRefused, heardUntil, type Play } from '../scene.ts'

export function errorCases (play: Play): void {
  play('ping is answered with pong', async scene => {
    const ana = await scene.first('ana')
    ana.send({ type: 'ping' })
    assert.deepEqual(await ana.take(), { type: 'pong' })
  })

  play('A message that is no JSON is bad_json, and the connection stays open', async scene => {
    const ana = await scene.first('ana')
    for (const text of ['nonsense', '', ' ', '{', '{"type":"ping"}}', "{'type':'ping'}", '{"type":"ping",}', '\ufeff{"type":"ping"}', 'undefined', 'NaN']) {
      assert.deepEqual(await ana.refused(text), { type: 'error', error: 'The message is not valid JSON', code: 'bad_json' }, text)
    }
    assert.deepEqual(await ana.fence(), [])
  })

  play('JSON that is no object, has no string type, or a field of the wrong kind is bad_message', async scene => {
    const ana = await scene.first('ana')
    await ana.join(scene.room())
    for (const text of ['null', '[]', '[{"type":"ping"}]', '5', '"ping"', 'true', '{}', '{"type":5}', '{"type":null}', '{"type":["ping"]}', '{"Type":"ping"}']) {
      await assertRefused(ana, text, 'bad_message')
    }
    const wrong = [
      { type: 'join' }, { type: 'join', room: 5 }, { type: 'join', room: null }, { type: 'join', room: ['a'] }, { type: 'join', room: 'a', user_id: 5 },
      { type: 'data' }, { type: 'data', data: 1, to: 5 }, { type: 'data', data: 1, to: null }, { type: 'refresh' }, { type: 'refresh', token: 5 },
      { type: 'ping', id: true }, { type: 'ping', id: null }, { type: 'ping', id: {} }, { type: 'leave', id: [] }
    ]
    for (const message of wrong) await assertRefused(ana, message, 'bad_message')
    assert.equal((await ana.refused({ type: 'join', room: 5, id: 'b' })).id, 'b')
    assert.equal((await ana.refused({ type: 5, id: 6 })).id, 6)
    assert.deepEqual(await ana.fence(), [])
  })

  play('A type that the server does not know is unknown_type', async scene => {
    const ana = await scene.first('ana')
    for (const type of ['dance', '', 'JOIN', 'join ', '__proto__', 'constructor', 'toString', 'welcome', 'joined', 'pong', 'error']) {
      const answer = await ana.refused({ type, id: 1 })
      assert.deepEqual({ ...answer, error: '' }, { type: 'error', error: '', code: 'unknown_type', id: 1 })
    }
  })

  play('Data that nests as deeply as its size allows harms nobody', async scene => {
    const room = scene.room()
    const [ana, ben] = [await scene.first('ana'), await scene.second('ben')]
    await scene.gather(room, ana, ben)
    const deep = `${'['.repeat(30_000)}${']'.repeat(30_000)}`
    ana.send(`{"type":"data","data":${deep}}`)
    assert.equal((await ben.next('data')).from.user_id, 'ana')
    ana.send(`{"type":"data","id":1,"data":${deep}}`)
    ana.send(`{"type":"ping","deep":${deep}}`)
    await ana.next('pong')
    ana.send({ type: 'data', data: 'fine' })
    assert.equal((await ben.upTo(frame => frame.type === 'data' && frame.data === 'fine')).at(-1)?.type, 'data')
  })

  play('An error changes nothing for the others', async scene => {
    const room = scene.room()
    const [ana, ben] = [await scene.first('ana'), await scene.second('ben')]
    await scene.gather(room, ana, ben)
    await assertRefused(ana, 'nonsense', 'bad_json')
    await assertRefused(ana, { type: 'join', room: '*' }, 'room_invalid')
    await assertRefused(ana, { type: 'watch' }, 'forbidden')
    assert.deepEqual(await heardUntil(ben, ana), [])
  })
}
