import type { Socket } from 'node:net'
import fastifyWebsocket, { type WebsocketPluginOptions } from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../config.ts'
import { HostWebSocketError } from '../errors.ts'
import type { Connection, ConnectionContext } from '../routes/connection.ts'
import { Heartbeat } from '../routes/heartbeat.ts'
import { OutboxQueue } from '../routes/outbox.ts'

declare module 'fastify' {
  interface FastifyInstance { turnipConnections: ConnectionContext }
}

/** More fragments than this in one message are no message but an attack (a thousand one-byte frames, each an object). */
const MAX_FRAGMENTS = 64
/** How long a client may take to answer a close frame, ms; the library's 30 s would hold up every shutdown. */
const CLOSE_TIMEOUT_MS = 2000
/** Clients that are sent away come back after a random time of up to this for each client, so as not to come at once, ms. */
const RECONNECT_SPREAD_MS = 5
const RECONNECT_AT_LEAST_MS = 1000
const RECONNECT_AT_MOST_MS = 30_000

/** The types of `ws` do not know two of its newer options yet. */
type WebSocketOptions = NonNullable<WebsocketPluginOptions['options']> & { maxFragments?: number, closeTimeout?: number }

/**
 * What Turnip asks of @fastify/websocket: for a host that registers it itself.
 * @param limits as the settings have it, where they are not the defaults
 */
export function webSocketOptions ({ maxPayloadBytes = 65536 }: { maxPayloadBytes?: number } = {}): WebSocketOptions {
  return {
    maxPayload: maxPayloadBytes,
    maxFragments: MAX_FRAGMENTS,
    closeTimeout: CLOSE_TIMEOUT_MS,
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
    maxPayload: (options.maxPayload ?? Infinity) > config.maxPayloadBytes,
    maxFragments: (options.maxFragments ?? Infinity) > MAX_FRAGMENTS,
    closeTimeout: (options.closeTimeout ?? Infinity) > CLOSE_TIMEOUT_MS,
    perMessageDeflate: Boolean(options.perMessageDeflate),
    skipUTF8Validation: Boolean(options.skipUTF8Validation),
    handleProtocols: options.handleProtocols === undefined
  }).filter(([, isLaxer]) => isLaxer).map(([name]) => name)
  if (laxer.length > 0) throw new HostWebSocketError(laxer.join(', '))
}

/** Decorates `turnipConnections`, and drains them when the application closes. */
export default fp(async (fastify: FastifyInstance) => {
  const { turnipConfig: config, turnipRooms: rooms, turnipAuth: auth, turnipMetrics: metrics, turnipLifecycle: lifecycle, log } = fastify
  const open = new Set<Connection>()
  fastify.decorate('turnipConnections', { ...config, rooms, auth, open, log, traffic: metrics.traffic, heartbeat: new Heartbeat(), outboxes: new OutboxQueue() })

  const upgrading = new Set<Socket>()
  fastify.server.on('upgrade', track)
  function track (_request: unknown, socket: Socket): void {
    upgrading.add(socket)
    socket.once('close', () => { upgrading.delete(socket) })
  }

  fastify.addHook('preClose', async () => {
    lifecycle.phase = 'draining'
    const leaving = [...open]
    if (leaving.length > 0) log.info({ connections: leaving.length }, 'sending the clients away')
    const spread = Math.min(RECONNECT_AT_LEAST_MS + leaving.length * RECONNECT_SPREAD_MS, RECONNECT_AT_MOST_MS)
    const closed = Promise.all(leaving.map(async connection => {
      const gone = connection.gone
      connection.goAway('restart', Math.round(RECONNECT_AT_LEAST_MS + Math.random() * (spread - RECONNECT_AT_LEAST_MS)))
      await gone
    }))
    let timer: NodeJS.Timeout | undefined
    await Promise.race([closed, new Promise(resolve => { timer = setTimeout(resolve, config.drainTimeoutMs) })])
    clearTimeout(timer)
    for (const connection of leaving) connection.terminate()
    // An upgrade that came too late was answered 503; nobody else ends its socket, and the server would wait for it.
    fastify.server.off('upgrade', track)
    for (const socket of upgrading) socket.destroy()
  })
}, { name: 'turnip-websocket', dependencies: ['turnip-config', 'turnip-metrics', 'turnip-lifecycle', 'turnip-auth', 'turnip-rooms'] })
