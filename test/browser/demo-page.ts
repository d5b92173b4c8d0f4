import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import { findChromium } from '../../scripts/services.js'

/** With TURNIP_SCREENSHOTS=<directory>, tests leave pictures of the page there. */
export const SCREENSHOTS = process.env.TURNIP_SCREENSHOTS ?? ''

/** What the browser itself writes into the console while nobody listens at an address, or when it asks why and somebody listens again. */
export const NOBODY_THERE = /net::ERR_(?!BLOCKED)|WebSocket connection to .* failed|status of (426|503)/

/** What the page loads besides its own files. */
const LIBRARY = new URL('../../dist/client/index.js', import.meta.url)

/** How long anything on the page may take before a test fails, ms. Only a broken page ever takes it. */
const LIMIT_MS = 40_000

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--allow-loopback-in-peer-connection'
]

// A camera and a microphone that nobody has to plug in, or to allow.
const CAMERA_FLAGS = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream']

/** Keeps the page's connections where a test can ask them; what they say of themselves is not what the page says. */
const KEEP_CONNECTIONS = `
  window.connections = []
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor (...options) {
      super(...options)
      connections.push(this)
    }
  }
`

/** @param options `backForwardCache`: pages that are left are put aside, as in a browser that nobody automates */
export async function startBrowser ({ camera = true, backForwardCache = false } = {}): Promise<Browser> {
  const executablePath = findChromium()
  if (executablePath === undefined) throw new Error('No Chromium to test with: run "node scripts/install-services.js"')
  return await chromium.launch({ executablePath, args: camera ? [...FLAGS, ...CAMERA_FLAGS] : FLAGS, ...(backForwardCache && { ignoreDefaultArgs: ['--disable-back-forward-cache'] }) })
}

export interface DemoPageOptions extends BrowserContextOptions {
  /** Problems that belong to the test: a server that is gone is told in the console, and no page can prevent it. */
  expected?: RegExp
}

/** The demo page as somebody uses it, with a browser profile of its own. A problem it has fails the test. */
export class DemoPage {
  readonly page: Page

  private constructor (page: Page) {
    this.page = page
  }

  static async open (t: TestContext, browser: Browser, url: string, options: DemoPageOptions = {}): Promise<DemoPage> {
    if (!existsSync(LIBRARY)) throw new Error('No client library for the page: run "npm run build"')
    const { expected, ...contextOptions } = options
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...contextOptions })
    context.setDefaultTimeout(LIMIT_MS)
    await context.addInitScript(KEEP_CONNECTIONS)
    const page = await context.newPage()
    const problems: string[] = []
    // A violation of the content security policy is an error in the console.
    page.on('console', message => { if (['error', 'warning'].includes(message.type())) problems.push(message.text()) })
    page.on('pageerror', error => { problems.push(error.stack ?? error.message) })
    t.after(async () => {
      await context.close()
      assert.deepEqual(problems.filter(problem => expected?.test(problem) !== true), [])
    })
    await page.goto(url)
    return new DemoPage(page)
  }

  /** Joins by a click on Join, with whatever the form has. */
  async join (form: { name?: string, room?: string } = {}): Promise<void> {
    if (form.name !== undefined) await this.page.fill('#name', form.name)
    if (form.room !== undefined) await this.page.fill('#room', form.room)
    await this.page.click('#join')
  }

  /** Waits until the list of people is this one, in any order. */
  async sees (...names: string[]): Promise<void> {
    await this.#until(`[...document.querySelectorAll('.member-name')].map(line => line.textContent).sort().join() === ${JSON.stringify([...names].sort().join())}`)
  }

  /** Waits until every call with others is connected, by the browser's own word, and shown so. */
  async connected (others = 1): Promise<void> {
    await this.#until(`(() => {
      const live = connections.filter(connection => connection.signalingState !== 'closed')
      return live.length === ${others} && live.every(connection => connection.connectionState === 'connected')
    })()`)
    await this.page.locator('.tile[data-connection-state="connected"]').nth(others - 1).waitFor()
  }

  /** Waits until the picture of everybody else moves. */
  async seesVideo (others = 1): Promise<void> {
    await this.page.locator('.tile[data-peer][data-video="on"] video').nth(others - 1).waitFor()
    await this.#within(`Promise.all([...document.querySelectorAll('.tile[data-peer] video')].map(async video => {
      const frame = () => new Promise(resolve => { video.requestVideoFrameCallback((now, { mediaTime }) => resolve(mediaTime)) })
      const first = await frame()
      while (await frame() === first);
      if (video.videoWidth === 0) throw new Error('frames without a picture')
    }))`)
  }

  async say (text: string): Promise<void> {
    await this.page.fill('#chat-text', text)
    await this.page.click('#chat-send')
  }

  /** Waits until somebody else's words are in the chat. */
  async hears (text: string): Promise<void> {
    await this.page.locator('.said:not(.said-own) .said-text').getByText(text, { exact: true }).waitFor()
  }

  /** Waits until a line about the room is in the chat. */
  async isTold (text: string): Promise<void> {
    await this.page.locator('.news').getByText(text, { exact: true }).last().waitFor()
  }

  /** Waits until a frame of this type, with these words, is in the event log. */
  async logs (type: string, words = ''): Promise<void> {
    await this.page.locator(`.event[data-type="${type}"]`).getByText(words).first().waitFor()
  }

  /** What the event log has of a type so far. */
  async logged (type: string): Promise<string[]> {
    return await this.page.locator(`.event[data-type="${type}"] .event-detail`).allTextContents()
  }

  async state (state: string): Promise<void> {
    await this.page.locator(`body[data-state="${state}"]`).waitFor()
  }

  /** The one line at the top that tells what is wrong, or what has just happened. */
  async notes (text: string): Promise<void> {
    await this.page.locator('#note').getByText(text).waitFor()
  }

  /** Nothing reaches beyond the right edge. */
  async fits (): Promise<void> {
    const [content, width] = await this.page.evaluate<[number, number]>('[document.scrollingElement.scrollWidth, innerWidth]')
    assert.ok(content <= width, `${content} px of content in ${width}`)
  }

  /** No button and no field is covered by anything, once it is scrolled to. */
  async reachesAll (): Promise<void> {
    const covered = await this.page.evaluate<string[]>(`[...document.querySelectorAll('button, input')]
      .filter(control => control.checkVisibility() && !control.closest('.hidden'))
      .filter(control => {
        control.scrollIntoView({ block: 'center' })
        const { left, top, width, height } = control.getBoundingClientRect()
        return !control.contains(document.elementFromPoint(left + width / 2, top + height / 2))
      })
      .map(control => control.id)`)
    await this.page.evaluate('scrollTo(0, 0)')
    assert.deepEqual(covered, [], 'covered')
  }

  async screenshot (name: string): Promise<void> {
    if (SCREENSHOTS === '') return
    await mkdir(SCREENSHOTS, { recursive: true })
    await this.page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) })
  }

  // Playwright's own waitForFunction takes expressions by eval(), which the page's content security policy forbids.
  async #until (condition: string): Promise<void> {
    await this.#within(`new Promise(resolve => {
      const look = () => { if (${condition}) resolve(); else requestAnimationFrame(look) }
      look()
    })`, condition)
  }

  /** @param promise an expression; an expression that runs in the page needs no types of the page here */
  async #within (promise: string, what = promise): Promise<void> {
    await this.page.evaluate(`Promise.race([${promise}, new Promise((resolve, reject) => {
      setTimeout(reject, ${LIMIT_MS}, new Error(${JSON.stringify(`took too long: ${what}`)}))
    })])`)
  }
}
