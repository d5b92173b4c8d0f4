/** Calls of a real browser over a real TURN server, with the credentials that Turnip gives. */
import assert from 'node:assert/strict'
import { after, before, describe, test, type TestContext } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import type { IceServer } from '../../src/protocol/messages.ts'
import { startBrowser } from '../browser/demo-page.ts'
import { Client } from '../harness/client.ts'
import { startCoturn, type Coturn } from '../harness/coturn.ts'
import { tokenFor } from '../harness/token.ts'
import { until } from '../harness/until.ts'
import { serve, type Served } from '../http/serve.ts'

/** What came of a call on one side. */
interface Outcome {
  state: string
  /** Candidate types of the chosen pair, ours and theirs; empty when there is none. */
  path: string[]
  /** Candidates of our own that were found. */
  candidates: string[]
  /** What the TURN servers answered instead. */
  errors: Array<{ code: number, url: string }>
}

/** How long a call may take before it counts as one that does not come about, ms. */
const CALL_MS = 20_000

/**
 * In the page: `enter` joins a room, `call` calls whoever else is there, by relays alone. A call has come about when a
 * word went over its data channel and back; it has not when no relay was found.
 */
const SCRIPT = `
  window.given = []
  const calls = new Map()
  const callNamed = name => {
    if (!calls.has(name)) calls.set(name, { early: [], take: signal => { calls.get(name).early.push(signal) } })
    return calls.get(name)
  }
  window.enter = (url, room) => new Promise((resolve, reject) => {
    window.socket = new WebSocket(url)
    socket.onclose = reject
    socket.onmessage = ({ data: text }) => {
      const { type, data } = JSON.parse(text)
      if (type === 'welcome' || type === 'ice_servers') given.push(data.ice_servers)
      if (type === 'welcome') socket.send(JSON.stringify({ type: 'join', room }))
      if (type === 'joined') resolve()
      if (type === 'data') callNamed(data.name).take(data)
    }
  })
  window.echo = async name => {
    const { connection, channel } = callNamed(name)
    await new Promise(resolve => { channel.onmessage = resolve; channel.send('word') })
    return connection.connectionState
  }
  window.call = async (name, iceServers, isCaller) => {
    const own = callNamed(name)
    const connection = own.connection = new RTCPeerConnection({ iceServers, iceTransportPolicy: 'relay' })
    const say = signal => { socket.send(JSON.stringify({ type: 'data', data: { name, ...signal } })) }
    const candidates = []
    const errors = []
    const isOver = new Promise((resolve, reject) => {
      setTimeout(reject, ${CALL_MS}, new Error('nothing came of it'))
      connection.onicecandidate = ({ candidate }) => {
        if (candidate) { candidates.push(candidate.type); say({ candidate }) } else if (candidates.length === 0) resolve()
      }
      const channel = own.channel = connection.createDataChannel('words', { negotiated: true, id: 0 })
      channel.onmessage = ({ data }) => { if (data === 'word') channel.send('echo'); else resolve() }
      channel.onopen = () => { channel.send('word') }
    })
    connection.onicecandidateerror = ({ errorCode, url }) => { errors.push({ code: errorCode, url }) }
    let done = Promise.resolve()
    own.take = ({ description, candidate }) => {
      done = done.then(async () => {
        if (candidate) return await connection.addIceCandidate(candidate)
        await connection.setRemoteDescription(description)
        if (description.type === 'answer') return
        await connection.setLocalDescription()
        say({ description: connection.localDescription })
      })
    }
    own.early.forEach(own.take)
    if (isCaller) {
      await connection.setLocalDescription()
      say({ description: connection.localDescription })
    }
    await isOver
    const stats = await connection.getStats()
    const pair = stats.get([...stats.values()].find(({ type }) => type === 'transport')?.selectedCandidatePairId)
    const path = pair ? [pair.localCandidateId, pair.remoteCandidateId].map(id => stats.get(id).candidateType) : []
    return { state: connection.connectionState, path, candidates, errors }
  }
  window.gather = async iceServers => {
    const connection = new RTCPeerConnection({ iceServers, iceTransportPolicy: 'relay' })
    const candidates = []
    const errors = []
    connection.createDataChannel('words')
    await new Promise((resolve, reject) => {
      setTimeout(reject, ${CALL_MS}, new Error('it still looks for candidates'))
      connection.onicecandidate = ({ candidate }) => { if (candidate) candidates.push(candidate.type); else resolve() }
      connection.onicecandidateerror = ({ errorCode, url }) => { errors.push({ code: errorCode, url }) }
      connection.setLocalDescription()
    })
    connection.close()
    return { candidates, errors }
  }
`

