import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { tokenFor } from '../harness/token.ts'

/** A connection to a server, over which nothing was sent yet. Whatever happens to it, it only closes. */
export async function rawSocket (url: string): Promise<Socket> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  socket.on('error', () => {}) // 'close' tells
  return socket
}

/** Waits until a socket is closed, in whatever way. */
export async function closeOf (socket: Socket): Promise<void> {
  if (!socket.closed) await new Promise<void>(resolve => { socket.resume().once('close', () => { resolve() }) })
}

/** The head of a request that opens a WebSocket. @param query more of it, behind the token */
export function upgradeHead (path: string, userId: string, query = ''): string {
  return `GET ${path}?token=${tokenFor(userId)}${query} HTTP/1.1\r\nHost: turnip\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`
}

/** A WebSocket that is open, and whose client reads what comes and answers nothing: no ping, no close. */
export async function deafWebSocket (url: string, userId: string): Promise<Socket> {
  const socket = await rawSocket(url)
  socket.write(upgradeHead('/ws', userId))
  const [head] = await once(socket, 'data') as [Buffer]
  if (!head.toString('latin1').startsWith('HTTP/1.1 101 ')) throw new Error(head.toString('latin1'))
  socket.resume()
  return socket
}
