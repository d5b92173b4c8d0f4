import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { Heartbeat } from '../../src/client/heartbeat.ts'

function beating (t: TestContext, intervalMs: number): { heartbeat: Heartbeat, pings: () => number, isSilent: () => boolean, pass: (ms: number) => void } {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] })
  let pings = 0
  let silent = 0
  const heartbeat = new Heartbeat(() => { pings++ }, () => { silent++ })
  heartbeat.start(intervalMs)
  return { heartbeat, pings: () => pings, isSilent: () => silent > 0, pass: ms => { t.mock.timers.tick(ms) } }
}

test('one ping an interval, and silence after ten seconds without any frame', t => {
  const { heartbeat, pings, isSilent, pass } = beating(t, 25_000)
  pass(24_999)
  assert.equal(pings(), 0)
  pass(1)
  assert.equal(pings(), 1)
  heartbeat.heard()
  pass(10_000)
  pass(25_000)
  assert.equal(pings(), 2)
  pass(9999)
  assert.equal(isSilent(), false)
  pass(1)
  assert.equal(isSilent(), true)
})

test('a doubt asks at once, for two seconds', t => {
  const { heartbeat, pings, isSilent, pass } = beating(t, 25_000)
  heartbeat.doubt()
  assert.equal(pings(), 1)
  heartbeat.heard()
  pass(2000)
  assert.equal(isSilent(), false)
  heartbeat.doubt()
  pass(2000)
  assert.equal(isSilent(), true)
})

test('a page that slept over the deadline asks once more, as the answer may not have been read yet', t => {
  const { pings, isSilent, pass } = beating(t, 25_000)
  pass(25_000)
  const { now } = Date
  t.mock.method(Date, 'now', () => now() + 3_600_000)
  pass(10_000)
  assert.equal(isSilent(), false)
  assert.equal(pings(), 2)
  pass(10_000)
  assert.equal(isSilent(), true)
})

test('nothing after stop', t => {
  const { heartbeat, pings, pass } = beating(t, 1000)
  heartbeat.stop()
  pass(60_000)
  assert.equal(pings(), 0)
})
