import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { rawSocket, upgradeHead } from '../faults/raw-socket.ts'
import { startTurnip } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'
import { descriptorsOf, figuresOf } from './instance-figures.ts'

const TIMES = 20
/** An idle connection that waits for a request is kept for longer. */
const LIMIT_MS = 15_000
const upgrade = upgradeHead('/ws', 'mallory')

void test('An upgrade that cannot be taken is answered, and its connection costs nothing afterwards', { skip: await descriptorsOf(process.pid) === 0 && 'there is no /proc here' }, async t => {
  const instance = await startTurnip()
  t.after(() => instance.stop())
  const { descriptors } = await figuresOf(instance)
  for (const [what, bytes, answer] of [
    ['behind a request that is not answered yet', `GET /ws HTTP/1.1\r\nHost: turnip\r\n\r\n${upgrade}`, /^HTTP\/1\.1 401 /],
    ['at an address that cannot be read', upgrade.replace('/ws?', '/%?'), /^HTTP\/1\.1 400 /]
  ] as const) {
    await Promise.all(Array.from({ length: TIMES }, async () => {
      const socket = await rawSocket(instance.url)
      let answered = ''
      socket.on('data', chunk => { answered += chunk.toString('latin1') })
      socket.write(bytes)
      await once(socket, 'close', { signal: AbortSignal.timeout(LIMIT_MS) })
      assert.match(answered, answer, what)
    }))
    await until(`nothing is left of upgrades ${what}`, async () => (await figuresOf(instance)).descriptors <= descriptors)
  }
})
