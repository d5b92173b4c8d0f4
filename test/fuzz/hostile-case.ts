/** What hostile clients send: a case is drawn from a seed and its number alone, so that it can be sent again. */
import fc from 'fast-check'
import { Random } from '../chaos/random.ts'
import { sign } from '../harness/token.ts'
import { messageText } from './json-text.ts'

/** How a client goes on when all is sent: says nothing any more, ends its side, or tears the connection. */
export type Ending = 'silence' | 'end' | 'reset'

export interface HostileCase {
  readonly index: number
  /** Which of the instances it goes to. */
  readonly instance: number
  /** What is written, each in a write of its own. */
  readonly chunks: readonly Buffer[]
  readonly ending: Ending
}

/** The room of the clients that behave, which no hostile token opens. */
export const QUIET_ROOM = 'pair'
/** Where one that behaves listens to what hostile clients say. */
export const LOUD_ROOM = 'fuzz-0'
const ROOMS = [LOUD_ROOM, LOUD_ROOM, 'fuzz-1', 'fuzz-2', QUIET_ROOM, 'fuzz-*', 'fuzz-\0']
const USERS = 40
/** Fixed, as a case must be the same tomorrow: 2020 and 2100, s since 1970. */
const times = { iat: 1_577_836_800, exp: 4_102_444_800 }
const EDGES = [0x00, 0xff, 0x7f, 0x80, 0x0d, 0x0a, 0x20, 0x22, 0x3a, 0x25, 0x7b, 0x7d]
const TEXTS = 1000
/** The most bytes of one case: some are beyond MAX_PAYLOAD_BYTES, which is 64 KiB. */
const LARGE = 70_000

const bytesOf = (random: Random, length: number): Buffer => Buffer.from(Array.from({ length }, () => random.below(256)))

/** Draws cases from a seed. */
export class HostileCases {
  readonly #seed: number
  readonly #instances: number
  readonly #texts: readonly string[]
  readonly #tokens: readonly string[]

