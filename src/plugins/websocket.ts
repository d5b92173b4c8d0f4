import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import fastifyWebsocket, { type WebsocketPluginOptions } from '@fastify/websocket'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../config.ts'
import { HostWebSocketError, HttpRefusal } from '../errors.ts'
import { frameOf } from '../protocol/frame.ts'
import { Connections } from '../routes/connections.ts'

declare module 'fastify' {
  interface FastifyInstance { turnipConnections: Connections }
}

/** More fragments than this in one message are no message but an attack (a thousand one-byte frames, each an object). */
const MAX_FRAGMENTS = 64
/** How long a client may take to answer a close frame, ms; the library's 30 s would hold up every shutdown. */
const CLOSE_TIMEOUT_MS = 2000
/**
 * A client with this many pongs on their way is cut off. One read can bring 10,922 pings, which are slowed down and not
 * answered with an end: the library's 60 would end a client that sends as many in one go, and reads every pong.
 */
const MAX_PENDING_PONGS = 16_384
/** The types of `ws` do not know some of its newer options yet. */
type WebSocketOptions = NonNullable<WebsocketPluginOptions['options']> & { maxFragments?: number, closeTimeout?: number, maxPendingAutoPongs?: number }

/**
 * What Turnip asks of @fastify/websocket: for a host that registers it itself.
 * @param limits as the settings have it, where they are not the defaults
 */
export function webSocketOptions ({ maxPayloadBytes = 65536 }: { maxPayloadBytes?: number } = {}): WebSocketOptions {
  return {
    maxPayload: maxPayloadBytes,
    maxFragments: MAX_FRAGMENTS,
    closeTimeout: CLOSE_TIMEOUT_MS,
    maxPendingAutoPongs: MAX_PENDING_PONGS,
    perMessageDeflate: false,
    skipUTF8Validation: false,
    // A token may come as a second subprotocol: it must not be echoed.
    handleProtocols: protocols => protocols.has('turnip') ? 'turnip' : false
  }
}

/**
 * Registers @fastify/websocket with the host, unless it has one: a server can have only one.
 * @throws HostWebSocketError when the host's own lacks our limits, and names those it lacks
 */
export async function provideWebSocket (host: FastifyInstance, config: Config): Promise<void> {
  if (!host.hasDecorator('websocketServer')) {
    await host.register(fastifyWebsocket, { options: webSocketOptions(config) })
    return
  }
  const options = host.websocketServer.options as WebSocketOptions
  const laxer = Object.entries({
    maxPayload: (options.maxPayload || Infinity) > config.maxPayloadBytes, // 0 is no limit
    maxFragments: (options.maxFragments || Infinity) > MAX_FRAGMENTS,
    closeTimeout: (options.closeTimeout ?? Infinity) > CLOSE_TIMEOUT_MS,
    perMessageDeflate: Boolean(options.perMessageDeflate),
    allowSynchronousEvents: options.allowSynchronousEvents === false, // messages that come the library's way would be overtaken
    skipUTF8Validation: Boolean(options.skipUTF8Validation),
    handleProtocols: typeof options.handleProtocols !== 'function' // ws itself says null of one it has not
  }).filter(([, isLaxer]) => isLaxer).map(([name]) => name)
  if (laxer.length > 0) throw new HostWebSocketError(laxer.join(', '))
}

/**
 * An upgrade that opens no WebSocket of ours gets an answer. The library would open it only to close it, and write its
 * address into the log, token and all. An upgrade to something else (h2c: some health checkers always ask for it) means
 * nothing here, and is answered as if it had not been asked for (RFC 9110 §7.8).
 */
async function answerStray (this: FastifyInstance, { ws, raw: { url, socket }, method, headers, routeOptions }: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  if (!ws) return undefined
  const { upgrade, connection: _, 'http2-settings': __, ...others } = headers
  if (upgrade?.toLowerCase() === 'websocket') {
    if (routeOptions.url?.endsWith('/ws') === true) return undefined
    throw new HttpRefusal(404, 'not_found', 'There is no WebSocket at this address: clients open …/ws')
  }
  if (method !== 'GET' || url === undefined) throw new HttpRefusal(400, 'bad_upgrade', 'This server upgrades to WebSocket and to nothing else')
  const { statusCode, headers: { connection: ___, ...answered }, rawPayload } = await this.inject({ method, url, headers: others, remoteAddress: socket.remoteAddress ?? '' })
  return await reply.code(statusCode).headers(answered).send(rawPayload)
}

const LATE = answerOf(503, 'draining', 'This instance is draining: try again shortly', 'Retry-After: 1\r\n')
const STUCK = answerOf(504, 'auth_timeout', 'It took too long to find out who you are: try again')

