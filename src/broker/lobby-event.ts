import { Type } from 'typebox'
import { Compile } from 'typebox/compile'
import type { DisbandReason } from '../protocol/messages.ts'

/** The birth or the end of a room's life, as announced in the lobby. */
export type LobbyEvent =
  | { readonly type: 'room_created', readonly room: string, readonly epoch: string }
  | { readonly type: 'room_disbanded', readonly room: string, readonly epoch: string, readonly reason: DisbandReason }

const text = Type.String()
const events = Compile(Type.Union([
  Type.Object({ type: Type.Literal('room_created'), room: text, epoch: text }),
  Type.Object({ type: Type.Literal('room_disbanded'), room: text, epoch: text, reason: Type.Enum(['last_member_left', 'user_requested']) })
]))

/** @throws RangeError or SyntaxError when the bytes are no announcement: whoever may publish in this Redis may have sent them */
export function lobbyEventOf (bytes: Buffer): LobbyEvent {
  const event: unknown = JSON.parse(bytes.toString())
  if (!events.Check(event)) throw new RangeError('that is no announcement')
  return event as LobbyEvent
}
