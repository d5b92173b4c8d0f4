/**
 * What instances tell each other about a session that goes on at another of them, as bytes.
 *
 *     kind u8 | body
 *     body of a message: length u32 BE, JSON | frames that go with it: length u32 BE, frame …
 *     body of a forwarded frame: connection_id: length u8, ASCII | frame
 */
import { Type, type Static } from 'typebox'
import { Compile } from 'typebox/compile'
import { isRelayed, isWhole, payloadOf, typeOf, type Frame } from '../protocol/frame.ts'
import { serverMessageTypes } from '../protocol/messages.ts'

/** Kinds of records beside those of rooms (see record.ts). */
const MESSAGE = 3
const FORWARDED = 4

const text = Type.String()
const count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const member = Type.Object({ connection_id: text, user_id: text, username: text, joined_at: Type.Number() })

const schema = Type.Union([
  /** A client has come to the sender with a session that the receiver gave. */
  Type.Object({ kind: Type.Literal('ask'), request: text, key: text, seen: count, user_id: text, connection_id: text }),
  /** It cannot go on with the sender: the session is unknown, spent, over, or `elsewhere`, at the instance that asked for it before. */
  Type.Object({ kind: Type.Literal('refused'), request: text, elsewhere: Type.Optional(text) }),
  /** The sender goes away and has ended its sessions: to the client it is as if it had died. */
  Type.Object({ kind: Type.Literal('gone'), request: text }),
  /** It goes on with the receiver. The frames that it has missed go with it. `room`: where it is a member now, and in which life of it. */
  Type.Object({
    kind: Type.Literal('given'),
    request: text,
    username: text,
    received: count,
    watching: Type.Boolean(),
    /** Whether the store can be reached, as far as the client was told. */
    reached: Type.Boolean(),
    view: Type.Union([Type.Null(), Type.Object({ room: text, version: count, members: Type.Array(member) })]),
    room: Type.Union([Type.Null(), Type.Object({ room: text, epoch: text })])
  }),
  /** The sender knows that the member has moved: what it says in this room goes another way from now on. */
  Type.Object({ kind: Type.Literal('passed'), connection_id: text, version: count }),
  /** Nothing more will be forwarded: all that was on its way over the sender is there. */
  Type.Object({ kind: Type.Literal('done'), connection_id: text }),
  /** The sender could not go on with what it was given. */
  Type.Object({ kind: Type.Literal('aborted'), connection_id: text })
])
const messages = Compile(schema)

const peer = Type.Object({ connection_id: text, user_id: text, username: text })
/** What else than data is said to a client. Whoever goes on with its session takes its room from these. */
const said = Compile(Type.Union([
  Type.Object({ type: Type.Enum(['joined', 'resynced']), room: text, version: count, data: Type.Object({ members: Type.Array(member) }) }),
  Type.Object({ type: Type.Enum(['user_joined', 'user_resumed', 'user_left']), room: text, version: count, data: peer }),
  Type.Object({ type: Type.Enum(['left', 'room_disbanded']), data: Type.Object({ room: text }) }),
  Type.Object({ type: Type.Enum(serverMessageTypes.filter(type => !/^(joined|resynced|user_.*|left|room_disbanded|data)$/.test(type))) })
]))

export type HandoverMessage = Static<typeof schema>

export type HandoverRecord =
  | { readonly kind: 'message', readonly message: HandoverMessage, readonly frames: Frame[] }
  | { readonly kind: 'forwarded', readonly connectionId: string, readonly frame: Frame }

/** Whether a record from another instance is about a session, and not about a room. */
export function isHandover (record: Buffer): boolean {
  return record[0] === MESSAGE || record[0] === FORWARDED
}

export function encodeMessage (message: HandoverMessage, frames: readonly Frame[] = []): Buffer {
  return Buffer.concat([Buffer.of(MESSAGE), ...[Buffer.from(JSON.stringify(message)), ...frames].flatMap(part => [lengthOf(part), part])])
}

export function encodeForwarded (connectionId: string, frame: Frame): Buffer {
  return Buffer.concat([Buffer.of(FORWARDED, connectionId.length), Buffer.from(connectionId, 'latin1'), frame])
}

/** @throws RangeError or SyntaxError when the bytes are no such record: another instance's bug, or whoever else may publish in this Redis */
export function decodeHandover (record: Buffer): HandoverRecord {
  if (record[0] === FORWARDED) {
    const start = 2 + record.readUInt8(1)
    return { kind: 'forwarded', connectionId: record.toString('latin1', 2, start), frame: sound(record.subarray(start)) }
  }
  const [json, ...frames] = parts(record.subarray(1))
  const message: unknown = JSON.parse(String(json))
  if (!messages.Check(message)) throw new RangeError('that is no message about a session')
  return { kind: 'message', message, frames: frames.map(sound) }
}

function lengthOf (part: Buffer): Buffer {
  const length = Buffer.allocUnsafe(4)
  length.writeUInt32BE(part.length)
  return length
}

function parts (bytes: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    const end = at + 4 + bytes.readUInt32BE(at)
    if (end > bytes.length) throw new RangeError('a part is longer than its record')
    found.push(bytes.subarray(at + 4, end))
    at = end
  }
  return found
}

/** Frames from another instance go to sockets as they are, and are read once more when they are forgotten. */
function sound (frame: Buffer): Frame {
  if (isRelayed(frame)) return frame
  if (!isWhole(frame)) throw new RangeError('that is no frame')
  const message: unknown = payloadOf(frame)
  if (!said.Check(message) || message.type !== typeOf(frame)) throw new RangeError('that is no frame of a server')
  return frame
}
