import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { Emitter } from '../../../src/client/emitter.ts'
import { PeerMesh, type Member, type SignalingClient, type SignalingEvents } from '../../../src/client/index.ts'

const BEN = { connection_id: 'a', user_id: 'ben', username: 'Ben' }

/** As much of a connection as a pair needs that never connects. */
class Unconnected extends EventTarget {
  static made: Unconnected[] = []
  connectionState = 'new'
  signalingState = 'stable'
  restarts = 0
  constructor () {
    super()
    Unconnected.made.push(this)
  }

  readonly localDescription = { type: 'offer', sdp: '' }
  createDataChannel (): object {
    this.dispatchEvent(new Event('negotiationneeded'))
    return new EventTarget()
  }

  async setLocalDescription (): Promise<void> { await Promise.resolve() }
  setConfiguration (): void {}
  restartIce (): void { this.restarts++ }
  async getStats (): Promise<Map<string, object>> { return await Promise.resolve(new Map()) }
  close (): void { this.signalingState = this.connectionState = 'closed' }
  becomes (state: string): void {
    this.connectionState = state
    this.dispatchEvent(new Event('connectionstatechange'))
  }
}

class Client extends Emitter<SignalingEvents> {
  readonly state = 'open'
  readonly room = 'tea'
  readonly members = new Map<string, Member>([[BEN.connection_id, BEN]])
  readonly iceServers = []
  readonly connectionId: string
  constructor (connectionId: string) {
    super()
    this.connectionId = connectionId
  }

  readonly called: string[] = []
  send ({ type }: { type: string }, to: string): boolean {
    if (type === 'offer' && !this.called.includes(to)) this.called.push(to)
    return true
  }

  report (): void {}
  tell<E extends keyof SignalingEvents> (event: E, detail: SignalingEvents[E]): void { this.emit(event, detail) }
}

/** @param id the higher one leads */
function meshFor (t: TestContext, id = 'b'): { mesh: PeerMesh, client: Client, states: string[] } {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  Unconnected.made = []
  const client = new Client(id)
  const mesh = new PeerMesh(client as unknown as SignalingClient, { RTCPeerConnection: Unconnected as unknown as typeof RTCPeerConnection })
  const states: string[] = []
  mesh.on('state', ({ state }) => { states.push(state) })
  return { mesh, client, states }
}

test('a mesh that is closed when a call fails tries nothing any more', t => {
  const { mesh, states } = meshFor(t)
  mesh.on('state', ({ state }) => { if (state === 'failed') mesh.close() })
  t.mock.timers.tick(20_000)
  const restart = t.mock.method(globalThis, 'setTimeout')
  t.mock.timers.tick(120_000)
  assert.equal(restart.mock.callCount(), 0)
  assert.deepEqual(states, ['failed', 'closed'])
})

test('a mesh that is closed when a path is lost stays closed', t => {
  const { mesh, states } = meshFor(t)
  mesh.on('state', ({ state }) => { if (state === 'reconnecting') mesh.close() })
  Unconnected.made[0]?.becomes('connected')
  Unconnected.made[0]?.becomes('failed')
  t.mock.timers.tick(120_000)
  assert.deepEqual(states, ['connected', 'reconnecting', 'closed'])
})

test('a mesh that is closed when a member goes connects with nobody any more', t => {
  const { mesh, client } = meshFor(t)
  mesh.on('left', () => { mesh.close() })
  client.tell('resynced', { room: 'tea', members: new Map([['c', { ...BEN, connection_id: 'c' }]]) })
  assert.deepEqual(Unconnected.made.map(({ connectionState }) => connectionState), ['closed'])
  assert.equal(mesh.peers.size, 0)
})

test('a path that is lost is looked for by the leading side at once, and by the other one later, unless it hears that it is', t => {
  /** After how many seconds it is, with offers of the other side at these. */
  const restartsOf = (id: string, ...offers: number[]): number[] => {
    const { client, mesh } = meshFor(t, id)
    client.tell('data', { from: BEN, data: { type: 'answer', sdp: '' } })
    const [connection] = Unconnected.made
    assert.ok(connection)
    connection.becomes('connected')
    connection.becomes('failed')
    const restarts: number[] = []
    for (let second = 0; second <= 120; second++) {
      t.mock.timers.tick(second === 0 ? 0 : 1_000)
      if (connection.restarts > restarts.length) restarts.push(second)
      if (offers.includes(second)) client.tell('data', { from: BEN, data: { type: 'offer', sdp: '' } })
    }
    mesh.close()
    t.mock.timers.reset()
    return restarts
  }
  const leading = [0, 8, 24, 54, 84, 114]
  assert.deepEqual(restartsOf('b'), leading)
  assert.deepEqual(restartsOf('0', ...leading), [])
  assert.deepEqual(restartsOf('0'), [8, 24, 48, 86])
})

test('where there is no WebRTC no mesh can be made', () => {
  assert.throws(() => new PeerMesh(new Client('b') as unknown as SignalingClient), { name: 'TypeError', message: /RTCPeerConnection/ })
})

test('a mesh that is made in a room calls at once who came later, and after a second who was there first and has not called', async t => {
  for (const [self, patienceMs] of [['z', 1_000], ['0', 2_000]] as const) {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const client = new Client(self)
    for (const [id, joined] of [['first', { joined_at: 0 }], ['has-called', { joined_at: 0 }], ['later', {}]] as const) client.members.set(id, { ...BEN, connection_id: id, ...joined })
    client.members.delete(BEN.connection_id)
    const mesh = new PeerMesh(client as unknown as SignalingClient, { RTCPeerConnection: Unconnected as unknown as typeof RTCPeerConnection })
    const called = async (): Promise<string[]> => {
      await new Promise(resolve => setImmediate(resolve)) // offers are made by promises
      return client.called
    }
    assert.deepEqual(await called(), ['later'])
    client.tell('data', { from: { ...BEN, connection_id: 'has-called' }, data: { type: 'offer', sdp: '' } })
    t.mock.timers.tick(patienceMs - 1)
    assert.deepEqual(await called(), ['later'])
    t.mock.timers.tick(1)
    assert.deepEqual(await called(), ['later', 'first'])
    mesh.close()
    t.mock.timers.reset()
  }
})
