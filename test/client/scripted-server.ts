import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { WebSocketServer, type WebSocket } from 'ws'
import type { ClientMessage, ServerMessage, Welcome } from '../../src/protocol/messages.ts'

const LIMIT_MS = 15_000

export type ClientFrame<T extends ClientMessage['type']> = Extract<ClientMessage, { type: T }>

/** One connection of a client, for a test that plays the server. */
export class Scripted {
  readonly query: URLSearchParams
  readonly frames: ClientMessage[] = []
  readonly closed: Promise<number>
  readonly #socket: WebSocket
  #taken = 0
  #wake: () => void = () => {}

  constructor (socket: WebSocket, request: IncomingMessage) {
    this.#socket = socket
    this.query = new URL(request.url ?? '', 'http://server').searchParams
    socket.on('message', (data: Buffer) => {
      this.frames.push(JSON.parse(data.toString()) as ClientMessage)
      this.#wake()
    })
    this.closed = new Promise(resolve => { socket.on('close', code => { resolve(code) }) })
  }

  send (...frames: ServerMessage[]): void {
    for (const frame of frames) this.#socket.send(JSON.stringify(frame))
  }

  write (text: string | Buffer): void { this.#socket.send(text) }

  welcome (more: Partial<Welcome> = {}): void {
    this.send({ type: 'welcome', data: { connection_id: 'me', user_id: 'u', username: 'u', instance_id: 'i', ping_interval_ms: 25_000, ...more } })
  }

  /** The next frame of a type, among those that nobody has waited for. */
  async next<T extends ClientMessage['type']> (type: T): Promise<ClientFrame<T>> {
    const deadline = Date.now() + LIMIT_MS
    for (;;) {
      for (let frame = this.frames[this.#taken]; frame !== undefined; frame = this.frames[this.#taken]) {
        this.#taken++
        if (frame.type === type) return frame as ClientFrame<T>
      }
      if (Date.now() >= deadline) throw new Error(`no ${type} came; got ${JSON.stringify(this.frames)}`)
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, deadline - Date.now())
        this.#wake = () => { clearTimeout(timer); resolve() }
      })
    }
  }

  /** Answers the next join. */
  async letIn (others: string[] = [], version = 1): Promise<ClientFrame<'join'>> {
    const join = await this.next('join')
    const { room, id } = join
    const members = others.map((name, index) => ({ connection_id: name, user_id: `user-${name}`, username: name, joined_at: index }))
    this.send({ type: 'joined', room, version, data: { room, connection_id: 'me', members }, ...(id !== undefined && { id }) })
    return join
  }

  close (code: number, reason = ''): void { this.#socket.close(code, reason) }

  /** The connection breaks: no Close frame. */
  terminate (): void { this.#socket.terminate() }
}

/** A server that says what the test says. */
export class ScriptedServer {
  readonly url: string
  /** Answers requests without an upgrade. */
  answer: (response: ServerResponse) => void = response => { response.writeHead(426, { 'content-type': 'application/json' }).end('{"code":"upgrade_required","message":"You may connect"}') }
  /** Whether a WebSocket opens. */
  isOpen = true
  /** Tokens and queries of all attempts. */
  readonly attempts: Array<{ at: number, protocols: string | undefined, url: string | undefined }> = []
  readonly #connections: Scripted[] = []
  #wake: () => void = () => {}

  private constructor (server: ReturnType<typeof createServer>) {
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'turnip' })
    server.on('request', (_request, response) => { this.answer(response) })
    server.on('upgrade', (request, socket, head) => {
      this.attempts.push({ at: Date.now(), protocols: request.headers['sec-websocket-protocol'], url: request.url })
      if (!this.isOpen) return socket.end('HTTP/1.1 503 Service Unavailable\r\n\r\n')
      sockets.handleUpgrade(request, socket, head, webSocket => {
        this.#connections.push(new Scripted(webSocket, request))
        this.#wake()
      })
    })
  }

  static async start (t: TestContext): Promise<ScriptedServer> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => {
      server.close()
      server.closeAllConnections()
    })
    return new ScriptedServer(server)
  }

  /** The next connection that a client has made. */
  async next (): Promise<Scripted> {
    const deadline = Date.now() + LIMIT_MS
    for (;;) {
      const connection = this.#connections.shift()
      if (connection !== undefined) return connection
      if (Date.now() >= deadline) throw new Error('no connection came')
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, deadline - Date.now())
        this.#wake = () => { clearTimeout(timer); resolve() }
      })
    }
  }
}
