import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startRedisServer } from '../harness/redis-server.ts'
import { startTurnip } from '../harness/turnip-process.ts'
import { DemoPage, NOBODY_THERE, startBrowser } from './demo-page.ts'

test('an instance that ends says so, and its page comes back into the call when the instance does', async t => {
  const redis = await startRedisServer()
  const env = { ENVIRONMENT: 'development', REDIS_URL: redis.url, DRAIN_TIMEOUT_MS: '3000' }
  const [one, two, browser] = await Promise.all([startTurnip({ env }), startTurnip({ env }), startBrowser()])
  const turnips = [one, two]
  t.after(async () => {
    await browser.close()
    await Promise.all(turnips.map(turnip => turnip.stop()))
    await redis.stop()
  })

  const a = await DemoPage.open(t, browser, one.url)
  const b = await DemoPage.open(t, browser, two.url, { expected: NOBODY_THERE })
  await a.join({ name: 'Ada', room: 'tea' })
  await a.state('in-room')
  await b.join({ name: 'Bob', room: 'tea' })
  await Promise.all([a.connected(), b.connected()])

  const ended = two.stop()
  await b.logs('goaway')
  await b.state('reconnecting')
  await a.logs('user_left', 'Bob')
  assert.deepEqual(await ended, { code: 0, signal: null })

  const again = await startTurnip({ env: { ...env, PORT: new URL(two.url).port } })
  turnips.push(again)
  await b.isTold('You are back in tea')
  await Promise.all([a, b].map(async page => {
    await page.sees('Ada', 'Bob')
    await page.connected()
    await page.seesVideo()
  }))
  await b.say('here again')
  await a.hears('here again')
})
