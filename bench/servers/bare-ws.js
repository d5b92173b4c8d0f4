/**
 * The yardstick: as little as a relay of rooms takes with `ws`. The address names the room, and what a member sends goes to
 * the others as it is. No token, no join, no limit, no log.
 */
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'
import { announce } from './listen.js'

/** @type {Map<string, Set<import('ws').WebSocket>>} */
const rooms = new Map()

const http = createServer()
const sockets = new WebSocketServer({ server: http, perMessageDeflate: false, maxPayload: 65_536 })

sockets.on('connection', (socket, { url = '/' }) => {
  const members = rooms.get(url) ?? new Set()
  rooms.set(url, members)
  members.add(socket)
  socket.on('message', message => {
    for (const member of members) if (member !== socket) member.send(message, { binary: false })
  })
  socket.on('close', () => {
    members.delete(socket)
    if (members.size === 0) rooms.delete(url)
  })
})

http.listen(0, '127.0.0.1', () => { announce(http) })
