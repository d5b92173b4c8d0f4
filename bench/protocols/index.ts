import { peerjs } from './peerjs.ts'
import type { Protocol } from './protocol.ts'
import { socketio } from './socketio.ts'
import { sessions, turnip } from './turnip.ts'
import { ws } from './ws.ts'

export const protocols = { turnip, sessions, ws, peerjs, socketio } as const satisfies Record<string, Protocol>
export type ProtocolName = keyof typeof protocols
