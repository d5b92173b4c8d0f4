import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Browser } from 'playwright-core'
import { startBrowser } from '../../browser/demo-page.ts'
import { openStage } from './page.ts'
import type { Stage } from './stage.ts'

declare const stage: Stage
declare const library: { Stage: typeof Stage }

let browser: Browser

before(async () => { browser = await startBrowser() })
after(async () => { await browser.close() })

void describe('What a call carries', { concurrency: true }, () => {
  test('media flows both ways, and one exchange is enough for what both bring', async t => {
    const page = await openStage(t, browser)
    const result = await page.evaluate(async () => {
      const streams: string[] = []
      for (const id of ['a', 'b']) {
        const sent = stage.stream()
        const mesh = stage.enter(id, { stream: sent })
        mesh.on('stream', ({ peer, stream }) => { streams.push(`${id}: ${peer.id} ${String(peer.stream === stream)} ${stream.getTracks().map(({ kind }) => kind).join()}`) })
      }
      await stage.connected('a', 'b')
      await Promise.all([stage.moves('a', 'b'), stage.moves('b', 'a')])
      await stage.quiet()
      return { streams: streams.sort(), offers: stage.distinct('offer') }
    })
    assert.deepEqual(result, { streams: ['a: b true video', 'b: a true video'], offers: 1 })
  })

  test('who brings nothing gets what the other one brings: in one exchange where it asks for it, in two where it does not', async t => {
    const page = await openStage(t, browser)
    const offers = await page.evaluate(async () => await Promise.all([[], ['video'] as const].map(async receive => {
      const stage = new library.Stage()
      stage.enter('a', { receive })
      stage.enter('b', { stream: stage.stream() })
      await stage.connected('a', 'b')
      await stage.moves('a', 'b')
      await stage.quiet()
      return stage.distinct('offer')
    })))
    assert.deepEqual(offers, [2, 1])
  })

  test('tracks come and go on both sides at once, at any time, and both end up with what the other one sends', async t => {
    const page = await openStage(t, browser)
    const result = await page.evaluate(async () => {
      const [a, b] = ['a', 'b'].map(id => stage.enter(id))
      if (a === undefined || b === undefined) throw new Error('no mesh')
      const tracks = Array.from({ length: 6 }, () => stage.stream())
      const add = (mesh: typeof a, at: number): void => { const [track] = tracks[at]?.getTracks() ?? []; if (track !== undefined) mesh.addTrack(track, tracks[at] as MediaStream) }
      const remove = (mesh: typeof a, at: number): void => { const [track] = tracks[at]?.getTracks() ?? []; if (track !== undefined) mesh.removeTrack(track) }
      const wait = async (ms: number): Promise<void> => { await new Promise(resolve => setTimeout(resolve, ms)) }
      // while the first offer is on its way
      add(a, 0)
      add(b, 3)
      await wait(30)
      add(a, 1)
      add(b, 4)
      await stage.connected('a', 'b')
      for (let round = 0; round < 6; round++) {
        add(a, 2)
        add(b, 5)
        remove(b, 3)
        await wait(round * 20)
        remove(a, 2)
        remove(b, 5)
        add(b, 3)
        await wait(round * 10)
      }
      remove(a, 0)
      remove(b, 4)
      const ids = (id: string, other: string): string => stage.peer(id, other).streams.map(stream => stream.id).sort().join()
      const sent = (...at: number[]): string => at.map(index => tracks[index]?.id).sort().join()
      await stage.until('a sees what b sends', () => ids('a', 'b') === sent(3))
      await stage.until('b sees what a sends', () => ids('b', 'a') === sent(1))
      await Promise.all([stage.moves('a', 'b'), stage.moves('b', 'a')])
      const sections = (id: string, other: string): number => stage.peer(id, other).connection.currentLocalDescription?.sdp.match(/^m=video/gm)?.length ?? 0
      await stage.until('they are at rest', () => [stage.peer('a', 'b'), stage.peer('b', 'a')].every(({ connection }) => connection.signalingState === 'stable'))
      return { errors: stage.events.filter(event => event.includes('error')), sections: [sections('a', 'b'), sections('b', 'a')], connections: stage.connections.length }
    })
    assert.deepEqual(result.errors, [])
    assert.equal(result.connections, 2)
    // at most three of each side's at once
    assert.ok(result.sections.every(sections => sections <= 6), `${result.sections.join()} sections`)
  })

  test('a track takes the place of another without any exchange, for peers to come too', async t => {
    const page = await openStage(t, browser)
    const result = await page.evaluate(async () => {
      const first = stage.stream()
      const [old] = first.getTracks()
      const [track] = stage.stream().getTracks()
      if (old === undefined || track === undefined) throw new Error('no track')
      const mesh = stage.enter('a', { stream: first })
      stage.enter('b')
      await stage.connected('a', 'b')
      await stage.moves('b', 'a')
      const offers = stage.distinct('offer')
      await mesh.replaceTrack(old, track)
      old.stop()
      await stage.moves('b', 'a')
      const sent = stage.peer('a', 'b').connection.getSenders().map(sender => sender.track === track)
      stage.enter('c')
      await stage.connected('a', 'b', 'c')
      await stage.moves('c', 'a')
      mesh.removeTrack(track)
      await stage.until('it is gone', () => stage.peer('b', 'a').stream === undefined && stage.peer('c', 'a').stream === undefined)
      const unknown = await mesh.replaceTrack(old, track).then(() => 'taken', (error: Error) => error.message)
      return { offers, after: sent, unknown }
    })
    assert.deepEqual(result, { offers: 1, after: [true], unknown: 'That track is not sent' })
  })

  test('data channels are opened at any time, from both sides, and each mesh speaks over one of its own', async t => {
    const page = await openStage(t, browser)
    const result = await page.evaluate(async () => {
      const heard: string[] = []
      const [a, b] = ['a', 'b'].map(id => {
        const mesh = stage.client(id) && stage.mesh(id)
        mesh.on('peer', peer => {
          // before anything is connected
          const channel = peer.channel('early', { negotiated: true, id: 5 })
          channel.onopen = () => { channel.send(`early from ${id}`) }
          channel.onmessage = ({ data }) => { heard.push(`${id} heard ${String(data)}`) }
          heard.push(`${id} sent ${String(peer.send('too early'))}`)
        })
        mesh.on('channel', ({ peer, channel }) => {
          channel.onmessage = ({ data }) => { heard.push(`${id} heard ${String(data)} on ${channel.label} of ${peer.id}`) }
        })
        mesh.on('message', ({ peer, data }) => { heard.push(`${id} got ${typeof data === 'string' ? data : new Uint8Array(data).join('-')} from ${peer.id}`) })
        stage.join(id)
        return mesh
      })
      await stage.connected('a', 'b')
      await stage.until('both are open', () => a?.peers.get('b')?.send('hello') === true && b?.peers.get('a')?.send(new Uint8Array([1, 2])) === true)
      a?.send('to all')
      const late = stage.peer('b', 'a').channel('late', { ordered: false })
      late.onopen = () => { late.send('later') }
      await stage.until('all is heard', () => heard.includes('a heard later on late of b') && heard.includes('b got to all from a') && heard.includes('a got 1-2 from b') && heard.filter(line => line.includes('early from')).length === 2)
      return { heard: [...new Set(heard)].sort(), offers: stage.distinct('offer') }
    })
    assert.deepEqual(result, {
      heard: ['a got 1-2 from b', 'a heard early from b', 'a heard later on late of b', 'a sent false', 'b got hello from a', 'b got to all from a', 'b heard early from a', 'b sent false'],
      offers: 1
    })
  })

  test('each call knows its path, its round-trip time and how long it took, and one side reports it', async t => {
    const page = await openStage(t, browser)
    const result = await page.evaluate(async () => {
      const paths: string[] = []
      for (const id of ['a', 'b']) stage.enter(id).on('path', ({ peer, path }) => { paths.push(`${id} ${peer.id} ${path}`) })
      await stage.connected('a', 'b')
      await stage.until('it is reported', () => stage.at('b').reports.length > 0)
      const rtt = await stage.peer('a', 'b').roundTripTime()
      const quiet = new library.Stage()
      quiet.enter('a', { report: false })
      quiet.enter('b', { report: false })
      await quiet.connected('a', 'b')
      // a call that is over before the path was read for good is reported at its end
      const short = new library.Stage()
      short.enter('a')
      short.enter('b')
      await short.connected('a', 'b')
      await short.until('the path is known', () => short.peer('b', 'a').path !== undefined)
      short.meshes.get('b')?.close()
      return { paths, rtt, path: stage.peer('a', 'b').path, reports: [stage.at('a').reports, stage.at('b').reports], quiet: quiet.at('b').reports.length, short: short.at('b').reports.length }
    })
    assert.ok((result.rtt ?? -1) >= 0, `${result.rtt} ms`)
    const [none, [report, ...more] = []] = result.reports
    assert.deepEqual([none, more, result.quiet, result.short], [[], [], 0, 1])
    assert.ok(report !== undefined && report.ms > 0 && report.ms < 20_000)
    assert.deepEqual({ ...report, ms: 0 }, { peer: 'a', result: 'connected', ms: 0, path: 'host' })
    assert.equal(result.path, 'host')
    t.diagnostic(result.paths.join(', '))
  })
})
