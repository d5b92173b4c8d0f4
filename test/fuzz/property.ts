import assert from 'node:assert/strict'
import fc, { type Arbitrary } from 'fast-check'

/** The most that one case may take, ms. It takes a few at the most; the rest is for a busy machine. */
const CASE_MS = 1000

/** Something that holds, and how to check it with so many cases from a seed. @throws with the seed and the case when it does not hold */
export interface Property {
  readonly name: string
  check (cases: number, seed: number): Promise<void>
}

const prototypes = [Object.prototype, Array.prototype, String.prototype, Number.prototype, Function.prototype, Buffer.prototype, Map.prototype, Promise.prototype]
const intact = prototypes.map(prototype => Reflect.ownKeys(prototype))

export function property<T> (name: string, arbitrary: Arbitrary<T>, check: (input: T) => void): Property {
  return {
    name,
    async check (cases, seed) {
      fc.assert(fc.property(arbitrary, input => {
        const start = performance.now()
        check(input)
        const took = performance.now() - start
        assert.ok(took < CASE_MS, `it took ${took} ms`)
        assert.deepEqual(prototypes.map(prototype => Reflect.ownKeys(prototype).length), intact.map(keys => keys.length), 'a prototype has changed')
      }), { numRuns: cases, seed })
      assert.deepEqual(prototypes.map(prototype => Reflect.ownKeys(prototype)), intact)
    }
  }
}