  constructor (seed: number, instances: number) {
    this.#seed = seed
    this.#instances = instances
    this.#texts = fc.sample(messageText, { seed, numRuns: TEXTS })
    this.#tokens = Array.from({ length: USERS }, (_, i) => {
      const user = `fuzz-${i}`
      return sign({ user_id: user, username: user, role: 'user', is_verified: 'true', type: 'ACCESS_TOKEN', realm: 'development', rooms: ['fuzz-*'], ...times })
    })
  }

  case (index: number): HostileCase {
    const random = new Random(this.#seed, 'case', index)
    const kind = random.next()
    const parts: Buffer[] = []
    if (kind < 0.08) parts.push(bytesOf(random, random.below(600)))
    else if (kind < 0.33) parts.push(mutated(random, this.#request(random)))
    else if (kind < 0.43) parts.push(this.#request(random), mutated(random, this.#request(random)), ...this.#frames(random))
    else if (kind < 0.55) parts.push(this.#opening(random), ...this.#frames(random))
    else if (kind < 0.92) parts.push(this.#opening(random), mutated(random, Buffer.concat(this.#frames(random))))
    else parts.push(mutated(random, Buffer.concat([this.#opening(random), ...this.#frames(random)])), bytesOf(random, random.below(40)))
    return {
      index,
      instance: random.below(this.#instances),
      chunks: chunked(random, Buffer.concat(parts)),
      ending: random.pick<Ending>(['silence', 'silence', 'end', 'end', 'reset'])
    }
  }

  /** A request that opens a WebSocket. */
  #opening (random: Random, path = '/ws'): Buffer {
    const token = random.pick(this.#tokens)
    const key = bytesOf(random, 16).toString('base64')
    const [query, headers] = random.pick([
      [`?token=${token}`, ''], ['', `Authorization: Bearer ${token}\r\n`], ['', `Sec-WebSocket-Protocol: turnip, bearer.${token}\r\n`]
    ] as const)
    const more = random.chance(0.3) ? random.pick(['Origin: http://a.example\r\n', 'Origin: null\r\n', 'X-Forwarded-For: 10.0.0.1\r\n', 'Sec-WebSocket-Extensions: permessage-deflate\r\n']) : ''
    return Buffer.from(`GET ${path}${query} HTTP/1.1\r\nHost: turnip\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n${headers}${more}\r\n`)
  }

  #request (random: Random): Buffer {
    const plain = (line: string, more = ''): Buffer => Buffer.from(`${line} HTTP/1.1\r\nHost: turnip\r\n${more}\r\n`)
    const body = random.pick(this.#texts).slice(0, 1000)
    return random.pick([
      () => this.#opening(random),
      () => this.#opening(random),
      () => this.#opening(random, random.pick(['/', '/health', '/metrics', '/ws/', '//ws', '/ws%2f', '/%', '*'])),
      () => plain(`GET /ws?token=${random.pick(this.#tokens)}`),
      () => plain(`GET ${random.pick(['/health', '/health/live', '/info', '/ice-servers', '/', '/nowhere', '/%ff', '/..%2f..%2fetc%2fpasswd'])}`),
      () => plain('OPTIONS /ws', 'Origin: http://a.example\r\nAccess-Control-Request-Method: GET\r\n'),
      () => plain(`${random.pick(['POST', 'PUT', 'DELETE', 'HEAD', 'CONNECT', 'PRI', 'TRACE'])} ${random.pick(['/ws', '/health', '/generate-token', 'turnip:80'])}`, `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body) + random.pick([0, 0, 1, -1, 1e9])}\r\n\r\n${body}`),
      () => plain('GET /ws', `X: ${'x'.repeat(random.below(20_000))}\r\n`),
      () => plain('POST /health', 'Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n')
    ])()
  }

  /** Frames of a client: mostly whole texts, in their proper mask. */
  #frames (random: Random): Buffer[] {
    const count = 1 + random.below(random.chance(0.05) ? 200 : 8)
    const join = frame(random, 1, Buffer.from(JSON.stringify({ type: 'join', room: random.pick(ROOMS) })))
    const frames = Array.from({ length: count }, () => {
      const kind = random.next()
      if (kind < 0.6) return frame(random, 1, Buffer.from(this.#text(random)))
      if (kind < 0.7) return this.#pieces(random)
      if (kind < 0.78) return frame(random, random.pick([8, 9, 10]), bytesOf(random, random.below(130)))
      if (kind < 0.84) return frame(random, 8, Buffer.concat([Buffer.from([random.below(256), random.below(256)]), Buffer.from('bye')]))
      if (kind < 0.88) return frame(random, 2, bytesOf(random, random.below(50)))
      if (kind < 0.92) return frame(random, 1, bytesOf(random, random.below(50)))
      return frame(random, random.below(16), Buffer.from(this.#text(random)), { isFinal: random.chance(0.5), reserved: random.below(8), isMasked: random.chance(0.7), stated: random.pick([-1, -1, 0, 125, 126, 127, 65_535, 2 ** 31, 2 ** 40]) })
    })
    return random.chance(0.7) ? [join, ...frames] : frames
  }

  #text (random: Random): string {
    if (random.chance(0.01)) return JSON.stringify({ type: 'data', data: 'x'.repeat(random.below(LARGE)) })
    if (random.chance(0.4)) return random.pick(this.#texts)
    return JSON.stringify(random.pick<object>([
      { type: 'join', room: random.pick(ROOMS) }, { type: 'join', room: random.pick(ROOMS), id: 1 }, { type: 'leave' }, { type: 'leave', id: 'x' },
      { type: 'data', data: { type: 'offer' } }, { type: 'data', data: 1, from: { user_id: 'ada' }, room: QUIET_ROOM }, { type: 'data', to: 'listener', data: 'psst' },
      { type: 'data', to: `fuzz-${random.below(USERS)}`, data: [] }, { type: 'disband_room' }, { type: 'watch' }, { type: 'unwatch' }, { type: 'ping', id: 7 },
      { type: 'refresh', token: random.pick(this.#tokens) }, { type: 'refresh', token: 'x.y.z' },
      { type: 'report', peer: 'listener', result: 'failed', ms: 1, cause: '\u001b[31m\n' }, { type: 'report', peer: 'x', result: 'connected', ms: 1e300, path: 'relay' }
    ]))
  }

  /** One message in pieces, now and then with a ping between them, or one piece too many. */
  #pieces (random: Random): Buffer {
    const whole = Buffer.from(this.#text(random))
    const count = 1 + random.below(random.chance(0.1) ? 80 : 5)
    const size = Math.ceil(whole.length / count)
    return Buffer.concat(Array.from({ length: count }, (_, i) => Buffer.concat([
      frame(random, i === 0 ? 1 : 0, whole.subarray(i * size, (i + 1) * size), { isFinal: i === count - 1 }),
      random.chance(0.1) ? frame(random, 9, Buffer.from('p')) : Buffer.alloc(0)
    ])))
  }
}

interface FrameTraits { isFinal?: boolean, reserved?: number, isMasked?: boolean, stated?: number }

/** A client's frame (RFC 6455 §5.2), right or wrong. @param traits stated: another length than the payload's; -1 for its own */
function frame (random: Random, opcode: number, payload: Buffer, { isFinal = true, reserved = 0, isMasked = true, stated: claimed = -1 }: FrameTraits = {}): Buffer {
  const stated = claimed < 0 ? payload.length : claimed
  const mask = isMasked ? bytesOf(random, 4) : Buffer.alloc(0)
  const length = stated < 126 ? Buffer.from([stated]) : stated < 65_536 ? Buffer.from([126, stated >> 8, stated & 255]) : Buffer.alloc(9, 127)
  if (stated >= 65_536) length.writeBigUInt64BE(BigInt(stated), 1)
  length[0] = (length[0] ?? 0) | (isMasked ? 0x80 : 0)
  const body = isMasked ? payload.map((byte, i) => byte ^ (mask[i % 4] ?? 0)) : payload
  return Buffer.concat([Buffer.from([(isFinal ? 0x80 : 0) | (reserved << 4) | opcode]), length, mask, body])
}

/** Some changes: bits turned, bytes written over, taken out, doubled, put in, cut off. */
function mutated (random: Random, given: Buffer): Buffer {
  let bytes = Buffer.from(given)
  for (let changes = random.pick([0, 1, 1, 1, 2, 3, 8]); changes > 0 && bytes.length > 0; changes--) {
    const at = random.below(bytes.length)
    const end = Math.min(bytes.length, at + 1 + random.below(random.chance(0.5) ? 4 : 200))
    const [before, range, after] = [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)]
    bytes = random.pick([
      () => { bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8)); return bytes },
      () => { bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8)); return bytes },
      () => { bytes[at] = random.pick(EDGES); return bytes },
      () => { bytes[at] = random.below(256); return bytes },
      () => Buffer.concat([before, after]),
      () => Buffer.concat([before, range, range, after]),
      () => Buffer.concat([before, bytesOf(random, 1 + random.below(10)), range, after]),
      () => Buffer.from(before)
    ])()
  }
  return bytes
}

function chunked (random: Random, bytes: Buffer): Buffer[] {
  const cuts = Array.from({ length: random.pick([0, 0, 1, 2, 5, 20]) }, () => random.below(bytes.length + 1)).toSorted((a, b) => a - b)
  return [0, ...cuts].map((cut, i) => bytes.subarray(cut, cuts[i] ?? bytes.length)).filter(({ length }) => length > 0)
}
