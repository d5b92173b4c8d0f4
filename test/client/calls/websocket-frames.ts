/** A frame of the WebSocket protocol (RFC 6455 §5.2) as it is on the wire, and its text if it is a text message. */
export interface WireFrame { bytes: Buffer, text: string | undefined }

const TEXT = 1

/** Cuts a stream of bytes into frames. Neither side of these tests splits a message. */
export class FrameSplitter {
  #rest: Buffer = Buffer.alloc(0)

  push (bytes: Buffer): WireFrame[] {
    this.#rest = Buffer.concat([this.#rest, bytes])
    const frames: WireFrame[] = []
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) frames.push(frame)
    return frames
  }

  #next (): WireFrame | undefined {
    const bytes = this.#rest
    if (bytes.length < 2) return undefined
    const isMasked = (bytes.readUInt8(1) & 0x80) !== 0
    const short = bytes.readUInt8(1) & 0x7f
    const lengthBytes = short === 127 ? 8 : short === 126 ? 2 : 0
    const maskAt = 2 + lengthBytes
    const start = maskAt + (isMasked ? 4 : 0)
    if (bytes.length < start) return undefined
    const length = lengthBytes === 0 ? short : bytes.readUIntBE(lengthBytes === 8 ? 4 : 2, lengthBytes === 8 ? 6 : 2)
    const end = start + length
    if (bytes.length < end) return undefined
    this.#rest = bytes.subarray(end)
    const payload = Buffer.from(bytes.subarray(start, end))
    if (isMasked) for (let i = 0; i < length; i++) payload[i] = (payload[i] ?? 0) ^ bytes.readUInt8(maskAt + i % 4)
    return { bytes: bytes.subarray(0, end), text: (bytes.readUInt8(0) & 0x0f) === TEXT ? payload.toString() : undefined }
  }
}
