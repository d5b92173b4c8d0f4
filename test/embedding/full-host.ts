import fastifyCors from '@fastify/cors'
import fastifyEnv from '@fastify/env'
import fastifyJwt from '@fastify/jwt'
import fastifyRedis from '@fastify/redis'
import fastifyWebsocket from '@fastify/websocket'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import fastifyMetrics from 'fastify-metrics'
import { Redis } from 'ioredis'
import { Counter, register } from 'prom-client'
import turnip, { webSocketOptions, type TurnipOptions } from '../../src/app.ts'
import type { RedisServer } from '../harness/redis-server.ts'
import { ACCESS_SECRET } from '../harness/turnip-process.ts'

export const REALM = 'house'
export const HOST_SECRET = 'the secret of the host, which is not that of Turnip'

export interface FullHost {
  readonly app: FastifyInstance
  /** The host's own connection to Redis. */
  readonly client: Redis
  readonly url: string
  readonly wsUrl: string
  /** What the host's own hooks did, in order. */
  readonly happened: string[]
}

export interface FullHostOptions {
  readonly redis: RedisServer
  readonly fastify?: FastifyServerOptions
  readonly turnip?: TurnipOptions
  /** Registers more once Turnip is there. */
  readonly more?: (app: FastifyInstance, client: Redis) => Promise<void>
}

/**
 * A larger application that listens: with every plugin that Turnip has too, each with settings, decorators and routes of
 * the application's own, and Turnip under /rtc.
 */
export async function startFullHost ({ redis, fastify, turnip: options, more }: FullHostOptions): Promise<FullHost> {
  const client = new Redis(redis.url)
  const happened: string[] = []
  const app = Fastify(fastify)
  await app.register(fastifyEnv, { schema: { type: 'object', properties: { GREETING: { type: 'string' } } }, data: { GREETING: 'hello' }, env: false, dotenv: false })
  await app.register(fastifyMetrics.default, { clearRegisterOnInit: true })
  await app.register(fastifyCors, { origin: 'https://host.example' })
  await app.register(fastifyRedis, { client })
  await app.register(fastifyJwt, { secret: HOST_SECRET })
  await app.register(fastifyWebsocket, { options: webSocketOptions() })
  const greetings = new Counter({ name: 'host_greetings_total', help: 'Greetings', registers: [register] })

  app.setErrorHandler(async (error, _request, reply) => await reply.code(500).send({ host: (error as Error).message }))
  app.setNotFoundHandler(async (_request, reply) => await reply.code(404).send({ host: 'there is no such page' }))
  app.addHook('onClose', async () => { happened.push('closed') })
  app.get('/hello', async () => {
    greetings.inc()
    return { greeting: app.getDecorator<{ GREETING: string }>('config').GREETING, visits: await app.redis.incr('host:visits') }
  })
  app.get('/me', async request => {
    await request.jwtVerify()
    return request.user
  })
  app.get('/fail', async () => { throw new Error('the host failed') })
  app.get('/echo', { websocket: true }, socket => { socket.on('message', (data: Buffer) => { socket.send(data) }) })

  await app.register(turnip, { prefix: '/rtc', accessSecret: ACCESS_SECRET, realm: REALM, redis: { client }, ...options })
  await more?.(app, client)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  await untilServing(`${url}/rtc`)
  return { app, client, url, wsUrl: url.replace('http', 'ws'), happened }
}

/** Waits until a Turnip has reached Redis. @param base where its routes are */
export async function untilServing (base: string): Promise<void> {
  const deadline = Date.now() + 15_000
  for (;;) {
    const response = await fetch(`${base}/health`)
    const body = await response.text()
    if (response.ok && body.includes('healthy')) return
    if (Date.now() > deadline) throw new Error(`${base}/health answers ${response.status} ${body}`)
  }
}

/** Keys of Turnip, by a connection of the test's own. */
export async function turnipKeys (redis: RedisServer, db = 0): Promise<string[]> {
  const client = new Redis(redis.url, { db })
  try {
    // The generation and tombstones outlast everybody, and expire.
    return (await client.keys('turnip:*')).filter(key => !/:(\{cluster\}:generation$|tombstone:)/.test(key))
  } finally {
    client.disconnect()
  }
}

/** The status and the JSON body of an answer. */
export async function getJson (url: string, headers: Record<string, string> = {}): Promise<{ status: number, body: unknown }> {
  const response = await fetch(url, { headers })
  return { status: response.status, body: await response.json() }
}
