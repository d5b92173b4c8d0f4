import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { errorCodes } from '../../src/protocol/codes.ts'
import { decode, isRelayable, signalType } from '../../src/protocol/decode.ts'
import { clientMessages } from '../../src/protocol/messages.ts'

const decoded = (text: string): ReturnType<typeof decode> => decode(Buffer.from(text))

/** The code with which a text is refused. */
function refusal (text: string): string | undefined {
  return decoded(text).refused?.code
}

/** Whatever it is, the answer is a message or a refusal with one of the protocol's codes. */
function check (bytes: Buffer): void {
  const { message, refused } = decode(bytes)
  assert.equal((message === undefined), (refused !== undefined))
  if (refused !== undefined) {
    assert.ok(refused.code in errorCodes)
    if (refused.sentence !== undefined) assert.ok(refused.sentence.length > 0)
    if (refused.id !== undefined) assert.ok(['string', 'number'].includes(typeof refused.id))
  } else {
    assert.ok(message.type in clientMessages)
  }
}

test('decoding any bytes throws nothing', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), bytes => { check(Buffer.from(bytes)) }), { numRuns: 1000 })
})

test('decoding any text throws nothing', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), text => { check(Buffer.from(text)) }), { numRuns: 1000 })
})

test('decoding any JSON throws nothing', () => {
  fc.assert(fc.property(fc.json({ depthSize: 'medium' }), text => { check(Buffer.from(text)) }), { numRuns: 1000 })
})

test('decoding anything like a message throws nothing', () => {
  const type = fc.oneof(fc.constantFrom(...Object.keys(clientMessages), '__proto__', 'constructor', 'toString', 'hasOwnProperty'), fc.string(), fc.anything())
  const field = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.constant(null), fc.boolean(), fc.array(fc.string(), { maxLength: 2 }), fc.object({ maxKeys: 2 }))
  const message = fc.record({ type, id: field, room: field, user_id: field, to: field, data: fc.anything(), token: field, more: field }, { requiredKeys: ['type'] })
  fc.assert(fc.property(message, value => {
    let text: string | undefined
    try { text = JSON.stringify(value) } catch { return } // a BigInt, say
    if (text !== undefined) check(Buffer.from(text))
  }), { numRuns: 2000 })
})

test('what is no JSON is bad_json', () => {
  for (const text of ['', ' ', '{', '{"type":"ping"', '{"type":"ping"}}', "{'type':'ping'}", 'ping', '{"type":"ping",}', 'undefined', 'NaN', '\uFEFF{"type":"ping"}', '{"type":"ping"}\0', '{"a":01}']) {
    assert.equal(refusal(text), 'bad_json', text)
  }
})

test('JSON that is no object, or has no type that is a string, is bad_message', () => {
  for (const text of ['null', 'true', '1', '"ping"', '[]', '[{"type":"ping"}]', '{}', '{"type":null}', '{"type":1}', '{"type":["ping"]}', '{"type":{}}', '{"Type":"ping"}']) {
    assert.equal(refusal(text), 'bad_message', text)
  }
})

test('a type that the protocol does not have is unknown_type', () => {
  for (const type of ['', 'Ping', 'ping ', '__proto__', 'constructor', 'toString', 'hasOwnProperty', 'welcome', 'joined', 'error', 'offer']) {
    assert.equal(refusal(JSON.stringify({ type })), 'unknown_type', type)
  }
})

test('a field of the wrong kind, or a missing one, is bad_message and named', () => {
  for (const [text, word] of [
    ['{"type":"join"}', 'room'],
    ['{"type":"join","room":1}', 'room'],
    ['{"type":"join","room":null}', 'room'],
    ['{"type":"join","room":["r"]}', 'room'],
    ['{"type":"join","room":"r","user_id":7}', 'user_id'],
    ['{"type":"data"}', 'data'],
    ['{"type":"data","to":"b"}', 'data'],
    ['{"type":"data","data":1,"to":2}', 'to'],
    ['{"type":"data","data":1,"to":null}', 'to'],
    ['{"type":"refresh"}', 'token'],
    ['{"type":"refresh","token":{}}', 'token'],
    ['{"type":"ping","seen":-1}', 'seen'],
    ['{"type":"report","result":"failed","ms":1}', 'peer'],
    ['{"type":"report","peer":"","result":"failed","ms":1}', 'peer'],
    [`{"type":"report","peer":"${'x'.repeat(257)}","result":"failed","ms":1}`, 'peer'],
    ['{"type":"report","peer":"b","result":"lost","ms":1}', 'result'],
    ['{"type":"report","peer":"b","result":"failed"}', 'ms'],
    ['{"type":"report","peer":"b","result":"failed","ms":"1"}', 'ms'],
    ['{"type":"report","peer":"b","result":"failed","ms":-1}', 'ms'],
    ['{"type":"report","peer":"b","result":"failed","ms":3600001}', 'ms'],
    ['{"type":"report","peer":"b","result":"connected","ms":1,"path":"tunnel"}', 'path'],
    ['{"type":"report","peer":"b","result":"failed","ms":1,"cause":{}}', 'cause'],
    ['{"type":"ping","id":{}}', 'id'],
    ['{"type":"leave","id":null}', 'id'],
    ['{"type":"watch","id":true}', 'id']
  ] as const) {
    const { refused } = decoded(text)
    assert.equal(refused?.code, 'bad_message', text)
    assert.match(refused.sentence ?? '', new RegExp(word), text)
  }
})

