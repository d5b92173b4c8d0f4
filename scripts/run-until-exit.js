import { spawn } from 'node:child_process'
import { constants } from 'node:os'

/** @type {NodeJS.Signals[]} */
const ENDING_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP']

// One Ctrl-C arrives here twice: from the terminal, and from npm, which passes on what it got itself.
const SAME_KEYSTROKE_MS = 1000

/**
 * Runs Node with these arguments to its end, passing the ending signals on, and answers its exit code.
 *
 * A server that is told twice to end stops draining and ends at once, so every signal must reach it once. The child is
 * therefore in a process group of its own, where the terminal's Ctrl-C does not reach it beside ours, and a repetition
 * within a second is taken for the same keystroke. One that comes later is passed on: somebody is impatient.
 *
 * @param {string[]} args
 * @param {{ cwd?: string, env: NodeJS.ProcessEnv }} options
 * @returns {Promise<number>}
 */
export async function runUntilExit (args, options) {
  const child = spawn(process.execPath, args, { ...options, stdio: 'inherit', detached: true })

  let passedOnAt = -Infinity
  /** @param {NodeJS.Signals} signal */
  const passOn = signal => {
    const now = performance.now()
    if (now - passedOnAt < SAME_KEYSTROKE_MS) return
    passedOnAt = now
    // A closed terminal means "end" like the others, but tsx has no handler for it and would leave its server behind.
    child.kill(signal === 'SIGHUP' ? 'SIGTERM' : signal)
  }
  for (const signal of ENDING_SIGNALS) process.on(signal, passOn)

  return await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGTERM']))
  })
}
