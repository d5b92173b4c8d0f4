import assert from 'node:assert/strict'
import { after, before, suite, test, type TestContext } from 'node:test'
import { Tokens } from '../../src/client/tokens.ts'
import { claimsOf, sign, tokenFor } from '../harness/token.ts'
import { startTurnip, type TurnipProcess } from '../harness/turnip-process.ts'
import { clientFor } from './recorded.ts'

const MINUTE = 60_000
const now = (): number => Date.now() / 1000

await suite('a token that ends', { concurrency: true }, async () => {
  let server: TurnipProcess
  before(async () => { server = await startTurnip() })
  after(async () => { await server.stop() })

  await test('is replaced before that, over and over, and nobody notices', async t => {
    let fetched = 0
    const recorded = clientFor(t, server.url, 'ada', { token: async () => { fetched++; return tokenFor('ada', { exp: now() + 2 }) } })
    await recorded.client.join('room-0')
    await recorded.replies('refreshed', 2)
    assert.equal(fetched, 3)
    assert.deepEqual(recorded.sent, ['join', 'refresh', 'refresh'])
    assert.deepEqual(recorded.all('state').map(({ state }) => state), ['connecting', 'open'])
    assert.deepEqual(recorded.all('error'), [])
  })

  await test('and is not replaced: the client comes back with another one, into its room', async t => {
    // A second of the tolerance is left, and a client that takes its own clock for the wrong one.
    const tokens = [sign(claimsOf('ada', { iat: now() - 3600, exp: now() - 4 })), tokenFor('ada')]
    const recorded = clientFor(t, server.url, 'ada', { token: () => tokens.shift() ?? '', resume: false })
    await recorded.client.join('room-1')
    const { cause } = await recorded.state('reconnecting')
    assert.equal(cause, 'The server closed the connection: token expired (4401)')
    assert.equal((await recorded.next('joined')).rejoined, true)
    assert.equal((await recorded.state('open')).cause, 'Back in the room')
  })

  await test('and the next is hard to get while the client comes back: it asks for one again', async t => {
    const tokens = [async () => tokenFor('eve', { iat: now() - 3600, exp: now() - 4 }), async () => { throw new Error('not now') }, async () => tokenFor('eve')]
    const recorded = clientFor(t, server.url, 'eve', { token: async () => await (tokens.shift()?.() ?? '') })
    await recorded.client.join('room-9')
    await recorded.next('state', ({ cause, state }) => cause === 'There is no token to connect with: not now' && state === 'reconnecting')
    assert.equal((await recorded.next('joined', ({ rejoined }) => rejoined)).room, 'room-9')
  })

  await test('is the end of a client that has no other', async t => {
    const recorded = clientFor(t, server.url, 'ada', { token: sign(claimsOf('ada', { exp: now() - 4 })) })
    await recorded.client.join('room-2')
    const { error } = await recorded.state('closed')
    assert.equal(error?.code, 'token_expired')
    assert.equal(recorded.client.room, null)
    assert.deepEqual(recorded.all('left'), [{ room: 'room-2', reason: 'closed' }])
    await assert.rejects(recorded.client.connect(), { code: 'token_expired' })
  })

  await test('and cannot be replaced: an error tells, the connection stays, and it is tried again', async t => {
    const tokens = [tokenFor('ada', { exp: now() + 2 }), tokenFor('bob'), Promise.reject(new Error('offline')), tokenFor('ada')]
    tokens.forEach(token => { if (token instanceof Promise) token.catch(() => {}) })
    const recorded = clientFor(t, server.url, 'ada', { token: async () => await (tokens.shift() ?? '') })
    await recorded.client.join('room-3')
    const first = await recorded.next('error')
    assert.deepEqual([first.code, first.request], ['identity_mismatch', 'refresh'])
    const second = await recorded.next('error')
    assert.deepEqual([second.code, second.request, second.message], ['token_failed', 'refresh', 'There is no new token: Error: offline'])
    await recorded.replies('refreshed', 1)
    assert.equal(recorded.client.state, 'open')
  })
})

/** Promise.withResolvers, which Node 20 has not. */
function withResolvers<T> (): { promise: Promise<T>, resolve: (value: T) => void, reject: (error: Error) => void } {
  let settle: { resolve: (value: T) => void, reject: (error: Error) => void } | undefined
  const promise = new Promise<T>((resolve, reject) => { settle = { resolve, reject } })
  if (settle === undefined) throw new Error('a promise calls back at once')
  return { promise, ...settle }
}

