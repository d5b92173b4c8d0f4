import type { Protocol } from './protocol.ts'

/** PeerJS: no rooms, each message names its receiver. Its clients send a HEARTBEAT every 5 s; the server waits 60 s for one. */
export const peerjs: Protocol = {
  path: ({ id }) => `/peerjs?key=peerjs&id=${id}&token=t${id}`,
  enter: (_member, frame) => frame?.includes('"OPEN"') ?? false,
  wrap: (payload, { id }) => `{"type":"CANDIDATE","payload":${payload},"dst":"${id}"}`,
  isMessage: frame => frame.includes('"payload"')
}
