import type { Protocol } from './protocol.ts'

/** The bare relay: the path names the room, and each frame is a message. */
export const ws: Protocol = {
  path: ({ room }) => `/${room}`,
  enter: () => true,
  wrap: payload => payload,
  isMessage: () => true
}
