/** The whole call of docs/client.md, in two real pages. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { startBrowser } from '../browser/demo-page.ts'
import { tokenFor } from '../harness/token.ts'
import { startTurnip } from '../harness/turnip-process.ts'

test('the whole call of docs/client.md connects two pages, and takes the picture of who has gone away', async t => {
  const docs = readFileSync(new URL('../../docs/client.md', import.meta.url), 'utf8')
  const [, html = ''] = /## A whole call\n\n```html\n(.*?)```/s.exec(docs) ?? []
  assert.notEqual(html, '')
  const [server, browser] = await Promise.all([startTurnip({ env: { ENVIRONMENT: 'development' } }), startBrowser()])
  t.after(async () => {
    await browser.close()
    await server.stop()
  })
  const [ada, bob] = await Promise.all(['ada', 'bob'].map(async name => {
    const page = await (await browser.newContext()).newPage()
    // The page and its backend are an application's: here they are the test's, at the server's own address, beside /client.
    await page.route('**/token', async route => { await route.fulfill({ body: tokenFor(name) }) })
    const problems: string[] = []
    page.on('pageerror', error => { problems.push(error.message) })
    t.after(() => { assert.deepEqual(problems, []) })
    await page.goto(`${server.url}/health?room=kitchen`)
    await page.setContent(html)
    return page
  }))
  for (const [page, other] of [[ada, 'bob'], [bob, 'ada']] as const) {
    await page?.locator(`#others video[title="${other}"]`).waitFor()
    await page?.waitForFunction('document.querySelector("#others video").videoWidth > 0')
  }
  await bob?.close()
  await ada?.locator('#others video').waitFor({ state: 'detached' })
})
