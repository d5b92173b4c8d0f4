import { randomUUID } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Config } from '../config.ts'
import { HttpRefusal } from '../errors.ts'
import { IceServers } from '../ice/ice-servers.ts'
import type { Identity } from '../rooms/identity.ts'
import { createAdmission } from './admission.ts'
import { Connection, type ConnectionContext } from './connection.ts'
import { CallReports } from './call-reports.ts'
import { Headcount } from './headcount.ts'
import { Line } from './line.ts'
import { OutboxQueue } from './outbox.ts'
import { SessionTokens } from './session-token.ts'
import { Sessions } from './sessions.ts'
import { Throttle } from './throttle.ts'
import { Turn } from './turn.ts'

declare module 'fastify' {
  interface FastifyRequest { turnipIdentity: Identity | undefined }
}

/** How soon a client that has too many connections may try again, s: they are not given up fast. */
const CONNECTIONS_RETRY_AFTER_S = '10'

/** What Node keeps of a request whose socket was upgraded: an answer that is never written, and all that it holds. */
type Upgraded = Socket & { _httpMessage?: ServerResponse | null }

/** How many frames a client says it has; more than were ever sent where it says nothing that is a number. */
function countOf (seen: unknown): number {
  return typeof seen === 'string' && /^\d{1,15}$/.test(seen) ? Number(seen) : Number.MAX_SAFE_INTEGER
}

/**
 * What sessions are signed with: instances that share a secret know each other's. Without one, a session is good at the
 * instance that gave it, and nowhere else.
 */
function secretsOf ({ sessionSecret, accessSecret, accessSecretPrevious }: Config): string[] {
  const shared = [sessionSecret, accessSecret, accessSecretPrevious].filter(secret => secret !== '')
  return shared.length > 0 ? shared : [randomUUID()]
}

/**
 * GET /ws: checks who comes before the upgrade, so that a bad token gets an answer and no WebSocket. Without an upgrade
 * it answers what the upgrade would have answered, for browsers, which show none of it on a failed WebSocket.
 */
export default async function ws (fastify: FastifyInstance): Promise<void> {
  const { turnipConfig: config, turnipAuth: auth, turnipLifecycle: lifecycle, turnipConnections: connections, turnipRooms: rooms, turnipLimits: limits, turnipMetrics: metrics, log } = fastify
  const { instanceId, pingIntervalMs, pongTimeoutMs, sendBufferBytes, resumeWindowMs } = config
  const { traffic } = metrics
  const maxPayloadBytes = Math.min(config.maxPayloadBytes, fastify.websocketServer.options.maxPayload || Infinity) // a host's own may be less
  const admit = createAdmission(fastify)
  const reports = new CallReports(traffic, log, seconds => { metrics.callSetUp(seconds) })
  const turn = new Turn()
  const context: ConnectionContext = {
    instanceId, pingIntervalMs, pongTimeoutMs, sendBufferBytes, resumeWindowMs, connections, rooms, traffic, log, outboxes: new OutboxQueue(turn), throttle: new Throttle({ ...config, maxPayloadBytes }), turn, ice: new IceServers(config), reports, verify: token => auth.verify(token)
  }
  const sessions = resumeWindowMs > 0 ? new Sessions(context, new SessionTokens(secretsOf(config), config.realm), fastify.turnipNonce) : undefined
  const users = new Headcount(config.maxConnectionsPerUser)
  const addresses = new Headcount(config.maxConnectionsPerIp)
  fastify.decorateRequest('turnipIdentity', undefined)

  fastify.route({
    method: 'GET',
    url: '/ws',
    exposeHeadRoute: false,
    onRequest: async (request: FastifyRequest) => {
      const identity = await admit(request)
      const { session } = request.query as { session?: unknown }
      const address = config.maxConnectionsPerIp === 0 ? undefined : limits.addressOf(request)
      if (request.ws && typeof session === 'string' && fullFor(identity, address) !== undefined) await sessions?.makeRoom(session, identity.userId)
      count(request, identity, address)
      request.turnipIdentity = identity
      if (request.ws) request.raw.socket.cork() // the answer and the first frame are one write
    },
    handler: async () => {
      // Its own `connection` keeps Node from saying that a socket ends which has served as many requests as it may.
      throw new HttpRefusal(426, 'upgrade_required', 'You may connect: open this address as a WebSocket', { upgrade: 'websocket', connection: 'upgrade, close' })
    },
    wsHandler: (socket, request) => {
      const { turnipIdentity: identity } = request
      const tcp: Upgraded = request.raw.socket
      const { _httpMessage: response } = tcp
      response?.detachSocket(tcp) // or each connection would keep its request as long as it is open
      response?.emit('close') // a host may wait for it, and would have heard it from the socket
      setImmediate(setImmediate, () => { tcp.uncork() }) // behind the first frames, which leave with the turn
      if (identity === undefined || lifecycle.phase !== 'serving') {
        socket.removeAllListeners('error')
        socket.on('error', () => {}) // a broken frame before its end would be nobody's
        return socket.close(1012)
      }
      // A host that closes ends every socket of its server without a code: ours are ended here, with one.
      fastify.websocketServer.clients.delete(socket)
      const hosts = socket.listeners('error') as Array<() => void>
      const line = new Line(socket, tcp, context)
      for (const listener of hosts) socket.off('error', listener) // a host's own handler would cut off close frames
      const { session, seen, resume } = request.query as Record<string, unknown>
      if (sessions !== undefined && typeof session === 'string') {
        void sessions.resume(line, identity, { session, seen: countOf(seen) })
      } else if (sessions !== undefined && resume === 'true') {
        sessions.start(line, identity)
      } else {
        const connection = new Connection(identity, context)
        connection.open(line, { type: 'welcome', data: connection.greeting })
      }
    }
  })

  /** The limit that keeps a client out. */
  function fullFor ({ userId }: Identity, address: string | undefined): 'user_connections' | 'address_connections' | undefined {
    if (users.isFull(userId)) return 'user_connections'
    return addresses.isFull(address) ? 'address_connections' : undefined
  }

  /** Before the upgrade, so that many at once are no more than one after the other. */
  function count ({ ws, raw: { socket } }: FastifyRequest, identity: Identity, address: string | undefined): void {
    const limit = fullFor(identity, address)
    if (limit !== undefined) {
      traffic.refused[limit]++
      const message = limit === 'user_connections'
        ? `You have ${config.maxConnectionsPerUser} connections to this instance already: close one`
        : 'Your address has too many connections to this instance already'
      throw new HttpRefusal(429, 'too_many_connections', message, { 'retry-after': CONNECTIONS_RETRY_AFTER_S })
    }
    if (!ws || socket.destroyed) return
    const { userId } = identity
    users.add(userId)
    addresses.add(address)
    socket.on('close', () => { // which it does however its upgrade ends
      users.remove(userId)
      addresses.remove(address)
    })
  }
}
