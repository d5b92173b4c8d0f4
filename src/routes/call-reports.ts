import type { ClientMessageOf } from '../protocol/messages.ts'
import type { Peer } from '../rooms/peer.ts'
import type { Traffic } from './traffic.ts'

/** Lines a second, and the most that are saved up: clients must not be able to fill a disk. All reports are counted. */
const LINES_PER_SECOND = 10
const LINES_BURST = 100
/** The most of a text that goes into a line. */
const MAX_TEXT = 200
/** Control, format and separator characters: a terminal, or who splits lines, would act on them. */
const ILLEGIBLE = /[\p{C}\p{Zl}\p{Zp}]+/gu

/** The part of a logger that is needed here. */
interface ReportLog { info (context: object, message: string): void }

/** What clients say of how the set-up of their calls went: all of it is counted, and why one failed is logged. */
export class CallReports {
  readonly #traffic: Pick<Traffic, 'calls' | 'paths'>
  readonly #log: ReportLog
  readonly #observeSetUp: (seconds: number) => void
  #lines = LINES_BURST
  #unlogged = 0
  #last = performance.now()

  /** @param observeSetUp told how long each call took to connect */
  constructor (traffic: Pick<Traffic, 'calls' | 'paths'>, log: ReportLog, observeSetUp: (seconds: number) => void) {
    this.#traffic = traffic
    this.#log = log
    this.#observeSetUp = observeSetUp
  }

  take ({ id, identity }: Pick<Peer, 'id' | 'identity'>, { result, ms, path, peer, cause = '' }: ClientMessageOf<'report'>): undefined {
    this.#traffic.calls[result]++
    if (result === 'connected') {
      this.#traffic.paths[path ?? 'unknown']++
      this.#observeSetUp(ms / 1000)
    } else if (this.#mayLog()) {
      const context = { connection_id: id, user_id: identity.userId, peer: legible(peer), ms: Math.round(ms), cause: legible(cause), ...(this.#unlogged > 0 && { unlogged: this.#unlogged }) }
      this.#unlogged = 0
      this.#log.info(context, 'a call failed')
    } else this.#unlogged++
  }

  #mayLog (): boolean {
    const now = performance.now()
    this.#lines = Math.min(this.#lines + (now - this.#last) / 1000 * LINES_PER_SECOND, LINES_BURST)
    this.#last = now
    if (this.#lines < 1) return false
    this.#lines--
    return true
  }
}

function legible (text: string): string {
  return text.slice(0, MAX_TEXT).replace(ILLEGIBLE, ' ')
}
