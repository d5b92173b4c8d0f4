/** How far two clocks may be apart, s. */
export const CLOCK_TOLERANCE_S = 5

/** Who a connection belongs to. It comes from the token alone, never from a frame. */
export interface Identity {
  readonly userId: string
  readonly username: string
  readonly role: string
  /** Rooms that the token opens, `*` as a trailing wildcard; undefined: all of them. */
  readonly rooms: readonly string[] | undefined
  /** When the token ends, in seconds since 1970; undefined: never. */
  readonly expiresAt: number | undefined
}

/** Whether the token opens a room: its `rooms` claim names it, or it has no such claim. */
export function opens ({ rooms }: Identity, room: string): boolean {
  if (rooms === undefined) return true
  return rooms.some(name => name.endsWith('*') ? room.startsWith(name.slice(0, -1)) : room === name)
}

/** Whether the token may watch at all: admins watch every room, others the rooms that their claim names. */
export function mayWatch ({ role, rooms }: Identity): boolean {
  return role === 'admin' || rooms !== undefined
}

/** Whether a watcher is told of the births and deaths of a room. */
export function watches (identity: Identity, room: string): boolean {
  return identity.role === 'admin' || (identity.rooms !== undefined && opens(identity, room))
}

/** The time until which an identity is taken for valid, ms since 1970. */
export function validUntil ({ expiresAt }: Identity): number {
  return expiresAt === undefined ? Infinity : (expiresAt + CLOCK_TOLERANCE_S) * 1000
}
