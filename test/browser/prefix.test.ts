import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify from 'fastify'
import turnip from '../../src/app.ts'
import { DemoPage, startBrowser } from './demo-page.ts'

const options = { environment: 'development', accessSecret: 'a secret of the application', redisUrl: 'memory:' }

test('inside an application, under a prefix: the page works at /rtc and at /rtc/', async t => {
  const app = Fastify()
  app.get('/', async () => 'the application')
  await app.register(turnip, { ...options, prefix: '/rtc' })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const browser = await startBrowser()
  t.after(async () => {
    await browser.close()
    await app.close()
  })

  const a = await DemoPage.open(t, browser, `${url}/rtc?room=tea&name=Ada`)
  const b = await DemoPage.open(t, browser, `${url}/rtc/?room=tea&name=Bob`)
  await a.join()
  await a.state('in-room')
  await b.join()
  await Promise.all([a, b].map(async page => {
    await page.sees('Ada', 'Bob')
    await page.connected()
    await page.seesVideo()
  }))
})

test('the way to the page keeps its query, and takes a prefix of any depth', async t => {
  const app = Fastify()
  await app.register(turnip, { ...options, prefix: '/api/rtc' })
  t.after(async () => { await app.close() })
  assert.equal((await app.inject('/api/rtc')).headers.location, 'rtc/')
  assert.equal((await app.inject('/api/rtc?room=tea')).headers.location, 'rtc/?room=tea')
  const { headers } = await app.inject('/api/rtc/demo.js')
  assert.match(String(headers['content-type']), /^(application|text)\/javascript/)
  assert.match(String(headers['content-security-policy']), /default-src 'self'/)
  assert.equal(headers['cache-control'], 'no-cache')
})

test("an application's own start page stays its own", async t => {
  const app = Fastify()
  app.get('/', async () => 'the application')
  await app.register(turnip, options)
  t.after(async () => { await app.close() })
  assert.equal((await app.inject('/')).body, 'the application')
})
