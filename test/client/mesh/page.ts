import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Browser, Page } from 'playwright-core'
import { UdpCable } from './udp-cable.ts'

const scripts = new Map<string, Promise<string>>()

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

/** Serves one page, from an address of its own. It has to be a real one: pages from nowhere may not talk to this machine. */
export async function serve (t: TestContext, html = '<!doctype html>'): Promise<string> {
  const server = createServer((_request, response) => { response.writeHead(200, { 'content-type': 'text/html' }).end(html) }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.close() })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

/** An empty page of a browser profile of its own, with a module of the tests' as `library`; an error that nobody catches fails the test. */
export async function openPage (t: TestContext, browser: Browser, module: string): Promise<Page> {
  const context = await browser.newContext()
  const page = await context.newPage()
  const problems: string[] = []
  page.on('pageerror', error => { problems.push(error.stack ?? error.message) })
  t.after(async () => {
    await context.close()
    assert.deepEqual(problems, [])
  })
  await page.goto(await serve(t))
  // the test's compiler keeps the names of functions by a function of its own
  await page.evaluate('globalThis.__name = f => f')
  const script = scripts.get(module) ?? bundled(module)
  scripts.set(module, script)
  await page.addScriptTag({ content: await script })
  return page
}

/** A page with a room of its own in it. */
export async function openStage (t: TestContext, browser: Browser): Promise<Page> {
  const page = await openPage(t, browser, 'stage.ts')
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
