import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { IceServer } from '../../src/protocol/messages.ts'
import { Client } from '../harness/client.ts'
import { serve } from '../http/serve.ts'
import { SessionClient } from '../sessions/session-client.ts'

const STUN = { urls: 'stun:stun.example.com' }
const TURN = { iceServers: [STUN], turnUrls: ['turn:turn.example.com'], turnSecret: 'the secret of coturn' }
/** The least that can be set. */
const TTL_S = 5

/** When the credentials of the last of these end, ms since 1970. */
function endOf (servers: readonly IceServer[] = []): number {
  return Number(/^\d+/.exec(servers.at(-1)?.username ?? '')) * 1000
}

void describe('credentials that end', { concurrency: true }, () => {
  void test('a connected client is given others at three quarters of their life, again and again', async t => {
    const { wsUrl } = await serve(t, { ...TURN, turnTtlS: TTL_S })
    const opened = Date.now()
    const client = await Client.open(wsUrl, 'ada')
    let last = client.all('welcome')[0]?.data.ice_servers
    for (const n of [1, 2]) {
      const { data } = await client.next('ice_servers')
      const tookMs = Date.now() - opened
      assert.ok(tookMs >= n * 750 * TTL_S - 50, `number ${n} came after ${tookMs} ms`)
      assert.ok(endOf(data.ice_servers) > endOf(last))
      assert.equal(endOf(data.ice_servers), data.expires_at * 1000)
      assert.deepEqual(data.ice_servers[0], STUN)
      assert.notEqual(data.ice_servers[1]?.credential, last?.[1]?.credential)
      last = data.ice_servers
    }
    await client.close()
  })

  void test('who goes on with a session is given others at once, and is sent none while it is away', async t => {
    const { wsUrl } = await serve(t, { ...TURN, turnTtlS: TTL_S, resumeWindowMs: 10_000 })
    const ada = await SessionClient.open(wsUrl, 'ada')
    const [welcome] = ada.client.frames
    assert.ok(welcome?.type === 'welcome')
    const witness = await Client.open(wsUrl, 'ben')
    ada.cut()
    await witness.next('ice_servers')
    const { data, missed } = await ada.resume(wsUrl)
    assert.deepEqual(missed, [])
    assert.ok(endOf(data.ice_servers) > endOf(welcome.data.ice_servers))
    await Promise.all([ada.client.close(), witness.close()])
  })

  void test('nothing is sent again where nothing ends', async t => {
    const { wsUrl } = await serve(t, { iceServers: [STUN], turnTtlS: TTL_S })
    const { wsUrl: other } = await serve(t, { ...TURN, turnTtlS: TTL_S })
    const [client, witness] = [await Client.open(wsUrl, 'ada'), await Client.open(other, 'ben')]
    await witness.next('ice_servers')
    assert.deepEqual(await client.fence(), [])
    await Promise.all([client.close(), witness.close()])
  })
})
