/**
 * The yardstick for several instances: the bare relay, with one Redis channel a room. An instance that has a member of the
 * room subscribes, every message is published, and what an instance has published itself it passes over.
 */
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import { Redis } from 'ioredis'
import { WebSocketServer } from 'ws'
import { announce } from './listen.js'

/** Bytes before each message that say which instance has published it. */
const INSTANCE = randomBytes(8)

const url = process.env.REDIS_URL ?? 'redis://127.0.0.1:6379'
const publisher = new Redis(url, { enableAutoPipelining: true })
const subscriber = new Redis(url, { enableAutoPipelining: true })

/** @type {Map<string, Set<import('ws').WebSocket>>} */
const rooms = new Map()

subscriber.on('messageBuffer', (channel, record) => {
  if (record.subarray(0, INSTANCE.length).equals(INSTANCE)) return
  const message = record.subarray(INSTANCE.length)
  for (const member of rooms.get(channel.toString()) ?? []) member.send(message, { binary: false })
})

const http = createServer()
const sockets = new WebSocketServer({ server: http, perMessageDeflate: false, maxPayload: 65_536 })

sockets.on('connection', (socket, { url: room = '/' }) => {
  const members = rooms.get(room) ?? new Set()
  if (members.size === 0) {
    rooms.set(room, members)
    void subscriber.subscribe(room)
  }
  members.add(socket)
  socket.on('message', data => {
    const message = /** @type {Buffer} */ (data)
    for (const member of members) if (member !== socket) member.send(message, { binary: false })
    void publisher.publish(room, Buffer.concat([INSTANCE, message]))
  })
  socket.on('close', () => {
    members.delete(socket)
    if (members.size > 0) return
    rooms.delete(room)
    void subscriber.unsubscribe(room)
  })
})

http.listen(0, '127.0.0.1', () => { announce(http) })
