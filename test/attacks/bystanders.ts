import assert from 'node:assert/strict'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Answer, Lap, Losses } from './calls.ts'

/** Well-behaved pairs of clients that exchange offers, answers and candidates through a server, whatever others do to it. */
export class Bystanders {
  readonly #process: ChildProcess

  private constructor (process: ChildProcess) {
    this.#process = process
  }

  static async open (wsUrl: string, pairs: number): Promise<Bystanders> {
    const child = fork(fileURLToPath(new URL('calls.ts', import.meta.url)), [wsUrl, String(pairs)], { execArgv: ['--import', import.meta.resolve('tsx')] })
    const bystanders = new Bystanders(child)
    assert.ok('ready' in await bystanders.#answer())
    return bystanders
  }

  /** How they have fared since this was last asked. */
  async lap (): Promise<Lap> {
    this.#process.send('lap')
    const answer = await this.#answer()
    assert.ok('lap' in answer)
    return answer.lap
  }

  /** Ends them. @returns what was wrong since the beginning */
  async stop (): Promise<Losses> {
    this.#process.send('stop')
    const answer = await this.#answer()
    assert.ok('losses' in answer)
    await this.#exited()
    return answer.losses
  }

  /** Ends them at once. */
  async kill (): Promise<void> {
    this.#process.kill('SIGKILL')
    await this.#exited()
  }

  async #exited (): Promise<void> {
    const { exitCode, signalCode } = this.#process
    if (exitCode === null && signalCode === null) await once(this.#process, 'exit')
  }

  async #answer (): Promise<Answer> {
    return await new Promise((resolve, reject) => {
      const onExit = (): void => { reject(new Error('the bystanders have ended')) }
      this.#process.once('exit', onExit).once('message', answer => { this.#process.off('exit', onExit); resolve(answer as Answer) })
    })
  }
}
