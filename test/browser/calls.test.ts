import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Browser } from 'playwright-core'
import type { ServerMessage } from '../../src/protocol/messages.ts'
import { Client } from '../harness/client.ts'
import { startRedisServer, type RedisServer } from '../harness/redis-server.ts'
import { tokenFor } from '../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { DemoPage, startBrowser } from './demo-page.ts'

let redis: RedisServer
let one: TurnipProcess
let two: TurnipProcess
let browser: Browser

before(async () => {
  redis = await startRedisServer()
  const env = { ENVIRONMENT: 'development', REDIS_URL: redis.url, MAX_ROOM_MEMBERS: '3' };
  [one, two, browser] = await Promise.all([startTurnip({ env }), startTurnip({ env }), startBrowser()])
})

after(async () => {
  await browser.close()
  await Promise.all([one.stop(), two.stop()])
  await redis.stop()
})

test('two pages, two clicks: video flows, and camera and microphone go off and on', async t => {
  const a = await DemoPage.open(t, browser, one.url)
  const b = await DemoPage.open(t, browser, two.url)
  await a.join()
  await b.join()
  await Promise.all([a.seesVideo(), b.seesVideo()])

  await a.page.click('#camera')
  await b.page.locator('.tile[data-peer][data-video="off"]').waitFor()
  await a.page.click('#mic')
  await b.page.locator('.tile[data-peer] .caption-muted').getByText('muted').waitFor()
  await a.page.click('#camera')
  await a.page.click('#mic')
  await b.seesVideo()
  await b.page.locator('.tile[data-peer] .caption-muted').waitFor({ state: 'hidden' })
  await b.connected()
})

test('the link of a room is copied, or handed to what a phone has for it, and leads in front of that room', async t => {
  const desk = await DemoPage.open(t, browser, one.url, { permissions: ['clipboard-read', 'clipboard-write'] })
  await desk.join({ name: 'Ada', room: 'tea:4@5' })
  await desk.state('in-room')
  await desk.page.click('#share')
  await desk.page.locator('#copied').getByText('Link copied').waitFor()
  const link = await desk.page.evaluate<string>('navigator.clipboard.readText()')
  assert.equal(desk.page.url(), link)

  const phone = await DemoPage.open(t, browser, link, { hasTouch: true, isMobile: true, viewport: { width: 390, height: 844 } })
  await phone.page.addInitScript('navigator.share = async data => { window.shared = data }')
  await phone.page.reload()
  await phone.page.locator('#lobby-title').getByText('Join tea:4@5', { exact: true }).waitFor()
  await phone.join({ name: 'Bob' })
  await phone.sees('Ada', 'Bob')
  await phone.page.getByRole('button', { name: 'Share link' }).click()
  assert.equal(await phone.page.evaluate('shared.url'), link)
})

test('a call across two instances: video, chat, members, and the end of the room', async t => {
  const admin = await Client.open(two.wsUrl, 'admin', { role: 'admin' })
  t.after(async () => { await admin.close() })
  admin.send({ type: 'watch' })
  await admin.next('watching')

  const a = await DemoPage.open(t, browser, one.url)
  const b = await DemoPage.open(t, browser, two.url)
  await a.join({ name: 'Ada', room: 'tea' })
  await a.sees('Ada')
  await b.join({ name: 'Bob', room: 'tea' })
  await Promise.all([a, b].map(async page => {
    await page.sees('Ada', 'Bob')
    await page.connected()
    await page.seesVideo()
  }))
  t.diagnostic(`connected: ${(await b.logged('connected')).join()}`)

  await a.say('one lump or two?')
  await b.hears('one lump or two?')
  await b.say('two <b>please</b>')
  await a.hears('two <b>please</b>')
  const relayed = [...await a.logged('data'), ...await b.logged('data')].filter(line => line.startsWith('chat'))
  assert.deepEqual(relayed, [], 'chat goes from browser to browser')

  await b.page.close()
  await a.sees('Ada')
  await a.isTold('Bob left')
  await a.page.click('#leave')
  await a.logs('room_disbanded', 'tea, last_member_left')
  await a.state('open')
  // The rooms of other tests end when the places of their pages, which are gone without a word, are kept no longer.
  const isOfTea = (frame: ServerMessage): boolean => frame.type === 'room_disbanded' && frame.data.room === 'tea'
  const ended = (await admin.upTo(isOfTea)).at(-1)
  assert.deepEqual(ended, { type: 'room_disbanded', data: { room: 'tea', reason: 'last_member_left' } })
  assert.equal((await admin.fence()).filter(isOfTea).length, 0, 'told once')
})

test('a room disbanded on one page ends on the other, which can join again', async t => {
  const a = await DemoPage.open(t, browser, one.url)
  const b = await DemoPage.open(t, browser, two.url)
  await a.join({ name: 'Ada', room: 'short' })
  await a.state('in-room')
  await b.join({ name: 'Bob', room: 'short' })
  await Promise.all([a.connected(), b.connected()])

  await a.page.click('#disband')
  for (const page of [a, b]) {
    await page.logs('room_disbanded', 'short, user_requested')
    await page.state('open')
    await page.notes('The room short was disbanded.')
  }
  await b.join()
  await b.sees('Bob')
  await a.join()
  await Promise.all([a.seesVideo(), b.seesVideo()])
})

test('who has no camera still sees the others and chats', async t => {
  const without = await startBrowser({ camera: false })
  t.after(async () => { await without.close() })
  const a = await DemoPage.open(t, browser, one.url)
  const b = await DemoPage.open(t, without, two.url)
  await a.join({ name: 'Ada', room: 'shy' })
  await a.state('in-room')
  await b.join({ name: 'Bob', room: 'shy' })
  await Promise.all([a.connected(), b.connected()])
  await b.seesVideo()
  await b.page.locator('#media-note').getByText('No camera or microphone was found.').waitFor()
  await a.page.locator('.tile[data-peer][data-video="off"]').waitFor()
  await b.say('can you hear me?')
  await a.hears('can you hear me?')
})

test('a room that is full is told so, and another one can be joined', async t => {
  const members = await Promise.all(['x', 'y', 'z'].map(async name => {
    const client = await Client.open(one.wsUrl, name)
    await client.join('full')
    return client
  }))
  t.after(async () => { await Promise.all(members.map(async client => { await client.close() })) })
  const page = await DemoPage.open(t, browser, two.url)
  await page.join({ room: 'full' })
  await page.notes('(room_full)')
  await page.join({ room: 'roomy' })
  await page.state('in-room')
})

test('a page whose token is about to end goes on under a new one, in the same connection', async t => {
  const a = await DemoPage.open(t, browser, one.url)
  let given = 0
  await a.page.route('**/generate-token', async route => {
    const { user_id: userId, username } = route.request().postDataJSON() as { user_id: string, username: string }
    const now = Math.floor(Date.now() / 1000)
    const life = given++ === 0 ? { iat: now - 3600, exp: now + 30 } : {}
    await route.fulfill({ json: { token: tokenFor(userId, { username, ...life }) } })
  })
  await a.join({ name: 'Ada', room: 'long' })
  await a.state('in-room')
  await a.page.waitForSelector('#events li[data-type="refreshed"]')
  assert.equal(given, 2)
  assert.equal(await a.page.locator('#events li[data-type="welcome"]').count(), 1, 'one connection')
})
