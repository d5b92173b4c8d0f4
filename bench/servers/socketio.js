/** Socket.IO as its guide has it: a room is joined by an event, messages go to its others. With REDIS_URL, over its Redis adapter. */
import { createServer } from 'node:http'
import { createAdapter } from '@socket.io/redis-adapter'
import { Redis } from 'ioredis'
import { Server } from 'socket.io'
import { announce } from './listen.js'

const http = createServer()
const io = new Server(http, { transports: ['websocket'], serveClient: false })

const { REDIS_URL = '' } = process.env
if (REDIS_URL.startsWith('redis:')) {
  const publisher = new Redis(REDIS_URL)
  io.adapter(createAdapter(publisher, publisher.duplicate()))
}

io.on('connection', socket => {
  /** @type {string | undefined} */
  let room
  socket.on('join', async (name, done) => {
    await socket.join(name)
    room = name
    done()
  })
  socket.on('data', data => {
    if (room !== undefined) socket.to(room).emit('data', data)
  })
})

http.listen(0, '127.0.0.1', () => { announce(http) })
