import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import turnip, { type TurnipOptions } from '../../src/app.ts'
import { ACCESS_SECRET } from '../harness/turnip-process.ts'

export interface Served {
  app: FastifyInstance
  url: string
  wsUrl: string
}

/** The application in this process, on a port of its own. Rooms are in memory unless `redisUrl` says otherwise. */
export async function serve (t: TestContext, options: TurnipOptions = {}, server: FastifyServerOptions = {}): Promise<Served> {
  const app = Fastify({ forceCloseConnections: true, ...server })
  await app.register(turnip, { accessSecret: ACCESS_SECRET, redisUrl: 'memory:', authFailuresPerIp: 0, ...options })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.after(async () => { await app.close() })
  const { port } = app.server.address() as AddressInfo
  return { app, url: `http://127.0.0.1:${port}`, wsUrl: `ws://127.0.0.1:${port}/ws` }
}

/** Server options that keep what is logged, down to debug, line by line. */
export function logTo (lines: string[]): FastifyServerOptions {
  return { logger: { level: 'debug', stream: { write: (line: string) => { lines.push(line) } } } }
}

/** The application without a port, for `inject`. */
export async function create (t: TestContext, options: TurnipOptions = {}): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(turnip, { accessSecret: ACCESS_SECRET, redisUrl: 'memory:', authFailuresPerIp: 0, ...options })
  await app.ready()
  t.after(async () => { await app.close() })
  return app
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

/**
 * Asks for a WebSocket by hand, which shows what a browser hides.
 * @returns the answer; 101 where the server opened it (it is then closed)
 */
export async function upgrade (url: string, headers: Record<string, string> = {}): Promise<Answer> {
  return await new Promise<Answer>((resolve, reject) => {
    const request = httpRequest(url.replace(/^ws/, 'http'), {
      agent: false, // a connection of its own, as a browser does
      headers: { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', ...headers }
    })
    request.on('upgrade', (response, socket) => {
      socket.destroy()
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: '' })
    })
    request.on('response', response => {
      let body = ''
      response.on('data', chunk => { body += String(chunk) })
      response.on('end', () => { resolve({ status: response.statusCode ?? 0, headers: response.headers, body }) })
    })
    request.on('error', reject)
    request.end()
  })
}

/** An Authorization header. */
export function basic (username: string, password: string): Record<string, string> {
  return { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` }
}
