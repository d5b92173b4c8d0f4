import type { DisbandReason } from '../protocol/messages.ts'

/** The birth or the end of a room's life, as announced in the lobby. */
export type LobbyEvent =
  | { readonly type: 'room_created', readonly room: string, readonly epoch: string }
  | { readonly type: 'room_disbanded', readonly room: string, readonly epoch: string, readonly reason: DisbandReason }
