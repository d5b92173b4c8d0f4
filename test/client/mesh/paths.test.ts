import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Browser } from 'playwright-core'
import { startBrowser } from '../../browser/demo-page.ts'
import { openStage, wire } from './page.ts'
import type { Stage } from './stage.ts'

declare const stage: Stage

let browser: Browser

before(async () => { browser = await startBrowser() })
after(async () => { await browser.close() })

void describe('A path that is lost', { concurrency: true }, () => {
  test('a path that dies is looked for anew, by one side and over the same connection', async t => {
    const page = await openStage(t, browser)
    const cable = await wire(t, page)
    await page.evaluate(async () => {
      stage.enter('a')
      stage.enter('b')
      await stage.connected('a', 'b')
    })
    await cable.cut()
    const noticedMs = await page.evaluate(async () => {
      const start = performance.now()
      await stage.until('both notice', () => stage.peer('a', 'b').state === 'reconnecting' && stage.peer('b', 'a').state === 'reconnecting')
      return Math.round(performance.now() - start)
    })
    cable.mend()
    const result = await page.evaluate(async () => {
      const start = performance.now()
      await stage.connected('a', 'b')
      const backMs = Math.round(performance.now() - start)
      await stage.quiet()
      return { backMs, connections: stage.connections.length, offers: [stage.count('a', 'b', 'offer'), stage.count('b', 'a', 'offer')], events: stage.events }
    })
    t.diagnostic(`noticed after ${noticedMs} ms, back ${result.backMs} ms later`)
    assert.equal(result.connections, 2)
    assert.deepEqual(result.offers, [1, 1], 'one call, one restart')
    assert.deepEqual(result.events.filter(event => event.includes('error') || event.includes('left')), [])
  })

  test('while there is no path at all it goes on trying, and says that it failed', async t => {
    const page = await openStage(t, browser)
    const cable = await wire(t, page)
    await cable.cut()
    await page.evaluate(async () => {
      // the 20 s that a set-up may take are 5 here
      const set = globalThis.setTimeout
      globalThis.setTimeout = ((what: () => void, ms?: number) => set(what, ms === 20_000 ? 5_000 : ms)) as typeof globalThis.setTimeout
      stage.enter('a')
      stage.enter('b')
      await stage.until('both fail', () => stage.peer('a', 'b').state === 'failed' && stage.peer('b', 'a').state === 'failed')
    })
    cable.mend()
    const result = await page.evaluate(async () => {
      await stage.until('the causes are told', () => stage.events.filter(event => event.includes('error')).length === 2)
      await stage.connected('a', 'b')
      return { reports: [stage.at('a').reports, stage.at('b').reports], connections: stage.connections.length, events: stage.events }
    })
    t.diagnostic(JSON.stringify(result, null, 1))
    assert.equal(result.connections, 2)
    const [none, [report, ...more] = []] = result.reports
    assert.deepEqual([none, more], [[], []], 'one report, by one side')
    assert.deepEqual({ ...report, ms: 0 }, { peer: 'a', result: 'failed', ms: 0, cause: 'No path was found between candidates here (host) and there (host)' })
  })
})
