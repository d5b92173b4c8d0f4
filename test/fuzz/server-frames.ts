/** Reads what a server sends over a WebSocket, strictly: RFC 6455 §5.2, without extensions. */

export interface ServerFrame { readonly isFinal: boolean, readonly opcode: number, readonly payload: Buffer }

/** The frames that bytes begin with, as far as they are whole. @param onRest told how many bytes are left over. @throws Error for what no server may send */
export function frames (bytes: Buffer, onRest: (rest: number) => void = rest => { if (rest > 0) throw new Error('a frame is cut off') }): ServerFrame[] {
  const found: ServerFrame[] = []
  let at = 0
  while (bytes.length - at >= 2) {
    const first = bytes.readUInt8(at)
    const second = bytes.readUInt8(at + 1)
    const start = at + (second === 127 ? 10 : second === 126 ? 4 : 2)
    if ((first & 0x70) !== 0) throw new Error('a frame with a reserved bit')
    if (second > 127) throw new Error('a masked frame')
    if (start > bytes.length) break
    const length = second === 127 ? Number(bytes.readBigUInt64BE(at + 2)) : second === 126 ? bytes.readUInt16BE(at + 2) : second
    if ((second === 126 && length < 126) || (second === 127 && length < 65_536)) throw new Error('a length that is written too long')
    if (start + length > bytes.length) break
    const opcode = first & 0x0f
    if (![0, 1, 8, 9, 10].includes(opcode)) throw new Error(`a frame with opcode ${opcode}`)
    if (opcode >= 8 && (length > 125 || (first & 0x80) === 0)) throw new Error('a control frame that is long or in pieces')
    found.push({ isFinal: (first & 0x80) !== 0, opcode, payload: bytes.subarray(start, start + length) })
    at = start + length
  }
  onRest(bytes.length - at)
  return found
}
