import { isUtf8 } from 'node:buffer'

/** FIN and the opcode of text: a message in one frame, without extensions (RFC 6455 §5.2). */
const WHOLE_TEXT = 0x81
const MASKED = 0x80
const LENGTH_16 = 126
const LENGTH_64 = 127

/**
 * The text message that begins at `at`, if it is a usual one: in one frame, masked, here to its last byte, and UTF-8.
 * @param end where the chunk ends, for this purpose
 * @param mostBytes the largest message
 * @returns its text, unmasked where it lies in the chunk; undefined, and the chunk as it was, for whatever else is there
 */
export function wholeText (chunk: Buffer, at: number, end: number, mostBytes: number): Buffer | undefined {
  if (end - at < 6 || chunk[at] !== WHOLE_TEXT) return undefined
  const second = chunk[at + 1] ?? 0
  let length = second & 0x7f
  if (second < MASKED || length === LENGTH_64) return undefined
  let maskAt = at + 2
  if (length === LENGTH_16) {
    length = chunk.readUInt16BE(maskAt)
    maskAt += 2
  }
  const start = maskAt + 4
  if (length > mostBytes || start + length > end) return undefined
  applyMask(chunk, maskAt, start, length)
  const text = chunk.subarray(start, start + length)
  if (isUtf8(text)) return text
  applyMask(chunk, maskAt, start, length) // undoes it
  return undefined
}

/** XORs a payload with its mask (RFC 6455 §5.3). */
function applyMask (chunk: Buffer, maskAt: number, start: number, length: number): void {
  const a = chunk[maskAt] ?? 0
  const b = chunk[maskAt + 1] ?? 0
  const c = chunk[maskAt + 2] ?? 0
  const d = chunk[maskAt + 3] ?? 0
  const end = start + length
  let at = start
  for (; at + 3 < end; at += 4) {
    chunk[at] = (chunk[at] ?? 0) ^ a
    chunk[at + 1] = (chunk[at + 1] ?? 0) ^ b
    chunk[at + 2] = (chunk[at + 2] ?? 0) ^ c
    chunk[at + 3] = (chunk[at + 3] ?? 0) ^ d
  }
  if (at < end) chunk[at] = (chunk[at] ?? 0) ^ a
  if (at + 1 < end) chunk[at + 1] = (chunk[at + 1] ?? 0) ^ b
  if (at + 2 < end) chunk[at + 2] = (chunk[at + 2] ?? 0) ^ c
}
