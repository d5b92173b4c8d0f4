/** Frames in a few words, for the event log. */

/** @param {string} id a connection_id */
const short = (id) => id.slice(0, 8)

const people = (count) => count === 1 ? '1 other' : `${count} others`

/** @param {any} data what a `data` frame carries */
function payload (data) {
  if (typeof data?.sdp === 'string') return `${data.type}, ${(data.sdp.length / 1024).toFixed(1)} kB`
  if (typeof data?.type === 'string') return data.type
  return JSON.stringify(data)?.slice(0, 60) ?? ''
}

/** By type; what is not here is told by its type alone. */
const DETAILS = {
  welcome: ({ data }) => `${short(data.connection_id)} on ${data.instance_id}`,
  join: ({ room }) => room,
  resumed: ({ data }) => `${data.room ?? 'in no room'}, ${data.missed} missed`,
  joined: ({ room, data }) => `${room}, ${people(data.members.length)}`,
  resynced: ({ room, data }) => `${room}, ${data.members.length} members`,
  ready: ({ data }) => data.username,
  user_joined: ({ data }) => data.username,
  user_left: ({ data }) => data.username,
  user_resumed: ({ data }) => data.username,
  left: ({ data }) => data.room,
  room_disbanded: ({ data }) => `${data.room}, ${data.reason}`,
  goaway: ({ data }) => `${data.reason}, back in ${data.reconnect_after_ms} ms`,
  degraded: ({ data }) => `redis ${data.redis}`,
  ice_servers: ({ data }) => `${data.ice_servers.length}`,
  error: ({ code, error }) => `${code}: ${error}`
}

/**
 * @param {any} frame as sent or received
 * @param {(id: string) => string} nameOf a member's name by connection_id
 * @returns {string}
 */
export function detailOf (frame, nameOf) {
  try {
    if (frame.type === 'report') return `${nameOf(frame.peer)}: ${frame.cause ?? `${frame.path}, ${frame.ms} ms`}`
    if (frame.type !== 'data') return DETAILS[frame.type]?.(frame) ?? ''
    if (frame.from) return `${payload(frame.data)} from ${frame.from.username}`
    return `${payload(frame.data)} to ${frame.to ? nameOf(frame.to) : 'all'}`
  } catch {
    // A frame without what its type promises is still an event.
    return JSON.stringify(frame).slice(0, 80)
  }
}
