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

void describe('A mesh and a client without the library', { concurrency: true }, () => {
  test('a client without the library has a call with a mesh, whoever came first and whichever id is higher', async t => {
    const page = await openStage(t, browser)
    const outcomes = await page.evaluate(async () => await Promise.all(['plain first', 'mesh first'].flatMap(order => ['a', 'z'].flatMap(id => [true, false].map(async media => {
      const stage = new library.Stage()
      const plain = stage.plain(id)
      const heard: string[] = []
      const mesh = (): void => {
        stage.enter('m', media ? { stream: stage.stream() } : {}).on('message', ({ data }) => { heard.push(String(data)) })
      }
      if (order === 'plain first') {
        stage.join(id)
        mesh()
      } else {
        mesh()
        stage.join(id)
      }
      await stage.until('the mesh hears', () => heard.includes('hello'))
      await stage.until('the plain one hears', () => stage.peer('m', id).send('hello') && plain.heard.includes('hello'))
      await stage.quiet()
      return {
        order,
        id,
        media,
        errors: [...plain.errors, ...stage.events.filter(event => event.includes('error'))],
        states: [plain.connection?.connectionState, stage.peer('m', id).state],
        video: plain.kinds.join(),
        unknown: stage.said('m', id).filter(type => !['offer', 'answer', 'candidate'].includes(type))
      }
    })))))
    for (const { order, id, media, ...outcome } of outcomes) {
      assert.deepEqual(outcome, { errors: [], states: ['connected', 'connected'], video: media ? 'video' : '', unknown: [] }, `${order}, ${id}, ${media ? 'with' : 'without'} media`)
    }
  })

  test('... also when it closes its side and calls again, and it is gone when it leaves', async t => {
    const page = await openStage(t, browser)
    const result = await page.evaluate(async () => {
      const plain = stage.plain('a')
      stage.join('a')
      stage.enter('m')
      await stage.until('they are connected', () => stage.isConnected('m'))
      const first = stage.peer('m', 'a')
      plain.hangUp()
      await stage.until('the call is over', () => first.state === 'closed')
      plain.call('m')
      await stage.until('they are connected again', () => stage.meshes.get('m')?.peers.get('a')?.state === 'connected')
      stage.leave('a')
      return { peers: stage.meshes.get('m')?.peers.size, errors: plain.errors }
    })
    assert.deepEqual(result, { peers: 0, errors: [] })
  })

  test('a client that declines data channels is not asked for them without end', async t => {
    const page = await openStage(t, browser)
    const result = await page.evaluate(async () => {
      const plain = stage.plain('a')
      plain.rewrite = sdp => sdp.replace('m=application 9', 'm=application 0').replace('BUNDLE 0 1', 'BUNDLE 0')
      stage.enter('m', { stream: stage.stream() })
      stage.join('a')
      await new Promise(resolve => setTimeout(resolve, 5_000))
      return { state: stage.peer('m', 'a').state, offers: stage.count('m', 'a', 'offer') }
    })
    t.diagnostic(JSON.stringify(result))
    assert.equal(result.state, 'connected')
    assert.ok(result.offers < 20)
  })

  test('candidates that come before their description are held for it', async t => {
    const page = await openStage(t, browser)
    const result = await page.evaluate(async () => {
      const plain = stage.plain('a')
      plain.delayMs = 1_500
      stage.join('a')
      stage.enter('m')
      await stage.until('they are connected', () => stage.isConnected('m'))
      return { said: stage.said('a', 'm'), errors: stage.events.filter(event => event.includes('error')) }
    })
    assert.deepEqual(result.errors, [])
    assert.equal(result.said[0], 'candidate')
    assert.ok(result.said.indexOf('offer') > 1, result.said.join())
  })

  test('what is no signal is left alone, and what is a broken one is told', async t => {
    const page = await openStage(t, browser)
    const errors = await page.evaluate(async () => {
      stage.enter('b')
      stage.client('c')
      stage.join('c')
      const link = { life: 1, seq: 1, ack: 0 }
      for (const data of [
        null, 7, 'offer', [], {}, { type: 'chat', text: 'hi' }, { type: 'offer' }, { type: 'offer', sdp: 7 }, { type: 'candidate', candidate: null },
        { type: 'ack' }, { type: 'bye' }, { type: 'ack', link: 7 }, { type: 'offer', sdp: '', link: { ...link, seq: -1 } }, { type: 'ack', link: { ...link, life: 1e300 } },
        { type: 'candidate', candidate: { candidate: 'nonsense', sdpMid: '0' } }, { type: 'answer', sdp: 'nonsense' }, { type: 'offer', sdp: 'nonsense' }
      ]) stage.say('c', 'b', data)
      await stage.until('it is told', () => stage.events.some(event => event.includes('error')))
      return stage.events.filter(event => event.includes('error'))
    })
    assert.equal(errors.length, 1, errors.join('\n'))
  })
})