test('a refusal repeats the id of the request where it can be one', () => {
  for (const [text, id] of [
    ['{"type":"what","id":"x"}', 'x'],
    ['{"type":"what","id":0}', 0],
    ['{"type":"join","id":-1.5}', -1.5],
    ['{"id":"x"}', 'x'],
    ['{"type":"ping","id":1e999}', undefined],
    ['{"type":"what","id":{}}', undefined],
    ['{"type":"what","id":[1]}', undefined],
    ['{"type":"what"}', undefined],
    ['[1]', undefined]
  ] as const) assert.equal(decoded(text).refused?.id, id, text)
})

test('every message of the protocol is taken, with and without an id and with fields that nobody knows', () => {
  for (const message of [
    { type: 'join', room: 'r' }, { type: 'join', room: 'r', user_id: 'a' }, { type: 'leave' }, { type: 'data', data: null }, { type: 'data', data: [1], to: 'b' },
    { type: 'disband_room' }, { type: 'watch' }, { type: 'unwatch' }, { type: 'refresh', token: 't' }, { type: 'ping' }, { type: 'ping', seen: 0 },
    { type: 'report', peer: 'b', result: 'connected', ms: 0.5, path: 'relay' }, { type: 'report', peer: 'x'.repeat(256), result: 'failed', ms: 3_600_000, cause: 'x'.repeat(5000) }
  ]) {
    for (const more of [{}, { id: 'x' }, { id: 3 }, { unknown: { x: 1 } }]) {
      const whole = { ...message, ...more }
      assert.deepEqual(decoded(JSON.stringify(whole)).message, whole)
      assert.deepEqual(decoded(` ${JSON.stringify(whole, null, 2)}\n`).message, whole)
    }
  }
})

test('data that nests as deeply as a frame allows is decoded', () => {
  const depth = 32_000
  const { message } = decoded(`{"type":"data","data":${'['.repeat(depth)}${']'.repeat(depth)}}`)
  assert.equal(message?.type, 'data')
})

/** What the relay asks of a text that was decoded. */
function relayable (text: string): boolean {
  const { message } = decoded(text)
  assert.ok(message, text)
  return isRelayable(Buffer.from(text), message)
}

test('data with nothing but type, data and to goes on as it was written', () => {
  for (const text of [
    '{"type":"data","data":1}', '{"type":"data","data":{"type":"offer","sdp":"…"}}', '{"type":"data","to":"b","data":null}', '{"type":"data","data":"x","to":"b"}',
    '{"type":"data", "data" : 1 }', '{"type":"data","data":{"from":1,"id":2}}'
  ]) assert.equal(relayable(text), true, text)
})

test('data with any other key is made anew, however the key is written', () => {
  for (const text of [
    '{"type":"data","data":1,"id":1}', '{"type":"data","data":1,"from":{}}', '{"type":"data","\\u0066rom":{},"data":1}', '{"type":"data","fro\\u006d":{},"data":1}',
    '{"type":"data","data":1,"room":"r"}', '{"type":"data","\\u0072oom":"r","data":1}', '{"type":"data","data":1,"__proto__":{}}', '{"type":"data","data":1,"constructor":1}',
    '{"type":"data","data":1,"":1}', '{"type":"data","data":1,"Data":1}', '{"type":"data","data":1,"type ":1}'
  ]) assert.equal(relayable(text), false, text)
})

test('data is made anew when its type is not plainly the first thing in it', () => {
  for (const text of [
    '{"type":"join","type":"data","data":1}', '{"data":1,"type":"data"}', ' {"type":"data","data":1}', '\n{"type":"data","data":1}', '{ "type":"data","data":1}',
    '{"type" :"data","data":1}', '{"type": "data","data":1}', '{"\\u0074ype":"data","data":1}', '{"type":"d\\u0061ta","data":1}', '{"type":"data" ,"data":1}'
  ]) assert.equal(relayable(text), false, text)
})

test('what goes on as it was written reads the same after our own prefix', () => {
  const key = fc.constantFrom('type', 'data', 'to', 'from', 'room', 'id', '\\u0066rom', '\\u0074ype', '__proto__')
  const value = fc.oneof(fc.constantFrom('"data"', '"join"', '"b"', '1', 'null', '{"type":"x"}'), fc.json())
  const text = fc.tuple(fc.constantFrom('', ' '), fc.array(fc.tuple(key, value), { minLength: 1, maxLength: 5 }))
    .map(([space, pairs]) => `${space}{"type":"data",${pairs.map(([name, json]) => `"${name}":${json}`).join(',')}}`)
  fc.assert(fc.property(text, text => {
    const { message } = decoded(text)
    if (message?.type !== 'data' || !isRelayable(Buffer.from(text), message)) return
    const out = JSON.parse(`{"from":"us","room":"ours",${text.slice(1)}`) as Record<string, unknown>
    assert.equal(out['from'], 'us')
    assert.equal(out['room'], 'ours')
    assert.equal(out['type'], 'data')
    assert.deepEqual(out['data'], message.data)
    assert.deepEqual(Object.keys(out).filter(name => !['from', 'room', 'type', 'data', 'to'].includes(name)), [])
  }), { numRuns: 1000 })
})

test('the kind of a signal is the type of its payload, where that is a string', () => {
  assert.equal(signalType({ type: 'offer' }), 'offer')
  for (const data of [undefined, null, 1, 'offer', [], {}, { type: 1 }, { type: null }, [{ type: 'offer' }]]) assert.equal(signalType(data), undefined)
})
