import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client } from '../harness/client.ts'
import { logTo, serve } from './serve.ts'

interface Line { msg: string, level: number, connection_id: string, user_id: string, peer: string, ms: number, cause: string, unlogged?: number }

/** The lines about calls that failed. */
function failures (logs: string[]): Line[] {
  return logs.map(line => JSON.parse(line) as Line).filter(({ msg }) => msg === 'a call failed')
}

test('a call that failed is one line of the log that says whose it was and why; one that connected is none', async t => {
  const logs: string[] = []
  const { wsUrl } = await serve(t, {}, logTo(logs))
  const client = await Client.open(wsUrl, 'ada')
  client.send({ type: 'report', peer: 'b', result: 'connected', ms: 3, path: 'host', cause: 'none' })
  client.send({ type: 'report', peer: 'b', result: 'failed', ms: 15_000.4, cause: 'TURN answered 401' })
  client.send({ type: 'report', peer: 'c', result: 'failed', ms: 1 })
  await client.fence()
  const [first, second, ...others] = failures(logs)
  assert.deepEqual(others, [])
  assert.equal(first?.level, 30)
  const { connection_id: id } = client.info
  assert.deepEqual([first.connection_id, first.user_id, first.peer, first.ms, first.cause], [id, 'ada', 'b', 15_000, 'TURN answered 401'])
  assert.equal(second?.cause, '')
  await client.close()
})

test('what a client writes into the log is short, and does nothing to a terminal or to lines', async t => {
  const logs: string[] = []
  const { wsUrl } = await serve(t, {}, logTo(logs))
  const client = await Client.open(wsUrl, 'ada')
  const cause = `a\u001b[31m\r\n{"level":60}\u0000\u007f\u009b\u2028\u2029\u202e\ufeff\ud800b${'x'.repeat(20_000)}`
  client.send({ type: 'report', peer: `p\n${'q'.repeat(200)}`, result: 'failed', ms: 1, cause })
  await client.fence()
  const [line] = failures(logs)
  assert.match(line?.cause ?? '', /^a \[31m \{"level":60\} b?x+$/)
  assert.ok((line?.cause.length ?? 0) <= 200)
  assert.match(line?.peer ?? '', /^p q+$/)
  const [text = ''] = logs.filter(entry => entry.includes('a call failed'))
  assert.ok(text.length < 1000)
  assert.doesNotMatch(text.trimEnd(), /[\p{C}\u2028\u2029]/u)
  await client.close()
})

test('clients that report without end fill no log: what is left out is counted', async t => {
  const logs: string[] = []
  const { wsUrl } = await serve(t, { messagesPerSecond: 0 }, logTo(logs))
  const client = await Client.open(wsUrl, 'ada')
  const send = (): void => { client.send({ type: 'report', peer: 'b', result: 'failed', ms: 1, cause: 'again' }) }
  const start = performance.now()
  for (let i = 0; i < 1000; i++) send()
  await client.fence()
  const seconds = (performance.now() - start) / 1000
  const written = failures(logs).length
  assert.ok(written >= 100 && written <= 101 + 10 * seconds, `${written} lines in ${seconds} s`)
  let told: Line | undefined
  while (told === undefined) { // a tenth of a second later there is room for another
    send()
    await client.fence()
    told = failures(logs).slice(written).find(({ unlogged }) => unlogged !== undefined)
  }
  assert.ok((told.unlogged ?? 0) >= 1000 - written)
  await client.close()
})
