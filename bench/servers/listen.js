/** What every server of ours has in common: how it says where it listens, and how it ends. */

/**
 * Tells whoever started this process the address, in one line of JSON.
 *
 * @param {import('node:http').Server | import('node:https').Server} server that listens
 */
export function announce (server) {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('it listens on no port')
  console.log(JSON.stringify({ url: `http://127.0.0.1:${address.port}` }))
}

// An exit in order: without it, node writes no profile (--cpu-prof).
process.once('SIGTERM', () => { process.exit(0) })
