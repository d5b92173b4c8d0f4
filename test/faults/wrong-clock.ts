import { execFileSync } from 'node:child_process'
import { findFaketime } from '../../scripts/services.js'

/**
 * Variables that give a process a wall clock of its own. What measures durations stays right, as it does on a machine
 * whose clock is wrong.
 * @param offset such as `+10m`
 */
export function wrongClock (offset: string): Record<string, string> {
  const faketime = findFaketime()
  if (faketime === undefined) throw new Error('No faketime to test with: run "node scripts/install-services.js", or install faketime (Debian: apt-get install faketime)')
  // The wrapper knows where its library is; its shared memory ends with it, so processes of ours do without the wrapper.
  const library = execFileSync(faketime, ['-m', '-f', '+0', 'sh', '-c', 'printf %s "$LD_PRELOAD"'], { encoding: 'utf8' })
  return { LD_PRELOAD: library, FAKETIME: offset, FAKETIME_DONT_FAKE_MONOTONIC: '1' }
}
