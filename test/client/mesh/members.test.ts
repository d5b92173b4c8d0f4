import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Browser } from 'playwright-core'
import { startBrowser } from '../../browser/demo-page.ts'
import { openStage, wire } from './page.ts'
import type { Stage } from './stage.ts'

declare const stage: Stage
declare const library: { Stage: typeof Stage }

let browser: Browser

before(async () => { browser = await startBrowser() })
after(async () => { await browser.close() })

void describe('A mesh and the members of its room', { concurrency: true }, () => {
  test('a member that the server takes for gone keeps the call that works, and goes on with it when it is back', async t => {
    const page = await openStage(t, browser)
    const result = await page.evaluate(async () => {
      stage.enter('a')
      stage.enter('b')
      await stage.connected('a', 'b')
      const peers = [stage.peer('a', 'b'), stage.peer('b', 'a')]
      for (const victim of ['a', 'b']) {
        stage.away(victim)
        stage.gone(victim)
        stage.join(victim, true)
      }
      await stage.quiet()
      const same = [stage.peer('a', 'b') === peers[0], stage.peer('b', 'a') === peers[1]]
      return { same, connected: stage.isConnected('a', 'b'), offers: stage.distinct('offer'), connections: stage.connections.length }
    })
    assert.deepEqual(result, { same: [true, true], connected: true, offers: 1, connections: 2 })
  })

  test('... but not for longer than ten seconds', async t => {
    const page = await openStage(t, browser)
    const ms = await page.evaluate(async () => {
      stage.enter('a')
      stage.enter('b')
      await stage.connected('a', 'b')
      const start = performance.now()
      stage.gone('a')
      await stage.until('the call is closed', () => stage.meshes.get('b')?.peers.size === 0)
      return performance.now() - start
    })
    assert.ok(ms > 9_000 && ms < 20_000, `${ms} ms`)
  })

  test('... and not when its path is lost', async t => {
    const page = await openStage(t, browser)
    const cable = await wire(t, page)
    await page.evaluate(async () => {
      stage.enter('a')
      stage.enter('b')
      await stage.connected('a', 'b')
    })
    await cable.cut()
    const left = await page.evaluate(async () => {
      await stage.until('b notices', () => stage.peer('b', 'a').state === 'reconnecting')
      stage.gone('a')
      return stage.meshes.get('b')?.peers.size
    })
    assert.equal(left, 0)
  })

  test('a member that leaves is gone at once, and is called anew each time it comes', async t => {
    const page = await openStage(t, browser)
    const result = await page.evaluate(async () => {
      stage.enter('a')
      stage.enter('b')
      await stage.connected('a', 'b')
      const ms: number[] = []
      for (const leaver of ['a', 'b', 'a', 'b']) {
        const start = performance.now()
        const other = leaver === 'a' ? 'b' : 'a'
        stage.leave(leaver)
        await stage.until('it is gone', () => stage.meshes.get(other)?.peers.size === 0)
        ms.push(performance.now() - start)
        stage.join(leaver)
        await stage.connected('a', 'b')
      }
      // so quickly that the connection of before is not closed yet on the other side
      for (const leaver of ['a', 'b']) {
        stage.leave(leaver)
        stage.join(leaver)
        await stage.connected('a', 'b')
      }
      await stage.quiet()
      return { ms, connected: stage.isConnected('a', 'b'), open: stage.connections.filter(({ signalingState }) => signalingState !== 'closed').length, offers: stage.distinct('offer') }
    })
    assert.ok(result.ms.every(ms => ms < 2_000), `gone after ${result.ms.join()} ms`)
    assert.deepEqual([result.connected, result.open], [true, 2])
    t.diagnostic(`7 calls, ${result.offers} offers`)
  })

  test('a mesh that is closed tells the others, and leaves nothing behind; another one may take its place', async t => {
    const page = await openStage(t, browser)
    const result = await page.evaluate(async () => {
      // what is waited for here, and who listens
      const timers = new Set<unknown>()
      const { setTimeout: set, clearTimeout: clear } = globalThis
      globalThis.setTimeout = ((what: () => void, ms?: number) => {
        const timer = set(() => { timers.delete(timer); what() }, ms)
        timers.add(timer)
        return timer
      }) as typeof globalThis.setTimeout
      globalThis.clearTimeout = timer => { timers.delete(timer); clear(timer) }
      const waited = async (ms: number): Promise<void> => { await new Promise(resolve => set(resolve, ms)) }
      let listeners = 0
      const client = stage.client('b')
      const on = client.on.bind(client) as (event: never, listener: never) => () => void
      client.on = (event: never, listener: never) => {
        const off = on(event, listener)
        listeners++
        return () => { listeners--; off() }
      }
      const { addEventListener: add, removeEventListener: remove } = globalThis
      globalThis.addEventListener = (...given: unknown[]) => { listeners++; add.apply(globalThis, given as never) }
      globalThis.removeEventListener = (...given: unknown[]) => { listeners--; remove.apply(globalThis, given as never) }

      stage.enter('a')
      for (const id of ['c', 'd']) stage.enter(id)
      const outcomes: unknown[] = []
      for (const when of ['before anything was heard', 'while connecting', 'connected']) {
        const mesh = stage.mesh('b', { stream: stage.stream() })
        if (stage.at('b').room === null) stage.join('b')
        if (when === 'while connecting') await stage.until(when, () => stage.said('a', 'b').includes('answer'))
        if (when === 'connected') await stage.connected('a', 'b', 'c', 'd')
        const heard = listeners
        const before = new Set(timers)
        mesh.close()
        mesh.close()
        stage.meshes.get('a')?.close()
        stage.meshes.get('c')?.close()
        stage.meshes.get('d')?.close()
        outcomes.push({ when, heard: heard > 0, listeners, timers: timers.size, before: before.size > 0, open: stage.connections.filter(({ signalingState }) => signalingState !== 'closed').length, peers: mesh.peers.size })
        await waited(200)
        for (const id of ['a', 'c', 'd']) stage.mesh(id)
      }
      return outcomes
    })
    for (const outcome of result) {
      const { when } = outcome as { when: string }
      assert.deepEqual(outcome, { when, heard: true, listeners: 0, timers: 0, before: true, open: 0, peers: 0 })
    }

    const again = await page.evaluate(async () => {
      const stage = new library.Stage()
      const result: Array<{ ms: number }> = []
      stage.enter('a')
      stage.enter('b')
      await stage.connected('a', 'b')
      for (const closer of ['a', 'b']) {
        const other = closer === 'a' ? 'b' : 'a'
        stage.meshes.get(closer)?.close()
        await stage.until('the other was told', () => stage.meshes.get(other)?.peers.size === 0)
        const start = performance.now()
        stage.mesh(closer)
        await stage.connected('a', 'b')
        result.push({ ms: performance.now() - start })
      }
      return result
    })
    for (const { ms } of again) assert.ok(ms < 4_000, 'a latecomer calls, where the offer was missed')
  })

  test('a room that is too large for a mesh is told so once, and connects all the same', async t => {
    const page = await openStage(t, browser)
    const warnings: string[] = []
    page.on('console', message => { if (message.type() === 'warning') warnings.push(message.text()) })
    const crowded = await page.evaluate(async () => {
      const told: unknown[] = []
      stage.enter('a', { maxPeers: 2 }).on('crowded', detail => { told.push(detail) })
      for (const id of ['b', 'c', 'd', 'e']) stage.enter(id)
      await stage.connected('a', 'b', 'c', 'd', 'e')
      stage.leave('e')
      stage.leave('d')
      const before = told.length
      stage.join('d')
      return { told, before }
    })
    assert.deepEqual(crowded, { told: [{ members: 3, limit: 2 }, { members: 3, limit: 2 }], before: 1 })
    assert.equal(warnings.length, 2)
  })

  test('new ICE servers reach the calls that run, and options those to come', async t => {
    const page = await openStage(t, browser)
    const result = await page.evaluate(async () => {
      const own = { urls: 'stun:own.invalid' }
      stage.client('a').iceServers = [{ urls: 'stun:first.invalid' }]
      stage.mesh('a', { rtc: { iceServers: [own], iceTransportPolicy: 'relay' } })
      stage.join('a')
      stage.enter('c')
      stage.enter('b')
      stage.peer('a', 'c').connection.close() // by the application: nothing tells the mesh
      const urls = (): unknown => stage.peer('a', 'b').connection.getConfiguration().iceServers?.map(server => server.urls).flat()
      const first = urls()
      stage.at('a').iceServers = [{ urls: 'stun:second.invalid' }]
      stage.at('a').tell('ice_servers', { ice_servers: stage.at('a').iceServers })
      const { iceTransportPolicy, bundlePolicy } = stage.peer('a', 'b').connection.getConfiguration()
      return { first, second: urls(), iceTransportPolicy, bundlePolicy }
    })
    assert.deepEqual(result, {
      first: ['stun:own.invalid', 'stun:first.invalid'],
      second: ['stun:own.invalid', 'stun:second.invalid'],
      iceTransportPolicy: 'relay',
      bundlePolicy: 'max-bundle'
    })
  })
})