await suite('when the next token is due', async () => {
  /** What is asked for until some time has passed. */
  function renewing (t: TestContext, source: () => string | Promise<string>, first = String(source())): { refreshed: string[], failed: unknown[], pass: (ms: number) => Promise<void>, tokens: Tokens } {
    const tokens = new Tokens(source)
    const refreshed: string[] = []
    const failed: unknown[] = []
    tokens.renew(first, async token => { refreshed.push(token) }, error => { failed.push(error) })
    const pass = async (ms: number): Promise<void> => {
      t.mock.timers.tick(ms)
      for (let i = 0; i < 20; i++) await Promise.resolve()
    }
    return { refreshed, failed, pass, tokens }
  }
  const begin = (t: TestContext): void => { t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_800_000_000_000 }) }

  await test('a minute before the end of one that is good for an hour, a tenth of its life before that of a short one', async t => {
    begin(t)
    const hour = renewing(t, () => tokenFor('x'))
    await hour.pass(59 * MINUTE - 1)
    assert.equal(hour.refreshed.length, 0)
    await hour.pass(1)
    assert.equal(hour.refreshed.length, 1)
    await hour.pass(59 * MINUTE)
    assert.equal(hour.refreshed.length, 2)
    hour.tokens.stop()
    await hour.pass(59 * MINUTE)
    assert.equal(hour.refreshed.length, 2)

    const short = renewing(t, () => tokenFor('x', { exp: now() + 100 }))
    await short.pass(90_000 - 1)
    assert.equal(short.refreshed.length, 0)
    await short.pass(1)
    assert.equal(short.refreshed.length, 1)
  })

  await test('never for one that does not end, is no JWT, or cannot be replaced; not at once for one that outlives a timer', async t => {
    begin(t)
    const { exp: _, ...endless } = claimsOf('x')
    for (const token of [sign(endless), 'opaque', 'a.b.c', '']) {
      const { refreshed, pass } = renewing(t, () => token)
      await pass(100 * 24 * 60 * MINUTE)
      assert.deepEqual(refreshed, [])
    }
    const year = renewing(t, () => tokenFor('x', { exp: now() + 365 * 24 * 3600 }))
    await year.pass(24 * 24 * 60 * MINUTE)
    assert.deepEqual(year.refreshed, [])
    new Tokens(tokenFor('x')).renew(tokenFor('x'), async () => { assert.fail('a string has no successor') }, () => {})
    t.mock.timers.tick(60 * MINUTE)
  })

  await test('a function that gives the same token again is asked again, and not too often', async t => {
    begin(t)
    const same = tokenFor('x')
    const { refreshed, pass } = renewing(t, () => same)
    await pass(59 * MINUTE)
    assert.equal(refreshed.length, 1)
    for (let s = 0; s < 59; s++) await pass(1000)
    assert.ok(refreshed.length >= 3 && refreshed.length <= 12, String(refreshed.length))
  })

  await test('by a clock that is hours ahead, as late as by a right one', async t => {
    begin(t)
    const past = sign(claimsOf('x', { iat: now() - 7200, exp: now() - 3600 }))
    const { refreshed, pass } = renewing(t, () => past)
    await pass(59 * MINUTE - 1)
    assert.equal(refreshed.length, 0)
    await pass(1)
    assert.equal(refreshed.length, 1)
  })

  await test('what comes of it after the end concerns nobody', async t => {
    begin(t)
    for (const [settle, expected] of [['resolve', []], ['reject', []]] as const) {
      const pending = withResolvers<string>()
      const { refreshed, failed, pass, tokens } = renewing(t, async () => await pending.promise, tokenFor('x'))
      await pass(59 * MINUTE)
      tokens.stop()
      if (settle === 'resolve') pending.resolve(tokenFor('x'))
      else pending.reject(new Error('late'))
      await pass(1)
      assert.deepEqual([refreshed, failed], [expected, expected])
    }
  })

  await test('a function that never answers fails after a while', async t => {
    begin(t)
    const tokens = new Tokens(async () => await new Promise(() => {}))
    const next = assert.rejects(tokens.next(), /no token came within 10 s/)
    t.mock.timers.tick(10_000)
    await next
  })
})
