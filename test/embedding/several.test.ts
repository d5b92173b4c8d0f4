import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify from 'fastify'
import turnip from '../../src/app.ts'
import { Client } from '../harness/client.ts'
import { startRedisServer } from '../harness/redis-server.ts'
import { claimsOf, sign, tokenFor } from '../harness/token.ts'
import { ACCESS_SECRET } from '../harness/turnip-process.ts'
import { getJson, untilServing } from './full-host.ts'

await test('two Turnips in one host, of different realms and secrets, do not meet', async t => {
  const redis = await startRedisServer()
  t.after(() => redis.stop())
  const app = Fastify()
  t.after(() => app.close())
  const tenants = [
    { name: 'red', accessSecret: 'the secret of the red tenant, and of no other', realm: 'red' },
    { name: 'blue', accessSecret: 'the secret of the blue tenant, and of no other', realm: 'blue' }
  ] as const
  await app.register(turnip, { ...tenants[0], prefix: '/red', redisUrl: redis.url })
  await app.register(turnip, { ...tenants[1], prefix: '/blue', redisUrl: redis.url, decorateAs: 'turnipBlue', maxRoomMembers: 1 })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const wsUrl = url.replace('http', 'ws')
  await Promise.all(tenants.map(({ name }) => untilServing(`${url}/${name}`)))
  const tokenOf = ({ accessSecret: secret, realm }: typeof tenants[number], user: string): string => sign(claimsOf(user, { realm }), { secret })

  const ann = await Client.openWith(`${wsUrl}/red/ws?token=${tokenOf(tenants[0], 'ann')}`)
  const bob = await Client.openWith(`${wsUrl}/blue/ws?token=${tokenOf(tenants[1], 'bob')}`)
  assert.deepEqual((await ann.join('standup')).data.members, [])
  assert.deepEqual((await bob.join('standup')).data.members, [])
  ann.send({ type: 'data', data: 'for red eyes only' })
  await ann.fence()
  assert.deepEqual((await bob.fence()).map(frame => frame.type), [])

  for (const [own, other] of [['red', tenants[1]], ['blue', tenants[0]]] as const) {
    assert.deepEqual((await getJson(`${url}/${own}/ws?token=${tokenOf(other, 'eve')}`)).status, 401)
    const { body } = await getJson(`${url}/${own}/ws?token=${sign(claimsOf('eve', { realm: other.realm }), { secret: own === 'red' ? tenants[0].accessSecret : tenants[1].accessSecret })}`)
    assert.equal((body as { code: string }).code, 'realm_mismatch')
  }

  const blue = app.getDecorator<typeof app.turnip>('turnipBlue')
  assert.deepEqual((await app.turnip.rooms.members('standup')).map(member => member.user_id), ['ann'])
  assert.deepEqual((await blue.rooms.members('standup')).map(member => member.user_id), ['bob'])
  assert.equal(await blue.rooms.disbandRoom('standup'), true)
  await bob.next('room_disbanded')
  assert.deepEqual((await ann.fence()).map(frame => frame.type), [])
  const metrics = await (await fetch(`${url}/blue/metrics`)).text()
  assert.match(metrics, /realm="blue"/)
  assert.doesNotMatch(metrics, /realm="red"|\/red\//)
})

await test('a second Turnip without decorateAs is told what to do', async t => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(turnip, { prefix: '/one', accessSecret: ACCESS_SECRET, redisUrl: 'memory:' })
  await assert.rejects(async () => { await app.register(turnip, { prefix: '/two', accessSecret: ACCESS_SECRET, redisUrl: 'memory:' }) }, {
    code: 'TURNIP_ERR_NAME_TAKEN', message: 'The decorator "turnip" is taken: give this Turnip another with the option decorateAs'
  })
})

await test('two applications in one process are two instances of one cluster', async t => {
  const redis = await startRedisServer()
  t.after(() => redis.stop())
  const [here, there] = await Promise.all(['here', 'there'].map(async instanceId => {
    const app = Fastify()
    t.after(() => app.close())
    await app.register(turnip, { prefix: `/${instanceId}`, accessSecret: ACCESS_SECRET, redisUrl: redis.url, instanceId })
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    await untilServing(`${url}/${instanceId}`)
    return { app, wsUrl: `${url.replace('http', 'ws')}/${instanceId}/ws` }
  }))
  assert.ok(here !== undefined && there !== undefined)
  const ann = await Client.open(here.wsUrl, 'ann')
  const bob = await Client.open(there.wsUrl, 'bob')
  await ann.join('standup')
  assert.deepEqual((await bob.join('standup')).data.members.map(member => member.user_id), ['ann'])
  await ann.next('user_joined')
  ann.send({ type: 'data', data: 'hello' })
  assert.equal((await bob.next('data')).data, 'hello')
  assert.deepEqual(await here.app.turnip.rooms.members('standup'), await there.app.turnip.rooms.members('standup'))
  assert.equal(await there.app.turnip.rooms.disbandRoom('standup'), true)
  await ann.next('room_disbanded')

  await ann.join('retro')
  await bob.join('retro')
  await ann.next('user_joined')
  await there.app.close()
  assert.equal((await bob.closed).code, 1012)
  assert.equal((await ann.next('user_left')).data.user_id, 'bob')
  await ann.fence()
})

await test('two applications with rooms in memory have nothing in common', async t => {
  const clients = await Promise.all(['ann', 'bob'].map(async user => {
    const app = Fastify()
    t.after(() => app.close())
    await app.register(turnip, { accessSecret: ACCESS_SECRET, redisUrl: 'memory:' })
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    return await Client.openWith(`${url.replace('http', 'ws')}/ws?token=${tokenFor(user)}`)
  }))
  for (const client of clients) assert.deepEqual((await client.join('standup')).data.members, [])
})
