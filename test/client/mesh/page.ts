import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Browser, Page } from 'playwright-core'
import { UdpCable } from './udp-cable.ts'

/** An address of its own for pages that need no server. Chromium takes localhost for secure without asking anybody. */
const ORIGIN = 'http://localhost:1'

let script: Promise<string> | undefined

/** A module of the tests' as one script for the browser, with what it imports. */
async function bundled (name: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(name, import.meta.url))],
    bundle: true,
    write: false,
    format: 'iife',
    globalName: 'library',
    target: 'es2023'
  })
  return outputFiles[0]?.text ?? ''
}

/** An empty page with a room of its own in it; an error that nobody catches fails the test. */
export async function openStage (t: TestContext, browser: Browser): Promise<Page> {
  const context = await browser.newContext()
  const page = await context.newPage()
  const problems: string[] = []
  page.on('pageerror', error => { problems.push(error.stack ?? error.message) })
  t.after(async () => {
    await context.close()
    assert.deepEqual(problems, [])
  })
  await page.route(`${ORIGIN}/`, async route => { await route.fulfill({ contentType: 'text/html', body: '<!doctype html>' }) })
  await page.goto(`${ORIGIN}/`)
  // the test's compiler keeps the names of functions by a function of its own
  await page.evaluate('globalThis.__name = f => f')
  await page.addScriptTag({ content: await (script ??= bundled('stage.ts')) })
  await page.evaluate('globalThis.stage = new library.Stage()')
  return page
}

/** Has all of a page's candidates lead through a cable of the test's. */
export async function wire (t: TestContext, page: Page): Promise<UdpCable> {
  const cable = new UdpCable()
  t.after(() => { cable.close() })
  await page.exposeFunction('through', async (candidate: string) => await cable.through(candidate))
  // Who may use the camera is told the real addresses; others get names that only browsers of this network know.
  await page.evaluate(async () => { (await navigator.mediaDevices.getUserMedia({ audio: true })).getTracks()[0]?.stop() })
  return cable
}