/** A whole answer, for a socket that no Fastify answers on any more. */
function answerOf (statusCode: number, code: string, message: string, headers = ''): string {
  const error = STATUS_CODES[statusCode]
  const body = JSON.stringify({ statusCode, error, message, code })
  return `HTTP/1.1 ${statusCode} ${error}\r\n${headers}Connection: close\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}

function endWith (socket: Socket, answer: string): void {
  if (socket.writableEnded) return // another Turnip of this host has answered
  socket.on('error', () => {})
  socket.end(answer)
}

/** Answers an upgrade that comes while this instance drains. */
function refuseLate (_request: unknown, socket: Socket): void {
  endWith(socket, LATE)
}

/**
 * Whatever HTTP answers on the socket of an upgrade is the last: nobody reads it any more. The library closes it where it has run
 * its hooks to the end. It forgets an address that Fastify cannot read, and an upgrade right behind a request that is not answered
 * yet: each would cost a file descriptor for ever, of anybody's.
 */
function endAnswered (_request: unknown, socket: Socket & { _httpMessage?: ServerResponse | null }): void {
  socket._httpMessage?.once('finish', () => { socket.destroySoon() })
}

/** A host's limit for plugins is one for hooks too: one that takes longer fails its close, with our members still in Redis. */
const HOOK_MARGIN_MS = 1000

/** How long the drain may take, ms. */
function drainLimit ({ initialConfig: { pluginTimeout = 0 } }: FastifyInstance, { drainTimeoutMs }: Config): number {
  return pluginTimeout === 0 ? drainTimeoutMs : Math.min(drainTimeoutMs, Math.max(pluginTimeout - HOOK_MARGIN_MS, 0))
}

/** Decorates `turnipConnections`, and sends the clients away when the application closes. */
export default fp(async (fastify: FastifyInstance) => {
  const { turnipConfig: config, turnipLifecycle: lifecycle, turnipMetrics: metrics, turnipReachListeners: listeners, turnipRooms: rooms, log } = fastify
  const connections = new Connections(config.maxConnectionsPerUser)
  listeners.add(isUp => { connections.broadcast(frameOf({ type: 'degraded', data: { redis: isUp ? 'up' : 'down' } })) })
  metrics.watchConnections(connections)
  fastify.decorate('turnipConnections', connections)

  fastify.addHook('onRequest', answerStray)

  const upgrading = new Map<Socket, NodeJS.Timeout | undefined>()
  fastify.server.prependListener('upgrade', track) // first: the library may have the WebSocket open before it returns
  fastify.server.on('upgrade', endAnswered) // last: the library has given the socket its answer by then
  // An open WebSocket has an owner who ends it: a connection here, another Turnip, the host.
  fastify.websocketServer.on('connection', settled)
  function settled (_socket: unknown, { socket }: IncomingMessage): void { forget.call(socket) }
  function forget (this: Socket): void {
    clearTimeout(upgrading.get(this))
    upgrading.delete(this)
    this.off('close', forget)
  }
  function track ({ url = '' }: IncomingMessage, socket: Socket): void {
    const isOurs = config.authTimeoutMs > 0 && url.split('?', 1)[0] === `${fastify.prefix}/ws`
    // By the event, not by a hook: a hook of the host's that hangs comes before ours.
    upgrading.set(socket, isOurs ? setTimeout(giveUp, config.authTimeoutMs, socket) : undefined)
    socket.on('close', forget)
  }
  function giveUp (socket: Socket): void {
    metrics.traffic.refused.timeout++
    endWith(socket, STUCK)
    socket.destroySoon() // whatever comes of the hooks, nobody else ends it
  }

  fastify.addHook('preClose', async () => {
    lifecycle.phase = 'draining'
    if (connections.size > 0) log.info({ connections: connections.size }, 'sending the clients away')
    fastify.server.on('upgrade', refuseLate) // the library has stopped to hear of upgrades
    await connections.drain(drainLimit(fastify, config), (rooms.standing?.instances ?? 1) > 1)
    // An upgrade that came too late was answered 503; nobody else ends its socket, and the server would wait for it.
    fastify.server.off('upgrade', track)
    fastify.server.off('upgrade', endAnswered)
    fastify.server.off('upgrade', refuseLate)
    fastify.websocketServer.off('connection', settled)
    for (const socket of upgrading.keys()) socket.destroy()
  })
}, { name: 'turnip-websocket', dependencies: ['turnip-config', 'turnip-metrics', 'turnip-lifecycle', 'turnip-rooms'] })