const SECRET = 'a secret that Turnip and coturn share'
let coturn: Coturn
let browser: Browser
before(async () => {
  // A relay is asked to go on every ten seconds, so that a test lives to see it.
  [coturn, browser] = await Promise.all([startCoturn({ secret: SECRET, args: ['--max-allocate-lifetime=20'] }), startBrowser({ camera: false })])
})
after(async () => { await Promise.all([browser.close(), coturn.stop()]) })

/** An instance that gives credentials for the TURN server. */
async function instance (t: TestContext, turnTtlS: number): Promise<Served> {
  return await serve(t, { turnUrls: [coturn.udpUrl, coturn.tcpUrl], turnSecret: SECRET, turnTtlS })
}

/** An empty page of the instance's own origin. */
async function openPage (t: TestContext, { url }: Served): Promise<Page> {
  const context = await browser.newContext()
  t.after(async () => { await context.close() })
  const page = await context.newPage()
  await page.goto(`${url}/health/live`)
  await page.evaluate(SCRIPT)
  return page
}

async function given (page: Page): Promise<IceServer[][]> {
  return await page.evaluate<IceServer[][]>('given')
}

/** Each calls the other with the credentials that it was given as its first, or as its last. */
async function callBoth (pages: Page[], name: string, which: 'first' | 'last'): Promise<Outcome[]> {
  return await Promise.all(pages.map(async (page, i) => await page.evaluate<Outcome>(`call('${name}', given.at(${which === 'first' ? 0 : -1}), ${i === 0})`)))
}

function assertRelayed (outcomes: Outcome[]): void {
  for (const { state, path, candidates, errors } of outcomes) {
    assert.deepEqual({ state, path, errors }, { state: 'connected', path: ['relay', 'relay'], errors: [] })
    assert.deepEqual(new Set(candidates), new Set(['relay']))
  }
}

/** When the credentials of a list end, ms since 1970. */
function endOf (servers: IceServer[] | undefined): number {
  return Number(/^\d+/.exec(servers?.[0]?.username ?? '')) * 1000
}

void describe('TURN', { concurrency: true }, () => {
  void test('a call connects through the relay; with credentials that have ended it does not, with those that came instead it does, and one that runs goes on', async t => {
    const served = await instance(t, 8)
    const users = ['ada', 'ben']
    const pages = await Promise.all(users.map(async () => await openPage(t, served)))
    await Promise.all(pages.map(async (page, i) => { await page.evaluate(`enter('${served.wsUrl}?token=${tokenFor(users[i] ?? '')}', 'relayed')`) }))
    assertRelayed(await callBoth(pages, 'one', 'first'))

    await until('both have other credentials', async () => (await Promise.all(pages.map(given))).every(lists => lists.length > 1))
    const first = (await Promise.all(pages.map(given))).map(([servers]) => servers)
    await until('the first ones have ended', async () => first.every(servers => Date.now() > endOf(servers) + 1000)) // coturn counts in whole seconds
    const refreshes = (): number => coturn.logs.filter(line => line.includes(' refreshed, ') && first.some(servers => line.includes(`<${servers?.[0]?.username}>`))).length
    const before = refreshes()

    for (const { state, candidates, errors } of await callBoth(pages, 'two', 'first')) {
      assert.notEqual(state, 'connected')
      assert.deepEqual(candidates, [])
      assert.deepEqual(errors.map(({ code }) => code), [401, 401], 'over UDP and over TCP')
      assert.deepEqual(errors.map(({ url }) => url).toSorted(), [coturn.tcpUrl, coturn.udpUrl])
    }
    assertRelayed(await callBoth(pages, 'three', 'last'))

    await until('the relays of the first call were asked to go on, after that', async () => refreshes() >= before + 2)
    assert.equal(await pages[0]?.evaluate("echo('one')"), 'connected')
  })

  void test('whatever a user is called, coturn and the browser take the credentials', async t => {
    const served = await instance(t, 86_400)
    const page = await openPage(t, served)
    for (const userId of ['Ada Lovelace', 'o\'neil "x" \\ \t\n\u0001', 'reunion-select', '1:2', '漢字 Ädäß 😀', '漢'.repeat(256), '😀'.repeat(128), ' '.repeat(256), 'half \ud800']) {
      const client = await Client.openWith(`${served.wsUrl}?token=${tokenFor(userId)}`)
      const servers = client.all('welcome')[0]?.data.ice_servers
      const { candidates, errors } = await page.evaluate<Outcome>(`gather(${JSON.stringify(servers)})`)
      assert.deepEqual({ candidates, errors }, { candidates: ['relay', 'relay'], errors: [] }, JSON.stringify(userId))
      await client.close()
    }
  })
})
