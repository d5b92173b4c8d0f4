import { spawn, type ChildProcess } from 'node:child_process'
import { rm } from 'node:fs/promises'

/** How a child process ended: by itself with a code, or by a signal. */
export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

// `read` ends when the pipe does, and the kernel closes the pipe however the test process dies, SIGKILL included.
const WATCHDOG = 'read -r _; kill -9 "$1" 2>/dev/null; [ -z "$2" ] || rm -rf "$2"'

/**
 * Takes care that neither the child nor its directory outlives the test process, and that the directory goes when the
 * child does. A handler for 'exit' alone would not do: the test runner ends a file that takes too long with a signal.
 * A child that is stopped (SIGSTOP) is killed all the same.
 */
export function dieWithParent (child: ChildProcess, directory: string): Promise<Exit> {
  const watchdog = watch(child.pid, directory)

  return new Promise(resolve => {
    child.once('close', (code, signal) => {
      // It must not kill whoever gets the same process id next.
      watchdog.kill('SIGKILL')
      rm(directory, { recursive: true, force: true })
        .catch((error: unknown) => { console.error(`${directory} stays behind:`, error) })
        .finally(() => { resolve({ code, signal }) })
    })
  })
}

/** Takes care that a process that a child of ours has started does not outlive the test process. @param ended when it is gone */
export function grandchildDiesToo (pid: number, ended: Promise<unknown>): void {
  const watchdog = watch(pid, '')
  void ended.finally(() => { watchdog.kill('SIGKILL') })
}

function watch (pid: number | undefined, directory: string): ChildProcess {
  // Detached: the Ctrl-C that ends the tests must not end the watchdog before it has done its work.
  const watchdog = spawn('sh', ['-c', WATCHDOG, 'sh', String(pid), directory], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  watchdog.unref()
  return watchdog
}

/** Sends the signal and waits; a child that has not ended by the limit is killed, which its exit then tells. */
export async function endChild (
  child: ChildProcess, exited: Promise<Exit>, signal: NodeJS.Signals, limitMs: number
): Promise<Exit> {
  child.kill(signal)
  // A stopped process acts on no other signal before this one.
  child.kill('SIGCONT')
  const limit = setTimeout(() => { child.kill('SIGKILL') }, limitMs)
  try {
    return await exited
  } finally {
    clearTimeout(limit)
  }
}
