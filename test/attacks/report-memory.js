/** Loaded into a server before its own code: on SIGUSR2 it collects its garbage and says what is left, as a line of JSON. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = /** @type {() => void} */ (runInNewContext('gc'))

process.on('SIGUSR2', () => {
  collect()
  // What buffers held outside the heap is given back after the collection that finds them dead.
  setImmediate(() => {
    collect()
    const { rss, heapUsed, external } = process.memoryUsage()
    console.log(JSON.stringify({ memory: { rss, live: heapUsed + external } }))
  })
})
