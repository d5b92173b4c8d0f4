/** Clients that join a room and then only answer pings: to be stopped from outside. Arguments: their addresses. */
import WebSocket from 'ws'

const urls = process.argv.slice(2)
let joined = 0
for (const url of urls) {
  const socket = new WebSocket(url, { perMessageDeflate: false })
  socket.on('open', () => { socket.send(JSON.stringify({ type: 'join', room: 'half-open' })) })
  socket.on('message', data => {
    if (String(data).startsWith('{"type":"joined"') && ++joined === urls.length) process.send?.('joined')
  })
}
process.on('disconnect', () => process.exit())
