import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { startBrowser } from '../../browser/demo-page.ts'
import { openStage } from './page.ts'
import type { Stage } from './stage.ts'

declare const stage: Stage
declare const library: { Stage: typeof Stage }

let browser: Browser

before(async () => { browser = await startBrowser() })
after(async () => { await browser.close() })

/** What it took when one member's instance died at one point of the set-up. */
interface Outcome { at: number, ms: number, connections: number, offers: number, answers: number }

/** Many pairs at once, each with its own point; `left`: the others are told meanwhile that the member has left. */
async function outages (page: Page, victim: string, left: boolean): Promise<Outcome[]> {
  return await page.evaluate(async ({ victim, left }) => await Promise.all(Array.from({ length: 10 }, async (_, at): Promise<Outcome> => {
    const stage = new library.Stage()
    let count = 0
    let isAway = false
    let isOver = false
    const outage = (): void => {
      isAway = true
      stage.away(victim)
      if (left) setTimeout(() => { stage.gone(victim) }, 250)
      setTimeout(() => {
        isAway = false
        isOver = true
        if (left) stage.join(victim, true)
        else stage.back(victim)
      }, 500)
    }
    stage.lose = () => {
      if (count++ === at) outage()
      return isAway
    }
    const start = performance.now()
    stage.enter('a')
    stage.enter('b')
    await stage.until('the outage is over, or there is nothing left that it could come between', () => isOver || stage.isConnected('a', 'b'))
    if (count <= at) outage()
    await stage.until('the outage is over', () => isOver)
    await stage.connected('a', 'b')
    const ms = Math.round(performance.now() - start)
    await stage.quiet()
    await stage.connected('a', 'b')
    return { at, ms, connections: stage.connections.length, offers: stage.distinct('offer'), answers: stage.distinct('answer') }
  })), { victim, left })
}

void describe('The signals of a pair', { concurrency: true }, () => {
  test('a pair negotiates once, and whoever was there first calls, also where the other one has a mesh only after it has joined: one offer, one answer, then nothing more is said', async t => {
    const page = await openStage(t, browser)
    const all = await page.evaluate(async () => await Promise.all(([['a', 'b'], ['b', 'a'], ['b', 'a', 'late']] as const).map(async ([first, second, late]) => {
      const stage = new library.Stage()
      stage.enter(first, { stream: stage.stream() })
      stage.client(second)
      const mesh = (): unknown => stage.mesh(second, { stream: stage.stream() })
      if (late === undefined) mesh()
      stage.join(second)
      if (late !== undefined) mesh()
      await stage.connected('a', 'b')
      await stage.quiet()
      return { said: [stage.said(first, second), stage.said(second, first)], connections: stage.connections.length }
    })))
    for (const { said, connections } of all) {
      t.diagnostic(JSON.stringify(said))
      assert.deepEqual(said.map(types => types.filter(type => type === 'offer' || type === 'answer')), [['offer'], ['answer']])
      assert.equal(connections, 2)
    }
  })

  test('an instance that dies at any point of the set-up costs time, and no call: what is lost is sent again', async t => {
    const page = await openStage(t, browser)
    for (const outcomes of await Promise.all(['a', 'b'].map(async victim => await outages(page, victim, false)))) {
      t.diagnostic(outcomes.map(({ at, ms }) => `${at}: ${ms} ms`).join(', '))
      for (const { at, ms, ...made } of outcomes) {
        assert.deepEqual(made, { connections: 2, offers: 1, answers: 1 }, `${at}`)
        assert.ok(ms < 10_000)
      }
    }
  })

  test('... nor when the others are told meanwhile that the member has left', async t => {
    const page = await openStage(t, browser)
    for (const outcomes of await Promise.all(['a', 'b'].map(async victim => await outages(page, victim, true)))) {
      t.diagnostic(outcomes.map(({ at, ms, connections, offers }) => `${at}: ${ms} ms, ${connections} connections, ${offers} offers`).join('; '))
      for (const outcome of outcomes) {
        assert.ok(outcome.ms < 10_000 && outcome.connections <= 4, JSON.stringify(outcome))
      }
    }
  })

  test('signals that are lost without anybody noticing are sent again after a while', async t => {
    const page = await openStage(t, browser)
    const outcomes = await page.evaluate(async () => await Promise.all([0, 1, 2, 3, 4].map(async at => {
      const stage = new library.Stage()
      let count = 0
      stage.lose = () => count++ === at
      stage.enter('a')
      stage.enter('b')
      await stage.connected('a', 'b')
      await stage.quiet()
      return { at, offers: stage.distinct('offer'), connections: stage.connections.length }
    })))
    for (const outcome of outcomes) assert.deepEqual(outcome, { at: outcome.at, offers: 1, connections: 2 })
  })

  test('what was lost while Redis was away is sent again once it is back', async t => {
    const page = await openStage(t, browser)
    const times = await page.evaluate(async () => await Promise.all(['a', 'b'].map(async cutOff => {
      const stage = new library.Stage()
      stage.lose = () => true
      stage.enter('a')
      stage.enter('b')
      await stage.until('there is a call', () => stage.distinct('offer') > 0)
      stage.lose = () => false
      const start = performance.now()
      stage.at(cutOff).tell('degraded', { redis: 'up' })
      await stage.connected('a', 'b')
      return Math.round(performance.now() - start)
    })))
    t.diagnostic(`${times.join(' and ')} ms`)
    assert.ok(times.every(ms => ms < 2_500), 'before it would be sent again anyway')
  })

  test('a call that was taken and led to nothing, as its caller was said to have left, is not taken by another connection', async t => {
    const page = await openStage(t, browser)
    const times = await page.evaluate(async () => await Promise.all([['a', 'b'], ['b', 'a']].map(async ([caller = '', other = '']) => {
      const stage = new library.Stage()
      const info = { connection_id: caller, user_id: caller, username: caller }
      stage.lose = ({ from }) => from === other
      stage.enter(caller)
      stage.enter(other)
      // The answer is lost; the checks of who has answered reach the caller all the same.
      await stage.until('the caller is reached', () => stage.peer(caller, other).connection.iceConnectionState !== 'new')
      await new Promise(resolve => setTimeout(resolve, 500))
      const client = stage.at(other)
      client.members.delete(caller)
      client.tell('user_left', info)
      stage.lose = () => false
      const start = performance.now()
      client.members.set(caller, info)
      client.tell('user_joined', info)
      stage.at(caller).tell('resynced', { room: 'stage', members: stage.at(caller).members })
      await stage.connected(caller, other)
      return Math.round(performance.now() - start)
    })))
    t.diagnostic(`${times.join(' and ')} ms`)
    assert.ok(times.every(ms => ms < 10_000))
  })

  test('another connection_id of its own is another member to everybody, and all calls begin anew', async t => {
    const page = await openStage(t, browser)
    const events = await page.evaluate(async () => {
      stage.enter('b')
      stage.enter('m')
      await stage.connected('b', 'm')
      stage.away('m')
      const old = stage.at('m')
      // the server lost it, and the others are told so when its lease has ended: here after it is back
      old.connectionId = 'z'
      stage.clients.delete('m')
      stage.clients.set('z', old)
      stage.meshes.set('z', stage.meshes.get('m') as never)
      stage.meshes.delete('m')
      stage.join('z', true)
      stage.at('b').members.delete('m')
      stage.at('b').tell('user_left', { connection_id: 'm', user_id: 'm', username: 'm' })
      await stage.connected('b', 'z')
      return stage.events
    })
    assert.ok(events.includes('b left m') && events.includes('b connected z') && events.includes('m left b'), events.join('\n'))
  })
})
