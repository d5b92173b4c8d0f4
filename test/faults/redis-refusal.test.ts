import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Redis } from 'ioredis'
import { joinOf, leaveOf } from '../protocol/scene.ts'
import { assertUnavailable, fromNowOn, joinsAtLast, LEASE_MS, LinkedCluster, settled } from './linked-cluster.ts'

/** How long an operation may take that Redis refuses, ms. */
const OPERATION_LIMIT_MS = 2000
/** How long until all is well once Redis takes everything again, ms. */
const MENDED_LIMIT_MS = 10_000
/** How long members of an instance that died stay, ms. */
const REAPED_LIMIT_MS = LEASE_MS + 5000
/** Nobody listens there. */
const DEAD_PORT = '1'

void describe('Redis answers, and refuses', () => {
  let cluster: LinkedCluster
  /** As another user, whose rights nobody takes away. */
  let keeper: Redis
  before(async () => {
    cluster = await LinkedCluster.start()
    await cluster.admin.call('ACL', 'SETUSER', 'keeper', 'on', '>key', '~*', '&*', '+@all')
    keeper = new Redis(cluster.redis.port, { username: 'keeper', password: 'key' })
    keeper.on('error', () => {})
  })
  after(async () => {
    keeper.disconnect()
    await cluster.stop()
  })

  for (const [refusal, refuse, mend] of [
    ['OOM', [['CONFIG', 'SET', 'maxmemory-policy', 'noeviction'], ['CONFIG', 'SET', 'maxmemory', '1mb']], [['CONFIG', 'SET', 'maxmemory', '0']]],
    ['READONLY', [['REPLICAOF', '127.0.0.1', DEAD_PORT]], [['REPLICAOF', 'NO', 'ONE']]],
    ['NOPERM to write', [['ACL', 'SETUSER', 'default', '-@write', '-@scripting']], [['ACL', 'SETUSER', 'default', '+@all']]],
    ['NOPERM to hear', [['ACL', 'SETUSER', 'default', 'resetkeys', 'resetchannels']], [['ACL', 'SETUSER', 'default', '~*', '&*']]]
  ] as const) {
    void test(`${refusal}: clients get a typed error, no instance is hurt, and all works again once that is mended`, async t => {
      const room = refusal.replaceAll(' ', '-')
      const [ana, ben, cleo] = await cluster.gather(t, room, [0, 'ana'], [0, 'ben'], [1, 'cleo'])
      const [dora, eve] = [await cluster.open(t, 0, 'dora'), await cluster.open(t, 1, 'eve')]
      assert.ok(ana && ben && cleo)
      await cluster.heals(t, 'all was well', MENDED_LIMIT_MS)
      const heard = fromNowOn(ana, cleo)
      t.after(async () => { for (const [command, ...words] of mend) await keeper.call(command, ...words) })

      for (const [command, ...words] of refuse) await keeper.call(command, ...words)
      const since = performance.now()
      await Promise.all([
        assertUnavailable(dora, { type: 'join', room: 'another' }, OPERATION_LIMIT_MS),
        // A Redis that is full still takes what makes room.
        ...(refusal === 'OOM' ? [] : [assertUnavailable(cleo, { type: 'disband_room' }, OPERATION_LIMIT_MS)]),
        cluster.says(ana, ben)
      ])
      ben.send({ type: 'leave' })
      await ben.next('left')
      await settled(t, 'the instances fenced themselves', 2 * LEASE_MS, async () => {
        const all = await Promise.all([cluster.health(0), cluster.health(1)])
        return all.every(({ status, fenced }) => status === 'degraded' && fenced) ? undefined : JSON.stringify(all)
      }, since)
      await assertUnavailable(eve, { type: 'join', room }, OPERATION_LIMIT_MS)

      for (const [command, ...words] of mend) await keeper.call(command, ...words)
      const mended = performance.now()
      await cluster.heals(t, `all was well after ${refusal}`, MENDED_LIMIT_MS, mended)
      await joinsAtLast(t, eve, room, MENDED_LIMIT_MS, mended)
      await joinsAtLast(t, dora, room, MENDED_LIMIT_MS, mended)
      await cluster.says(ana, cleo, dora, eve)
      await cluster.heals(t, 'all knew of who came afterwards', MENDED_LIMIT_MS)
      assert.ok(heard('user_left').every(text => text.includes(ben.id)), heard('user_left').join())
      assert.deepEqual(heard('room_disbanded'), [])
      cluster.assertCalm()
      dora.send({ type: 'disband_room' })
      await Promise.all([ana, cleo, dora, eve].map(member => member.next('room_disbanded')))
    })
  }

  void test('after SCRIPT FLUSH the next operation of every kind succeeds', async t => {
    const flush = async (): Promise<void> => { await keeper.script('FLUSH') }
    const [ana, cleo] = await cluster.gather(t, 'flushed', [0, 'ana'], [1, 'cleo'])
    const ben = await cluster.open(t, 0, 'ben')
    assert.ok(ana && cleo)
    await flush()
    await ben.join('flushed')
    for (const member of [ana, cleo]) await joinOf(member, ben)
    await flush()
    ben.send({ type: 'leave' })
    for (const member of [ana, cleo]) await leaveOf(member, ben)
    await flush()
    ben.send({ type: 'join', room: 'flushed-alone' })
    await ben.next('joined')
    await flush()
    ben.send({ type: 'leave' })
    assert.equal((await ben.next('room_disbanded')).data.reason, 'last_member_left')

    await flush() // before a lease is renewed
    const ages: number[] = []
    await settled(t, 'a lease was renewed', LEASE_MS, async () => {
      ages.push((await cluster.health(0)).lease_age_ms ?? Infinity)
      return (ages.at(-1) ?? 0) < (ages.at(-2) ?? 0) ? undefined : ages.join()
    })
    await flush() // before an instance reconnects and syncs
    const [newest] = cluster.instance(0).link.links().slice(-1)
    assert.ok(newest)
    cluster.instance(0).link.drop()
    await cluster.notices(0, newest)
    await cluster.heals(t, 'an instance was well again after its connections broke', MENDED_LIMIT_MS)
    await flush() // before a dead instance is reaped
    const third = await cluster.add()
    const dora = await cluster.open(t, 2, 'dora')
    await dora.join('flushed')
    await flush()
    third.turnip.signal('SIGKILL')
    cluster.instances.pop()
    await third.turnip.exited
    await third.link.close()
    await settled(t, 'the members of a dead instance left', REAPED_LIMIT_MS, async () =>
      [ana, cleo].every(member => member.all('user_left').some(({ data }) => data.connection_id === dora.id)) ? undefined : 'they are still there')
    await flush()
    ana.send({ type: 'disband_room' })
    for (const member of [ana, cleo]) assert.equal((await member.next('room_disbanded')).data.reason, 'user_requested')
    await cluster.heals(t, 'all was well in the end', MENDED_LIMIT_MS)
  })
})
