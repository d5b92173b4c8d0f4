/** A client whose instance was killed is in its room again under its connection_id, over an instance that lives. */
import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import Fastify from 'fastify'
import turnip from '../../src/app.ts'
import type { RoomService } from '../../src/rooms/room-service.ts'
import { RecordingPeer } from '../harness/recording-peer.ts'
import { ACCESS_SECRET } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'
import { InstanceCluster, REAP_LIMIT_MS, type Member } from './instance-cluster.ts'

const LEASE_MS = 1500
const SLACK_MS = 10_000

/** The rooms of an instance in this process: peers come to it under any connection_id. */
async function startHere (t: TestContext, { redis }: InstanceCluster): Promise<RoomService> {
  const app = Fastify()
  await app.register(turnip, { accessSecret: ACCESS_SECRET, redisUrl: redis.url, leaseMs: LEASE_MS })
  t.after(() => app.close())
  await app.ready()
  const rooms = app.turnip.rooms as RoomService // hosts are shown less of it
  await until('the instance in this process holds its lease', async () => rooms.standing?.isFenced === false)
  return rooms
}

/** The member's client, after it has come back. */
function returning ({ client: { info } }: Member): RecordingPeer {
  return Object.assign(new RecordingPeer(info.connection_id), { identity: { userId: info.user_id, username: info.username, role: 'user', rooms: undefined, expiresAt: undefined } })
}

void describe('A member whose instance is killed, back under its connection_id', { concurrency: true }, () => {
  void test('before it was reaped has never left, and who does not come back leaves alone; after it was reaped it joins', async t => {
    const cluster = await InstanceCluster.open(t, { LEASE_MS: String(LEASE_MS) })
    const [victim, other, here] = await Promise.all([cluster.start(), cluster.start(), startHere(t, cluster)])
    const [ana, ben] = [await cluster.member(victim, 'ana', 'r'), await cluster.member(victim, 'ben', 'r')]
    const cleo = await cluster.member(other, 'cleo', 'r')
    await cluster.settled('r', [ana, ben, cleo])
    victim.signal('SIGKILL')
    await victim.exited

    const back = returning(ana)
    await here.join(back, { room: 'r' })
    assert.deepEqual(back.all('joined')[0]?.data.members.map(({ user_id: user }) => user), ['ben', 'cleo'])
    const { room, data } = await cleo.client.next('user_resumed')
    assert.deepEqual([room, data], ['r', ana.client.info])
    await cleo.sawLeave([ben.id], LEASE_MS + REAP_LIMIT_MS + SLACK_MS)
    assert.equal((await back.next('user_left')).data.connection_id, ben.id)

    const late = returning(ben)
    await here.join(late, { room: 'r' })
    assert.deepEqual((await cleo.client.next('user_joined')).data, ben.client.info)
    await cluster.leases(2)
    assert.deepEqual([...(await cluster.rooms.find('r'))?.members.keys() ?? []].toSorted(), [ana.id, ben.id, cleo.id].toSorted())
    assert.deepEqual(cleo.client.all('user_left').map(({ data }) => data.connection_id), [ben.id])
    assert.deepEqual(cleo.catchUp().ids, [ana.id, ben.id, cleo.id].toSorted())

    cleo.client.send({ type: 'data', to: ana.id, data: 'still there?' })
    assert.equal((await back.next('data')).data, 'still there?')
    await Promise.all([here.exit(back), here.exit(late)])
    await cleo.sawLeave([ana.id, ben.id], SLACK_MS)
  })

  void test('and by an instance that lives, which has it handed over, it leaves nobody alone', async t => {
    const cluster = await InstanceCluster.open(t, { LEASE_MS: String(LEASE_MS) })
    const [from, to] = await Promise.all([startHere(t, cluster), startHere(t, cluster)])
    const [ana, ben] = [new RecordingPeer('ana'), new RecordingPeer('ben')]
    await from.join(ana, { room: 'r' })
    await from.join(ben, { room: 'r' })
    const epoch = ana.seat?.roster.epoch ?? assert.fail('it sits nowhere')
    const again = new RecordingPeer('ana')
    const moved = await to.move(again, { room: 'r', epoch })
    assert.ok(moved)
    moved.seat.release()
    assert.equal((await ben.next('user_resumed')).version, moved.version)
    assert.deepEqual([ana.closes, ana.seat, ana.all('left')], [[4409], undefined, []])
    await from.exit(ana)
    assert.equal(await to.move(new RecordingPeer('nobody'), { room: 'r', epoch }), undefined)
    await from.leave(ben)
    assert.equal((await again.next('user_left')).version, moved.version + 1)
    await to.leave(again)
    await again.next('room_disbanded')
    assert.equal(await cluster.rooms.find('r'), undefined)
  })
})
