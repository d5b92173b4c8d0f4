import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Connections, type Tended } from '../../src/routes/connections.ts'

/** When each of so many clients is told to go, ms after the first word, and for how long. */
async function drain (count: number, limitMs: number, goes = true): Promise<{ at: number[], away: number[], took: number, cutOff: number }> {
  const connections = new Connections()
  const [at, away]: [number[], number[]] = [[], []]
  let cutOff = 0
  const start = performance.now()
  for (let i = 0; i < count; i++) {
    const tended: Tended = {
      beat: () => {},
      send: () => {},
      goAway: async (_reason, reconnectAfterMs) => {
        at.push(performance.now() - start)
        away.push(reconnectAfterMs)
        connections.delete(tended)
        if (!goes) await new Promise(() => {})
      },
      terminate: () => { cutOff++ },
      end: () => {}
    }
    connections.add(tended)
  }
  await connections.drain(limitMs)
  return { at, away, took: performance.now() - start, cutOff }
}

void test('a few clients are told at once, and asked to wait for different times of about a second', async () => {
  const { at, away } = await drain(10, 25_000)
  assert.equal(at.length, 10)
  assert.ok(Math.max(...at) < 1000, `the last was told after ${Math.max(...at)} ms`)
  assert.ok(Math.min(...away) >= 1000 && Math.max(...away) <= 1500)
  assert.ok(new Set(away).size > 1)
})

void test('very many clients are told over the first half of the time there is, evenly; what this leaves too steep, their waits make up for', async () => {
  const limitMs = 2000
  const { at, away } = await drain(5000, limitMs)
  assert.equal(at.length, 5000)
  assert.ok(Math.max(...at) >= limitMs / 2 * 0.9 && Math.max(...at) < limitMs, `the last was told after ${Math.max(...at)} ms`)
  for (let from = 0; from < limitMs / 2; from += 250) {
    const share = at.filter(time => time >= from && time < from + 250).length / at.length
    assert.ok(share < 0.5, `${share} of them were told within a quarter of it`)
  }
  // Two ms a client are ten seconds, of which one is spent with telling them.
  assert.ok(Math.max(...away) > 8000 && Math.max(...away) <= 10_500, `the longest wait is ${Math.max(...away)} ms`)
})

void test('who does not go is cut off when the time is up', async () => {
  const { took, cutOff } = await drain(3, 300, false)
  assert.ok(took >= 290 && took < 3000, `it took ${took} ms`)
  assert.equal(cutOff, 3)
})

void test('nobody is waited for when all have gone by themselves', async () => {
  const connections = new Connections()
  const all: Tended[] = Array.from({ length: 3000 }, () => ({
    beat: () => {},
    send: () => {},
    goAway: async () => { for (const other of all) connections.delete(other) },
    terminate: () => {},
    end: () => {}
  }))
  for (const tended of all) connections.add(tended)
  const start = performance.now()
  await connections.drain(20_000)
  const took = performance.now() - start
  assert.ok(took < 3000, `it took ${took} ms`)
})

void test('a client whose session was on its way here is sent on as soon as it is there', async () => {
  const connections = new Connections()
  const told: string[] = []
  const late: Tended = { beat: () => {}, send: () => {}, goAway: async reason => { told.push(reason) }, terminate: () => {}, end: () => {} }
  await connections.drain(100)
  connections.add(late)
  connections.delete(late)
  assert.deepEqual(told, ['restart'])
})
