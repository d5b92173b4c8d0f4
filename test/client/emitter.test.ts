import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Emitter } from '../../src/client/index.ts'

class Bell extends Emitter<{ ring: number }> {
  ring (times: number): void { this.emit('ring', times) }
}

test('a listener hears until it is taken off, by the function it got or by off; once hears once', () => {
  const bell = new Bell()
  const heard: string[] = []
  const listener = (times: number): void => { heard.push(`off ${times}`) }
  const off = bell.on('ring', times => { heard.push(`on ${times}`) })
  bell.on('ring', listener)
  bell.once('ring', times => { heard.push(`once ${times}`) })
  const early = bell.once('ring', () => { heard.push('never') })
  early()
  bell.ring(1)
  off()
  bell.off('ring', listener)
  bell.ring(2)
  assert.deepEqual(heard, ['on 1', 'off 1', 'once 1'])
})

test('what a listener throws is uncaught, and the others hear all the same', t => {
  const later: Array<() => void> = []
  t.mock.method(globalThis, 'queueMicrotask', (task: () => void) => { later.push(task) })
  const bell = new Bell()
  const heard: number[] = []
  bell.on('ring', () => { throw new Error('a mistake') })
  bell.on('ring', times => { heard.push(times) })
  bell.ring(1)
  assert.deepEqual(heard, [1])
  assert.equal(later.length, 1)
  assert.throws(() => { later[0]?.() }, /a mistake/)
})
