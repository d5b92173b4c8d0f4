/** Texts as an attacker writes them: JSON in every spelling the grammar allows, and a little beyond it. */
import fc, { type Arbitrary } from 'fast-check'
import { clientMessages } from '../../src/protocol/messages.ts'

const KEYS = ['type', 'data', 'to', 'from', 'room', 'id', 'user_id', 'token', 'seen', 'peer', 'result', 'ms', 'path', 'cause', '__proto__', 'constructor', 'toString', 'hasOwnProperty', '', 'Type', 'type ', '0']
const STRINGS = ['data', 'join', 'failed', 'connected', 'relay', 'x', 'b', 'c', 'nobody', 'r', '*', '{r}', '\0', '\ud800', '\udfff\ud800', '\u{1F600}', 'é', 'e\u0301', '__proto__', '"', '\\', '</script>', '\u2028']
const NUMBERS = ['0', '-0', '1', '-1.5', '1e999', '-1e999', '1e-999', '12345678901234567890', '9007199254740993', '0.1', '1E+2', '01', '1.', '.5', '+1', '0x1', 'NaN', 'Infinity', '-']
const SPACE = fc.oneof({ weight: 12, arbitrary: fc.constant('') }, { weight: 3, arbitrary: fc.constantFrom(' ', '\n', '\t', '\r\n', '  ') }, { weight: 1, arbitrary: fc.constantFrom('\ufeff', '\u00a0', '\v', '/**/') })

const letters = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...STRINGS) }, { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) })

/** A string as JSON: each character as it is, escaped by its number, or escaped by its name, as the bits say. */
function spell (text: string, bits: number): string {
  let out = ''
  for (let i = 0; i < text.length; i++) {
    const how = (bits >>> (2 * i % 30)) & 3
    const plain = JSON.stringify(text.charAt(i)).slice(1, -1)
    const number = text.charCodeAt(i).toString(16).padStart(4, '0')
    out += how === 1 ? `\\u${number}` : how === 2 ? `\\u${number.toUpperCase()}` : plain
  }
  return `"${out}"`
}

/** Mostly as it is; the bits are 0 then. */
const bits = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(2 ** 30) })
const spelled = (text: Arbitrary<string>): Arbitrary<string> => fc.tuple(text, bits).map(([plain, how]) => spell(plain, how))

const key = spelled(fc.oneof({ weight: 8, arbitrary: fc.constantFrom(...KEYS) }, { weight: 1, arbitrary: letters }))

const { value } = fc.letrec<{ value: string, list: string, object: string }>(tie => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    { weight: 4, arbitrary: spelled(letters) },
    { weight: 3, arbitrary: fc.constantFrom(...NUMBERS) },
    { weight: 2, arbitrary: fc.constantFrom('true', 'false', 'null') },
    { weight: 1, arbitrary: fc.json({ maxDepth: 2 }) },
    { weight: 2, arbitrary: tie('list') },
    { weight: 3, arbitrary: tie('object') }
  ),
  list: fc.tuple(fc.array(tie('value'), { maxLength: 4 }), SPACE).map(([items, space]) => `[${items.join(`${space},`)}${space}]`),
  object: fc.array(fc.tuple(key, SPACE, SPACE, tie('value')), { maxLength: 4 }).map(pairs => `{${pairs.map(([name, before, after, json]) => `${name}${before}:${after}${json}`).join(',')}}`)
}))

/** Nests as deeply as 64 KiB allow. */
const deep = fc.tuple(fc.integer({ min: 1000, max: 30_000 }), fc.boolean()).map(([depth, isList]) => isList ? `${'['.repeat(depth)}${']'.repeat(depth)}` : `${'{"a":'.repeat(depth / 2)}1${'}'.repeat(depth / 2)}`)
/** As many keys as fit, integers among them (which an object keeps in another place). */
const wide = fc.tuple(fc.integer({ min: 1000, max: 6000 }), fc.nat(1000)).map(([count, first]) => `{${Array.from({ length: count }, (_, i) => `"${first + i}":0`).join()}}`)

