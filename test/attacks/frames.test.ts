/** Clients with a right token that send what no client should. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { frameBytes, opcodes, RawClient, type FrameShape } from './raw-client.ts'
import { Siege } from './siege.ts'

const MAX_PAYLOAD_BYTES = 65536

void describe('Frames that attack', () => {
  let siege: Siege
  before(async () => { siege = await Siege.open() })
  after(async () => { await siege.close() })

  const open = async (userId = 'attacker'): Promise<RawClient> => await RawClient.open(siege.server.url, userId)

  /** Frames that end a connection, by what is wrong with them, with the close code of each. */
  const broken: Array<[what: string, code: number, payload: string | Buffer, shape: FrameShape]> = [
    ['a message over the limit', 1009, 'x'.repeat(MAX_PAYLOAD_BYTES + 1), {}],
    ['a header that announces 4 GiB', 1009, 'x', { length: 2 ** 32 }],
    ['a header that announces more than a number can hold', 1009, 'x', { length: 2 ** 60 }],
    ['bytes that are no UTF-8', 1007, Buffer.from([0x22, 0xc3, 0x28, 0x22]), {}],
    ['a character that is cut off', 1007, Buffer.from([0x22, 0xf0, 0x9f, 0x98]), {}],
    ['a surrogate in UTF-8', 1007, Buffer.from([0xed, 0xa0, 0x80]), {}],
    ['a frame without a mask', 1002, '{"type":"ping"}', { masked: false }],
    ...[1, 2, 3, 4, 5, 6, 7].map(rsv => [`the reserved bits ${rsv}`, 1002, '{"type":"ping"}', { rsv }] satisfies [string, number, string, FrameShape]),
    ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(opcode => [`the opcode ${opcode}`, 1002, '', { opcode }] satisfies [string, number, string, FrameShape]),
    ['a continuation of nothing', 1002, 'x', { opcode: opcodes.continuation }],
    ['a ping in fragments', 1002, '', { opcode: opcodes.ping, fin: false }],
    ['a ping that is too long', 1002, 'x'.repeat(126), { opcode: opcodes.ping }],
    ['a close code of one byte', 1002, 'x', { opcode: opcodes.close }],
    ['a close code that may not be sent', 1002, Buffer.from([0x03, 0xed]), { opcode: opcodes.close }],
    ['a binary frame', 1003, '{"type":"ping"}', { opcode: opcodes.binary }]
  ]

  test('A frame that is broken, too large or binary ends its connection with the code for it, and nothing else', async t => {
    await siege.during(t, async () => {
      await Promise.all(broken.map(async ([what, code, payload, shape]) => {
        const client = await open()
        await client.write(frameBytes(payload, shape))
        await client.write(frameBytes('{"type":"join","room":"behind-it"}'))
        assert.equal(await client.closed, code, what)
        assert.equal(client.texts.length, 1, `${what}: nothing but its welcome`)
      }))
    })
  })

  test('A message in more than 64 fragments ends its connection', async t => {
    const toll = await siege.during(t, async () => {
      const client = await open()
      const part = frameBytes('x', { opcode: opcodes.continuation, fin: false })
      await client.write(Buffer.concat([frameBytes('"', { fin: false }), ...Array.from({ length: 63 }, () => part)]))
      await client.fence()
      await client.write(part)
      assert.equal(await client.closed, 1008)
    })
    assert.ok(siege.growth(toll) < 10)
  })

  test('A message that does not come to its end, with pongs between its fragments, ends its connection before it fills memory', async t => {
    const part = frameBytes('x', { opcode: opcodes.continuation, fin: false })
    const filler = frameBytes('x'.repeat(125), { opcode: opcodes.pong })
    const read = Buffer.concat([part, ...Array.from({ length: MAX_PAYLOAD_BYTES / filler.length }, () => filler)])
    const toll = await siege.during(t, async () => {
      const client = await open()
      await client.write(frameBytes('"', { fin: false }))
      let reads = 0
      while (reads < 60 && await client.write(read)) {
        reads++
        await Promise.race([client.fence().catch(() => {}), client.closed])
      }
      assert.equal(await client.closed, 1008)
      assert.ok(reads < 6, `${reads} reads were kept`)
    }, true)
    assert.ok(siege.growth(toll) < 10)
    const whole = await open('whole') // a message that is as long as may be, in as many fragments as may be
    await whole.join('whole')
    const piece = 'x'.repeat(1000)
    for (let round = 0; round < 3; round++) {
      await whole.write(frameBytes(`{"type":"ping","id":"${round}${piece}`, { fin: false }))
      for (let i = 0; i < 62; i++) await whole.write(Buffer.concat([frameBytes(piece, { opcode: opcodes.continuation, fin: false }), filler]))
      await whole.write(frameBytes('"}', { opcode: opcodes.continuation }))
      const pong = await whole.got(text => text.startsWith(`{"type":"pong","id":"${round}`))
      assert.ok(pong.length > 63_000)
    }
    await whole.end()
  })

  test('JSON that was made to do harm is answered as an error or ignored: it blocks nothing and changes no prototype', async t => {
    const deep = `${'['.repeat(10_000)}${']'.repeat(10_000)}`
    const keys = `{${Array.from({ length: 6000 }, (_, i) => `"${i * 7}":1`).join()}}`
    const harm: Array<[text: string, answer: RegExp]> = [
      [deep, /"code":"bad_message"/],
      ['['.repeat(60_000), /"code":"bad_json"/],
      ['{"a":'.repeat(10_000), /"code":"bad_json"/],
      [`{"type":"join","room":${deep}}`, /"code":"bad_message"/],
      [`{"type":${deep}}`, /"code":"bad_message"/],
      [`{"type":"data","to":${deep},"data":1}`, /"code":"bad_message"/],
      [keys, /"code":"bad_message"/],
      [`{"type":"join","room":${keys}}`, /"code":"bad_message"/],
      [`{"type":"dance",${keys.slice(1)}`, /"code":"unknown_type"/],
      ['{"type":"join","room":1e999}', /"code":"bad_message"/],
      ['{"type":"ping","id":{"__proto__":{"x":1}}}', /"code":"bad_message"/],
      ['{"__proto__":{"type":"join","room":"stolen"}}', /"code":"bad_message"/],
      ['{"type":"__proto__"}', /"code":"unknown_type"/],
      ['{"type":"constructor","constructor":{"prototype":{"polluted":1}}}', /"code":"unknown_type"/],
      ['{"type":"join","room":"__proto__","__proto__":{"polluted":1}}', /"type":"joined","room":"__proto__"/],
      ['{"type":"data","to":"__proto__","data":1}', /"code":"peer_not_found"/],
      ['{"type":"data","to":"constructor","data":1}', /"code":"peer_not_found"/],
      [`{"type":"data","data":{"type":"__proto__"},"id":${'9'.repeat(60_000)}}`, /"type":"pong","id":"next"/],
      [`{"type":"ping","id":1e999,"big":${'9'.repeat(60_000)}}`, /"type":"pong"/],
      [`{"type":"ping","id":"${'\\u0000'.repeat(10_000)}"}`, /"type":"pong"/],
      [`"${'\\ud800'.repeat(10_000)}"`, /"code":"bad_message"/]
    ]
    await siege.during(t, async () => {
      const client = await open()
      await client.join('harm')
      for (const [text, answer] of harm) {
        client.texts.length = 0
        await client.send(text)
        await client.send('{"type":"ping","id":"next"}')
        await client.got(text => text === '{"type":"pong","id":"next"}')
        assert.match(client.texts.join('\n'), answer, text.slice(0, 80))
        assert.doesNotMatch(client.texts.join('\n'), /"code":"internal"|polluted/, text.slice(0, 80))
      }
      await client.end()
      const other = await open('other')
      await other.join('harm')
      assert.doesNotMatch(other.texts.join('\n'), /polluted|stolen/)
      await other.end()
    })
  })
})
