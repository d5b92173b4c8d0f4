/** The calls of README and docs/client.md, in two real pages each. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test, type TestContext } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { startBrowser } from '../browser/demo-page.ts'
import { tokenFor } from '../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { serve } from './mesh/page.ts'

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const docs = read('docs/client.md')

let server: TurnipProcess
let browser: Browser

before(async () => {
  [server, browser] = await Promise.all([startTurnip({ env: { ENVIRONMENT: 'development' } }), startBrowser()])
})

after(async () => {
  await browser.close()
  await server.stop()
})

/** What stands in a page of the documentation. */
function exampleOf (page: string, what: RegExp): string {
  const [, example = ''] = what.exec(page) ?? []
  assert.notEqual(example, '')
  return example
}

/** Two users' pages at an address. Their backend is an application's: here it is the test's. */
async function openTwo (t: TestContext, url: string): Promise<[Page, Page]> {
  const open = async (name: string): Promise<Page> => {
    const context = await browser.newContext()
    const page = await context.newPage()
    await page.route('**/token', async route => { await route.fulfill({ body: tokenFor(name) }) })
    const problems: string[] = []
    page.on('pageerror', error => { problems.push(error.message) })
    t.after(async () => {
      await context.close()
      assert.deepEqual(problems, [])
    })
    await page.goto(url)
    return page
  }
  return await Promise.all([open('ada'), open('bob')])
}

const seesPicture = async (page: Page): Promise<void> => { await page.waitForFunction('document.querySelector("video:not(#own)")?.videoWidth > 0') }

test('the call in five lines, of README and docs/client.md, connects two pages', async t => {
  const lines = exampleOf(read('README.md'), /## A call in five lines\n\n```js\n(.*?)```/s)
  assert.equal(lines.trim().split('\n').length, 5)
  assert.ok(docs.includes(lines))
  const script = lines.replace('turnip/client', `${server.url}/client/index.js`).replace('https://rtc.example.com', server.url)
  await Promise.all((await openTwo(t, await serve(t, `<!doctype html><body><script type="module">${script}</script>`))).map(seesPicture))
})

test('the page of docs/client.md to try connects two tabs, at another address than the server', async t => {
  const html = exampleOf(docs, /## Try it\n.*?```html\n(.*?)```/s).replaceAll('http://localhost:5004', server.url)
  await Promise.all((await openTwo(t, await serve(t, html))).map(seesPicture))
})

test('the whole call of docs/client.md connects two pages, and takes the picture of who has gone away', async t => {
  const html = exampleOf(docs, /## A whole call\n\n```html\n(.*?)```/s)
  // At the server's own address, beside /client.
  const [ada, bob] = await openTwo(t, `${server.url}/health?room=hall`)
  await Promise.all([ada, bob].map(async page => { await page.setContent(html) }))
  for (const [page, other] of [[ada, 'bob'], [bob, 'ada']] as const) {
    await page.locator(`#others video[title="${other}"]`).waitFor()
    await seesPicture(page)
  }
  await bob.close()
  await ada.locator('#others video').waitFor({ state: 'detached' })
})
