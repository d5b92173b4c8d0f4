/**
 * Loaded into an instance before its own code, with --expose-gc: on SIGUSR2 it collects garbage and writes what the
 * process still holds as one line of JSON.
 */
import { EventEmitter } from 'node:events'
import { writeSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { queryObjects } from 'node:v8'

/** One collection frees what the next one can collect (finalizers, weak references). */
const COLLECTIONS = 5

/** @type {Set<WeakRef<EventEmitter>>} */
const emitters = new Set()
/** What every constructor of an emitter calls; its types do not know it. */
const init = Reflect.get(EventEmitter, 'init')
/** @this {EventEmitter} @param {unknown[]} args */
function watched (...args) {
  emitters.add(new WeakRef(this))
  Reflect.apply(init, this, args)
}
Reflect.set(EventEmitter, 'init', watched)

/** Every timer's class; it has no public name. */
const probe = setTimeout(() => {}, 0)
const Timeout = /** @type {new () => NodeJS.Timeout} */ (probe.constructor)
clearTimeout(probe)

process.on('SIGUSR2', () => { void report() })

async function report () {
  for (let i = 0; i < COLLECTIONS; i++) {
    globalThis.gc?.()
    await turn()
  }
  let listeners = 0
  for (const reference of emitters) {
    const emitter = reference.deref()
    if (emitter === undefined) emitters.delete(reference)
    else for (const name of emitter.eventNames()) listeners += emitter.listenerCount(name)
  }
  const { heapUsed, external } = process.memoryUsage()
  /** @type {Record<string, number>} */
  const resources = {}
  for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1
  writeSync(1, `${JSON.stringify({ soak: { heap: heapUsed, external, emitters: emitters.size, listeners, timers: queryObjects(Timeout, { format: 'count' }), resources } })}\n`)
}
