/** RFC 6455 from the client's side, as far as a driver needs it: whole text frames out, unfragmented frames in. */

const TEXT = 0x1
const CLOSE = 0x8
const PING = 0x9
const PONG = 0xa
const FIN = 0x80
const MASKED = 0x80

// Any key will do here; not zero, as a server must have to unmask.
const MASK = Buffer.from([0x5a, 0xc3, 0x17, 0x9e])

/** What a frame is, and its payload. */
export type Incoming = { kind: 'text' | 'close' | 'ping' | 'other', payload: Buffer }

function encode (opcode: number, payload: Buffer): Buffer {
  const { length } = payload
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8
  const frame = Buffer.allocUnsafe(2 + extended + 4 + length)
  frame[0] = FIN | opcode
  frame[1] = MASKED | (extended === 0 ? length : extended === 2 ? 126 : 127)
  if (extended === 2) frame.writeUInt16BE(length, 2)
  if (extended === 8) frame.writeBigUInt64BE(BigInt(length), 2)
  MASK.copy(frame, 2 + extended)
  const start = 6 + extended
  for (let i = 0; i < length; i++) frame[start + i] = (payload[i] ?? 0) ^ (MASK[i & 3] ?? 0)
  return frame
}

export function textFrame (text: string): Buffer {
  return encode(TEXT, Buffer.from(text))
}

export function pongFrame (payload: Buffer): Buffer {
  return encode(PONG, payload)
}

/** A Close with code 1000. */
export function closeFrame (): Buffer {
  return encode(CLOSE, Buffer.from([0x03, 0xe8]))
}

/** Cuts what a socket delivers into frames. The payloads are views: they hold only while the callback runs. */
export function createFrameReader (onFrame: (frame: Incoming) => void): (chunk: Buffer) => void {
  let rest: Buffer | undefined
  return chunk => {
    const bytes = rest === undefined ? chunk : Buffer.concat([rest, chunk])
    rest = undefined
    let at = 0
    while (bytes.length - at >= 2) {
      const opcode = (bytes[at] ?? 0) & 0xf
      const short = (bytes[at + 1] ?? 0) & 0x7f
      const head = short < 126 ? 2 : short === 126 ? 4 : 10
      if (bytes.length - at < head) break
      const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2))
      if (bytes.length - at < head + length) break
      const payload = bytes.subarray(at + head, at + head + length)
      at += head + length
      onFrame({ kind: opcode === TEXT ? 'text' : opcode === CLOSE ? 'close' : opcode === PING ? 'ping' : 'other', payload })
    }
    if (at < bytes.length) rest = bytes.subarray(at)
  }
}
