/**
 * Loaded into the server before fastify-cli, which listens for the signals of a crash as for SIGTERM. Node cannot handle
 * those: its handler returns to the instruction that failed, which fails again, and the process spins for ever, with
 * its sockets open, where it should have died and been started anew.
 */
const CRASHES = new Set(['SIGSEGV', 'SIGBUS', 'SIGFPE', 'SIGILL', 'SIGTRAP', 'SIGABRT'])

process.on('newListener', event => {
  // The event comes before the listener is there; without a listener Node gives the signal its own effect back.
  if (CRASHES.has(String(event))) queueMicrotask(() => process.removeAllListeners(event))
})
