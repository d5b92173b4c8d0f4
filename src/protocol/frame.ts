/**
 * A text frame as bytes, built once for all its receivers. A server's frames are not masked (RFC 6455 §5.1), so
 * one Buffer serves every socket, here and on other instances.
 */
import type { PeerInfo, ServerMessage, ServerMessageType } from './messages.ts'

/** One whole WebSocket text frame, header and payload. Nobody may change its bytes: many sockets share them. */
export type Frame = Buffer

/** First byte of an unfragmented text frame: FIN, opcode 1 (RFC 6455 §5.2). */
const FIN_TEXT = 0x81
const LENGTH_16 = 126
const LENGTH_64 = 127
const LETTER_F = 0x66
/** Node makes small buffers out of pieces of this size. */
const SHARED_BYTES = 8192
/** A frame that is kept may hold so many times its own bytes. */
const PINNED_FACTOR = 2
const QUOTE = 0x22

/** The frame of one message of the server. */
export function frameOf (message: ServerMessage): Frame {
  const text = JSON.stringify(message)
  const length = Buffer.byteLength(text)
  const frame = allocate(length)
  frame.write(text, frame.length - length)
  return frame
}

/**
 * What every frame relayed from one member of one room begins with. Made once when the peer joins.
 * @returns `{"from":{…},"room":"…",` as UTF-8
 */
export function relayPrefix (from: PeerInfo, room: string): Buffer {
  return Buffer.from(`${JSON.stringify({ from, room }).slice(0, -1)},`)
}

/**
 * The frame of a relayed message whose bytes go on as the client wrote them.
 * @param prefix from `relayPrefix`
 * @param text the client's own JSON object as UTF-8, its first byte being `{` and at least one key in it
 */
export function relayFrame (prefix: Buffer, text: Buffer): Frame {
  const length = prefix.length + text.length - 1
  const frame = allocate(length)
  const start = frame.length - length
  frame.set(prefix, start)
  text.copy(frame, start + prefix.length, 1)
  return frame
}

/**
 * A frame that is to be kept for a while: itself, or a copy where it would hold much more than its own bytes. One from
 * another instance is a part of all that came with it, which may be megabytes.
 */
export function unpinned (frame: Frame): Frame {
  const { byteLength } = frame.buffer
  return byteLength > SHARED_BYTES && byteLength > PINNED_FACTOR * frame.length ? Buffer.from(frame) : frame
}

/** The `type` of a frame that was made here, for statistics: read off its first bytes, as it runs once a delivery. */
export function typeOf (frame: Frame): ServerMessageType {
  const start = payloadStart(frame)
  // a relayed frame begins with {"from", every other with {"type":"…"
  if (frame[start + 2] === LETTER_F) return 'data'
  return frame.toString('latin1', start + 9, frame.indexOf(QUOTE, start + 9)) as ServerMessageType
}

/** The message of a frame that was made here. */
export function payloadOf (frame: Frame): ServerMessage {
  return JSON.parse(frame.toString('utf8', payloadStart(frame))) as ServerMessage
}

/** Where the payload of an unmasked frame begins (RFC 6455 §5.2). */
function payloadStart (frame: Frame): number {
  return frame[1] === LENGTH_64 ? 10 : frame[1] === LENGTH_16 ? 4 : 2
}

/** What the payload of a relayed frame begins with: as its sender wrote it behind our prefix, or made anew. */
const RELAYED = /^\{"(?:from":\{|type":"data",)/

/** Whether bytes are one whole text frame: those from another instance go to sockets as they are. */
export function isWhole (bytes: Buffer): boolean {
  if (bytes.length < 2 || bytes[0] !== FIN_TEXT) return false
  const start = payloadStart(bytes)
  if (bytes.length < start) return false
  const stated = start === 2 ? bytes.readUInt8(1) : start === 4 ? bytes.readUInt16BE(2) : bytes.readUInt32BE(2) * 2 ** 32 + bytes.readUInt32BE(6)
  return bytes.length === start + stated
}

/** Whether bytes are one whole frame as the relay builds them. */
export function isRelayed (bytes: Buffer): boolean {
  if (!isWhole(bytes)) return false
  const start = payloadStart(bytes)
  return RELAYED.test(bytes.toString('latin1', start, start + 15))
}

/** A Buffer for a payload of `length` bytes with its header in place, the payload still to be written at its end. */
function allocate (length: number): Buffer {
  if (length < LENGTH_16) {
    const frame = Buffer.allocUnsafe(2 + length)
    frame[0] = FIN_TEXT
    frame[1] = length
    return frame
  }
  if (length < 65536) {
    const frame = Buffer.allocUnsafe(4 + length)
    frame[0] = FIN_TEXT
    frame[1] = LENGTH_16
    frame.writeUInt16BE(length, 2)
    return frame
  }
  const frame = Buffer.allocUnsafe(10 + length)
  frame[0] = FIN_TEXT
  frame[1] = LENGTH_64
  frame.writeUInt32BE(0, 2)
  frame.writeUInt32BE(length, 6)
  return frame
}
