import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

export interface SlowLine {
  port: number
  /** How long everything takes from now on, each way, ms. */
  delayMs: number
  /** What to do with a connection, the first being 0; false keeps it open and passes nothing on. */
  passes: (index: number, socket: Socket) => boolean
  /** What clients send, as it comes. */
  heard: (index: number, bytes: Buffer) => void
  close (): Promise<void>
}

/** A line to a port of this machine on which things take their time, or get lost. */
export async function openSlowLine (port: number): Promise<SlowLine> {
  const open = new Set<Socket>()
  let count = 0
  const server = createServer(near => {
    const index = count++
    keep(near)
    near.on('data', bytes => { line.heard(index, bytes) })
    if (!line.passes(index, near)) return
    const far = connect(port, '127.0.0.1')
    keep(far)
    pass(near, far)
    pass(far, near)
  })
  const line: SlowLine = {
    port: 0,
    delayMs: 0,
    passes: () => true,
    heard: () => {},
    close: async () => {
      server.close()
      for (const socket of open) socket.destroy()
    }
  }

  function keep (socket: Socket): void {
    open.add(socket)
    socket.on('error', () => {}) // 'close' tells the other end
    socket.on('close', () => { open.delete(socket) })
  }

  function pass (from: Socket, to: Socket): void {
    from.on('data', bytes => { setTimeout(() => { to.write(bytes) }, line.delayMs) })
    from.on('close', () => { setTimeout(() => { to.destroy() }, line.delayMs) })
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  line.port = (server.address() as AddressInfo).port
  return line
}
