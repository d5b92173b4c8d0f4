/**
 * What instances tell each other through their inboxes, as bytes. No JSON around a relayed payload: the frame goes on
 * as it was built.
 *
 *     kind u8 | epoch: length u8, ASCII | room: length u8, ASCII | body
 *     body of data:   sender: length u8, ASCII | targets: count u16 BE, each length u8, ASCII | frame
 *     body of change: JSON
 *
 * The format's version is the first byte of the batch that records travel in (see the broker).
 */
import { Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { isRelayed, type Frame } from '../protocol/frame.ts'
import type { RosterChange } from '../presence/presence.ts'

const DATA = 1
const CHANGE = 2

/** A relayed frame for members of a room on another instance. */
export interface DataRecord {
  readonly kind: 'data'
  readonly epoch: string
  readonly room: string
  /** connection_id of the sender. */
  readonly sender: string
  /** connection_ids it is for; empty: every member on that instance. */
  readonly targets: readonly string[]
  readonly frame: Frame
}

/** A change of a room that another instance brought about. */
export interface ChangeRecord {
  readonly kind: 'change'
  readonly epoch: string
  readonly room: string
  readonly change: RosterChange
}

const version = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })
const text = Type.String()
/** Checked before a roster counts a version: half a change would leave it with members it does not know. */
const changes = Compile(Type.Union([
  Type.Object({ kind: Type.Enum(['joined', 'moved']), version, member: Type.Object({ connection_id: text, user_id: text, username: text, instance: text, joined_at: Type.Number() }) }),
  Type.Object({ kind: Type.Literal('left'), version, connectionId: text }),
  Type.Object({ kind: Type.Literal('disbanded'), version, reason: Type.Enum(['last_member_left', 'user_requested']) })
]))

/** @throws RangeError when a name is longer than 255 bytes, which rooms and ids never are */
export function encodeRecord (record: DataRecord | ChangeRecord): Buffer {
  if (record.kind === 'change') {
    return Buffer.concat([Buffer.from([CHANGE]), short(record.epoch), short(record.room), Buffer.from(JSON.stringify(record.change))])
  }
  const { epoch, room, sender, targets, frame } = record
  let length = 6 + epoch.length + room.length + sender.length + frame.length
  for (const target of targets) length += 1 + target.length
  const bytes = Buffer.allocUnsafe(length) // filled in one go, as it runs once a message that leaves
  let at = bytes.writeUInt8(DATA, 0)
  at = writeShort(bytes, room, writeShort(bytes, epoch, at))
  at = bytes.writeUInt16BE(targets.length, writeShort(bytes, sender, at))
  for (const target of targets) at = writeShort(bytes, target, at)
  bytes.set(frame, at)
  return bytes
}

/** @throws RangeError or SyntaxError when the bytes are no record: another instance's bug, or whoever else may publish in this Redis */
export function decodeRecord (bytes: Buffer): DataRecord | ChangeRecord {
  let at = 1
  const next = (): string => {
    const end = at + 1 + bytes.readUInt8(at)
    const text = bytes.toString('latin1', at + 1, end)
    at = end
    return text
  }
  const kind = bytes.readUInt8(0)
  const epoch = next()
  const room = next()
  if (kind === CHANGE) {
    const change: unknown = JSON.parse(bytes.toString('utf8', at))
    if (!changes.Check(change)) throw new RangeError('that is no change of a room')
    return { kind: 'change', epoch, room, change: change as RosterChange }
  }
  if (kind !== DATA) throw new RangeError(`unknown kind of record: ${kind}`)
  const sender = next()
  const count = bytes.readUInt16BE(at)
  at += 2
  const targets = Array.from({ length: count }, next)
  const frame = bytes.subarray(at)
  if (!isRelayed(frame)) throw new RangeError('that is no relayed frame')
  return { kind: 'data', epoch, room, sender, targets, frame }
}

/** Writes a short ASCII string behind its length in one byte. @returns where it ends */
function writeShort (bytes: Buffer, text: string, at: number): number {
  const start = bytes.writeUInt8(text.length, at)
  return start + bytes.write(text, start, 'latin1')
}

/** A short ASCII string behind its length in one byte. */
function short (text: string): Buffer {
  const bytes = Buffer.allocUnsafe(1 + text.length)
  writeShort(bytes, text, 0)
  return bytes
}
