import assert from 'node:assert/strict'
import type { Client } from '../../harness/client.ts'
import { MAX_PAYLOAD_BYTES } from '../cluster.ts'
import { assertRefused, heardUntil, type Play } from '../scene.ts'

/** JSON that another parser and writer would change, as it stands on the wire. */
const payloads = [
  'null', 'false', '0', '-0', '""', '[]', '{}',
  '12345678901234567890', '1e999', '-1E-999', '1.0', '0.10000000000000000000001',
  '"ä 房 🥕 \\u00e4 \\ud83e\\udd55 \\ud800 \\/ \\u0000"',
  '{"b":1,"a":2,"1":3,"b":4,"__proto__":5}',
  '{ "spaced" : [ 1 ,\t2 ] }',
  '{"type":"offer","sdp":"v=0\\r\\no=- 1 2 IN IP4 127.0.0.1\\r\\n"}',
  '[[[[[[{"deep":[[[{}]]]}]]]]]]',
  `${'['.repeat(2000)}${']'.repeat(2000)}`
]

export function dataCases (play: Play): void {
  play('data reaches everyone else in the room, with who it is from and the room, and not its sender', async scene => {
    const room = scene.room()
    const [ana, ben, cleo] = [await scene.first('ana', { username: 'Ana Ω' }), await scene.first('ben'), await scene.second('cleo')]
    await scene.gather(room, ana, ben, cleo)
    const data = { type: 'offer', sdp: 'v=0' }
    ana.send({ type: 'data', data })
    for (const receiver of [ben, cleo]) {
      assert.deepEqual(await receiver.take(), { type: 'data', from: { connection_id: ana.id, user_id: 'ana', username: 'Ana Ω' }, room, data })
    }
    assert.deepEqual(await heardUntil(ana, cleo), [])
  })

  play('data to a connection_id reaches that connection alone, with to as it was sent', async scene => {
    const room = scene.room()
    const [ana, phone, laptop, cleo] = [await scene.first('ana'), await scene.first('ben'), await scene.second('ben'), await scene.second('cleo')]
    await scene.gather(room, ana, phone, laptop, cleo)
    for (const receiver of [phone, laptop, cleo]) {
      ana.send({ type: 'data', to: receiver.id, data: 1 })
      assert.deepEqual(await receiver.take(), { type: 'data', from: ana.info, room, to: receiver.id, data: 1 })
    }
    for (const receiver of [phone, laptop, cleo]) assert.deepEqual(await heardUntil(receiver, ana), [])
    assert.deepEqual(await ana.fence(), [])
  })

  play('data to a user_id reaches all connections of that user in the room', async scene => {
    const room = scene.room()
    const [ana, phone, laptop, cleo, elsewhere] = [await scene.first('ana'), await scene.first('ben'), await scene.second('ben'), await scene.second('cleo'), await scene.second('ben')]
    await scene.gather(room, ana, phone, laptop, cleo)
    await elsewhere.join(scene.room('elsewhere'))
    ana.send({ type: 'data', to: 'ben', data: [1] })
    for (const receiver of [phone, laptop]) assert.deepEqual(await receiver.take(), { type: 'data', from: ana.info, room, to: 'ben', data: [1] })
    assert.deepEqual(await heardUntil(cleo, ana), [])
    assert.deepEqual(await elsewhere.fence(), [])
  })

  play('data to the own user_id reaches the other connections of the user, and never the one that sends it', async scene => {
    const room = scene.room()
    const [phone, laptop, tablet, ben] = [await scene.first('ana'), await scene.first('ana'), await scene.second('ana'), await scene.second('ben')]
    await scene.gather(room, phone, laptop, tablet, ben)
    phone.send({ type: 'data', to: 'ana', data: 'mine' })
    for (const receiver of [laptop, tablet]) assert.deepEqual(await receiver.take(), { type: 'data', from: phone.info, room, to: 'ana', data: 'mine' })
    assert.deepEqual(await heardUntil(phone, tablet), [])
    assert.deepEqual(await heardUntil(ben, phone), [])
    await assertRefused(phone, { type: 'data', to: phone.id, data: 1 }, 'peer_not_found')
    await assertRefused(ben, { type: 'data', to: 'ben', data: 1 }, 'peer_not_found')
  })

  play('A connection_id goes before a user_id of the same letters', async scene => {
    const room = scene.room()
    const [ana, ben] = [await scene.first('ana'), await scene.second('ben')]
    const namesake = await scene.second(ben.id)
    await scene.gather(room, ana, ben, namesake)
    ana.send({ type: 'data', to: ben.id, data: 1 })
    assert.equal((await ben.next('data')).to, ben.id)
    ana.send({ type: 'data', to: namesake.id, data: 2 })
    assert.equal((await namesake.next('data')).data, 2)
  })

  play('data to nobody in the room is refused with peer_not_found', async scene => {
    const [room, other] = [scene.room(), scene.room('other')]
    const [ana, ben, cleo] = [await scene.first('ana'), await scene.first('ben'), await scene.second('cleo')]
    await scene.gather(room, ana, ben)
    await cleo.join(other)
    for (const to of ['nobody', '', '*', cleo.id, 'cleo', room]) {
      const answer = await ana.refused({ type: 'data', to, data: 1, id: 4 })
      assert.deepEqual({ ...answer, error: '' }, { type: 'error', error: '', code: 'peer_not_found', id: 4 })
    }
    assert.deepEqual(await heardUntil(ben, ana), [])
    assert.deepEqual(await cleo.fence(), [])
  })

  play('data before join is refused', async scene => {
    const ana = await scene.first('ana')
    assert.deepEqual(await ana.refused({ type: 'data', data: 1, id: 'd' }), { type: 'error', error: 'You must join a room before sending data', code: 'not_in_room', id: 'd' })
  })

  play('Identity and room come from the server: what a frame says of them is not passed on, nor is any other key', async scene => {
    const room = scene.room()
    const [ana, ben, cleo] = [await scene.first('ana'), await scene.first('ben'), await scene.second('cleo')]
    await scene.gather(room, ana, ben, cleo)
    const from = '{"connection_id":"x","user_id":"ben","username":"Ben"}'
    const forged = [
      `{"type":"data","data":1,"from":${from}}`,
      `{"from":${from},"type":"data","data":1}`,
      `{"type":"data","fr\\u006fm":${from},"data":1}`,
      `{"type":"data","data":1,"from":${from},"from":null}`,
      '{"type":"data","data":1,"room":"other"}',
      '{"type":"data","data":1,"__proto__":{"x":1}}',
      '{"type":"data","data":1,"id":7,"user_id":"ben","version":9,"extra":[]}',
      '{"type":"welcome","type":"data","data":1}',
      '{"type":"data","data":2,"data":1}',
      ' {"type":"data","data":1} \n'
    ]
    for (const text of forged) {
      ana.send(text)
      for (const receiver of [ben, cleo]) {
        assert.deepEqual(await receiver.take(), { type: 'data', from: ana.info, room, data: 1 }, text)
        const keys = Array.from(receiver.texts.at(-1)?.matchAll(/"(from|room|type)":/g) ?? [], ([, key]) => key).toSorted()
        assert.deepEqual(keys, ['from', 'room', 'type'], receiver.texts.at(-1))
      }
    }
  })

  play('A payload arrives as its bytes were sent, whatever JSON it is', async scene => {
    const room = scene.room()
    const [ana, ben, cleo] = [await scene.first('ana'), await scene.first('ben'), await scene.second('cleo')]
    await scene.gather(room, ana, ben, cleo)
    for (const payload of payloads) {
      ana.send(`{"type":"data","data":${payload}}`)
      for (const receiver of [ben, cleo]) await assertCarried(receiver, payload)
      ana.send(`{"type":"data","to":"ben","data":${payload}}`)
      await assertCarried(ben, payload)
    }
  })

  play('Payloads of every size up to the limit arrive whole', async scene => {
    const room = scene.room()
    const [ana, ben, cleo] = [await scene.first('ana'), await scene.first('ben'), await scene.second('cleo')]
    await scene.gather(room, ana, ben, cleo)
    const overhead = '{"type":"data","data":""}'.length
    ana.send({ type: 'data', data: '' })
    const hello = await ben.next('data')
    const added = JSON.stringify(hello).length - overhead
    // around the lengths where a frame's header grows, before and after the server has added the sender
    const lengths = [125, 126, 127, 65535].flatMap(edge => [edge - overhead, edge - overhead - added])
    for (const length of [1, ...lengths.filter(found => found > 0).flatMap(found => [found - 1, found, found + 1]), MAX_PAYLOAD_BYTES - overhead]) {
      const data = 'ü'.repeat(Math.floor(Math.min(length, 200) / 2)).padEnd(length - Math.floor(Math.min(length, 200) / 2), 'x')
      assert.equal(Buffer.byteLength(data), length)
      ana.send({ type: 'data', data })
      for (const receiver of [ben, cleo]) await receiver.upTo(frame => frame.type === 'data' && frame.data === data)
    }
  })

  play('What is sent in a room stays in that room', async scene => {
    const [room, other] = [scene.room(), scene.room('other')]
    const [ana, ben, cleo, dan] = [await scene.first('ana'), await scene.second('ben'), await scene.first('cleo'), await scene.second('dan')]
    await scene.gather(room, ana, ben)
    await scene.gather(other, cleo, dan)
    for (const sender of [ana, ben]) sender.send({ type: 'data', data: 'ours' })
    await Promise.all([ana.next('data'), ben.next('data')])
    ben.send({ type: 'leave' })
    await ana.next('user_left')
    assert.deepEqual(await heardUntil(cleo, dan), [])
    assert.deepEqual(await heardUntil(dan, cleo), [])
  })
}

async function assertCarried (receiver: Client, payload: string): Promise<void> {
  const frame = await receiver.take()
  assert.equal(frame.type, 'data')
  const text = receiver.texts.at(-1) ?? ''
  assert.ok(text.endsWith(`"data":${payload}}`), `${payload} arrived as ${text}`)
}
