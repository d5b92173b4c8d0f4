import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Browser, Page } from 'playwright-core'
import { tokenFor } from '../../harness/token.ts'
import type { Account, Callers } from './callers.ts'

declare const callers: Callers

/** One side of a call, in a page. */
export class Side {
  readonly name: string
  readonly #page: Page

  constructor (page: Page, name: string) {
    this.#page = page
    this.name = name
  }

  /** @returns its connection_id */
  async connect (url: string): Promise<string> {
    const { name } = this
    return await this.#page.evaluate(async ({ name, url, token }) => await callers.open(name, url, token), { name, url, token: tokenFor(name) })
  }

  async join (room: string): Promise<void> {
    await this.#page.evaluate(async ({ name, room }) => { await callers.at(name).join(room) }, { name: this.name, room })
  }

  /** Waits until so many others are connected and heard. @returns when that was, ms since 1970 */
  async talks (others = 1): Promise<number> {
    return await this.#page.evaluate(async ({ name, others }) => await callers.at(name).talks(others), { name: this.name, others })
  }

  async account (): Promise<Account> {
    return await this.#page.evaluate(async name => await callers.at(name).account(), this.name)
  }

  async close (): Promise<void> {
    await this.#page.evaluate(name => { callers.close(name) }, this.name)
  }
}

/** Empty pages of one browser, with the client library in them. */
export class Pages {
  /** Errors that nobody has caught. */
  readonly problems: string[] = []
  readonly #pages: Page[] = []
  readonly #server: Server

  private constructor (server: Server) {
    this.#server = server
  }

  static async open (browser: Browser, count: number): Promise<Pages> {
    const { outputFiles } = await build({
      entryPoints: [fileURLToPath(new URL('callers.ts', import.meta.url))],
      bundle: true,
      write: false,
      format: 'iife',
      globalName: 'library',
      target: 'es2023'
    })
    const script = outputFiles[0]?.text ?? ''
    // Chromium lets pages of this machine connect to this machine, and no page that a test makes up.
    const server = createServer((_request, response) => { response.setHeader('content-type', 'text/html').end('<!doctype html><link rel="icon" href="data:,">') }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const pages = new Pages(server)
    const context = await browser.newContext()
    for (let i = 0; i < count; i++) {
      const page = await context.newPage()
      page.on('pageerror', error => { pages.problems.push(error.stack ?? error.message) })
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
      // the test's compiler keeps the names of functions by a function of its own
      await page.evaluate('globalThis.__name = f => f')
      await page.addScriptTag({ content: script })
      await page.evaluate('globalThis.callers = new library.Callers()')
      pages.#pages.push(page)
    }
    return pages
  }

  /** A side of a call in one of the pages. */
  side (index: number, name: string): Side {
    const page = this.#pages[index % this.#pages.length]
    if (page === undefined) throw new RangeError('there are no pages')
    return new Side(page, name)
  }

  async close (): Promise<void> {
    await this.#pages[0]?.context().close()
    this.#server.closeAllConnections()
    this.#server.close()
  }
}
