/** An application with Turnip in it and a hook that never ends for some: run as a process of its own. */
import Fastify from 'fastify'
import turnip from '../../src/app.ts'

const app = Fastify()
await app.register(turnip, {
  accessSecret: process.env.ACCESS_SECRET ?? '', redisUrl: process.env.REDIS_URL ?? '', drainTimeoutMs: Number(process.env.DRAIN_TIMEOUT_MS)
})
app.addHook('onRequest', async request => {
  if (request.headers['x-stuck'] === undefined) return
  console.log('somebody is stuck')
  await new Promise(() => {})
})
const url = await app.listen({ port: 0, host: '127.0.0.1' })
console.log(JSON.stringify({ msg: 'Turnip is listening', url }))
// The process ends by itself, when nothing holds it any more.
process.once('SIGTERM', () => { void app.close() })
