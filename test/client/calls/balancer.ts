import { once } from 'node:events'
import { createServer, Socket, type AddressInfo, type Server } from 'node:net'
import { END_OF_HEAD, HOST, Line, type Passes } from './line.ts'

/** How often instances are asked whether they take clients. */
const HEALTH_EVERY_MS = 250

export interface BalancerOptions {
  /** The ports of the instances. */
  instances: () => number[]
  /** Where a user's next connection goes, if that instance takes clients; otherwise to the next one that does. */
  place: (user: string) => number
  passes: Passes
}

/** One address for many instances, as clients of a real service see it. It knows users by their tokens, and instances by their health. */
export class Balancer {
  readonly #options: BalancerOptions
  readonly #servers = new Set<Server>()
  readonly #sockets = new Set<Socket>()
  #takes: boolean[] = []
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  constructor (options: BalancerOptions) {
    this.#options = options
  }

  async open (): Promise<void> { await this.#look() }

  /**
   * Chromium opens one WebSocket at a time at each address: calls that are held from their beginning would hold up others.
   * @returns the address of a call's own
   */
  async address (): Promise<string> {
    const server = createServer(near => { this.#accept(near) })
    server.listen(0, HOST)
    this.#servers.add(server)
    await once(server, 'listening')
    return `http://${HOST}:${(server.address() as AddressInfo).port}`
  }

  close (): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
    for (const server of this.#servers) server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  async #look (): Promise<void> {
    this.#takes = await Promise.all(this.#options.instances().map(async port => {
      try {
        return (await fetch(`http://${HOST}:${port}/health`, { signal: AbortSignal.timeout(1000) })).ok
      } catch {
        return false
      }
    }))
    if (!this.#isClosed) this.#timer = setTimeout(() => { void this.#look() }, HEALTH_EVERY_MS)
  }

  #accept (near: Socket): void {
    this.#sockets.add(near)
    near.on('error', () => {})
    near.on('close', () => { this.#sockets.delete(near) })
    let head = Buffer.alloc(0)
    const read = (bytes: Buffer): void => {
      head = Buffer.concat([head, bytes])
      if (!head.includes(END_OF_HEAD)) return
      near.off('data', read)
      near.pause()
      void this.#connect(near, head)
    }
    near.on('data', read)
  }

  async #connect (near: Socket, head: Buffer): Promise<void> {
    const text = head.toString('latin1')
    const user = userOf(text)
    const isUpgrade = /^upgrade: *websocket/im.test(text)
    const ports = this.#options.instances()
    const wanted = this.#options.place(user)
    for (let step = 0; step < ports.length; step++) {
      const index = (wanted + step) % ports.length
      const port = ports[index]
      if (port === undefined || this.#takes[index] !== true || !await listens(port)) continue
      if (near.destroyed) return
      if (!isUpgrade) return pipe(near, port, head)
      const line = new Line(user, index, near, this.#options.passes)
      return line.open(port, head)
    }
    near.destroy()
  }
}

/** Whose token it is. */
function userOf (head: string): string {
  const [, payload = ''] = /bearer[ .][\w-]+\.([\w-]+)\./i.exec(head) ?? []
  return payload === '' ? '' : (JSON.parse(Buffer.from(payload, 'base64url').toString()) as { user_id: string }).user_id
}

async function listens (port: number): Promise<boolean> {
  const socket = new Socket()
  const outcome = Promise.race([once(socket, 'connect').then(() => true), once(socket, 'close').then(() => false)]).catch(() => false)
  socket.connect(port, HOST)
  const isThere = await outcome
  socket.destroy()
  return isThere
}

function pipe (near: Socket, port: number, head: Buffer): void {
  const far = new Socket()
  far.on('error', () => {})
  far.on('close', () => { near.destroySoon() })
  near.on('close', () => { far.destroy() })
  far.connect(port, HOST)
  far.write(head)
  near.resume()
  near.pipe(far)
  far.pipe(near)
}
