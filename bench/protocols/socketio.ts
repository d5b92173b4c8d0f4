import type { Protocol } from './protocol.ts'

const PING = 0x32 // "2" of engine.io, in a frame of its own

/** Socket.IO over a WebSocket: engine.io's open, the default namespace, a join with an acknowledgement, events named `data`. */
export const socketio: Protocol = {
  path: () => '/socket.io/?EIO=4&transport=websocket',
  enter ({ room }, frame, say) {
    const text = frame?.toString() ?? ''
    if (text.startsWith('0')) say('40')
    if (text.startsWith('40')) say(`420["join","${room}"]`)
    return text.startsWith('430')
  },
  wrap: payload => `42["data",${payload}]`,
  isMessage (frame, say) {
    if (frame[0] === PING && frame.length === 1) say('3')
    return frame.indexOf('42["data"') === 0
  }
}