const typeText = spelled(fc.constantFrom(...Object.keys(clientMessages), 'what', ''))
const pair = fc.tuple(
  fc.oneof({ weight: 3, arbitrary: fc.constantFrom('"data"', '"to"', '"id"', '"room"', '"token"') }, { weight: 2, arbitrary: key }),
  SPACE, SPACE,
  fc.oneof({ weight: 40, arbitrary: value }, { weight: 20, arbitrary: typeText }, { weight: 1, arbitrary: fc.oneof(deep, wide) })
).map(([name, before, after, json]) => `${name}${before}:${after}${json}`)

/** Reports of calls have more fields than chance would put together: most of them are right here. */
const reportText = fc.record({
  type: fc.constant('"report"'),
  peer: fc.oneof({ weight: 4, arbitrary: fc.constant('"b"') }, { weight: 1, arbitrary: fc.constantFrom(256, 257, 0).map(length => `"${'x'.repeat(length)}"`) }, { weight: 2, arbitrary: value }),
  result: fc.oneof({ weight: 4, arbitrary: fc.constantFrom('"connected"', '"failed"') }, { weight: 1, arbitrary: value }),
  ms: fc.oneof({ weight: 4, arbitrary: fc.constantFrom('0', '1200', '0.5', '3600000', '3600000.1', '-1', '1e999') }, { weight: 1, arbitrary: value }),
  path: fc.oneof({ weight: 4, arbitrary: fc.constantFrom('"host"', '"srflx"', '"prflx"', '"relay"', '"HOST"') }, { weight: 1, arbitrary: value }),
  cause: value,
  id: fc.constantFrom('1', '"x"', 'null')
}, { requiredKeys: ['type'] }).map(fields => `{${Object.entries(fields).map(([name, json]) => `"${name}":${json}`).join(',')}}`)

const objectText = fc.tuple(
  SPACE,
  fc.oneof(
    { weight: 3, arbitrary: fc.constant('"type":"data",') },
    { weight: 3, arbitrary: typeText.map(type => `"type":${type},`) },
    { weight: 1, arbitrary: fc.constantFrom('', '"type" :"data",', '"type":"data" ,', '"\\u0074ype":"data",', '"type":"d\\u0061ta",', '"type":"data","type":"x",', '"type":"x","type":"data",', '"from":{"user_id":"root"},"type":"data",') }
  ),
  fc.array(pair, { maxLength: 5 }),
  fc.constantFrom('}', '}', '}', '}', '} ', '}\n', '', '}}', ',}', '}\0')
).map(([space, start, pairs, end]) => `${space}{${pairs.length === 0 ? start.replace(/,$/, '') : start}${pairs.join(',')}${end}`)

/** Most are messages, or almost; some are any JSON. */
export const messageText: Arbitrary<string> = fc.oneof({ weight: 8, arbitrary: objectText }, { weight: 1, arbitrary: reportText }, { weight: 1, arbitrary: value })

/** The same as bytes, of which one in a few is changed, cut off or doubled. */
export const messageBytes: Arbitrary<Buffer> = fc.tuple(messageText, fc.integer({ min: 0, max: 11 }), fc.nat(), fc.nat(255)).map(([text, how, at, byte]) => mutate(Buffer.from(text), how, at, byte))

/** One small change to bytes. @param how 0 to 3; any other number changes nothing */
export function mutate (bytes: Buffer, how: number, at: number, byte: number): Buffer {
  const place = bytes.length === 0 ? 0 : at % bytes.length
  if (how === 0 && bytes.length > 0) bytes[place] = byte
  if (how === 1 && bytes.length > 0) bytes[place] = (bytes[place] ?? 0) ^ (1 << byte % 8)
  if (how === 2) return bytes.subarray(0, place)
  if (how === 3) return Buffer.concat([bytes.subarray(0, place), Buffer.from([byte]), bytes.subarray(place)])
  return bytes
}
