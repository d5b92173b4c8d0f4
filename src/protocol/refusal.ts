import { errorCodes, tokenFailures, type ErrorCode, type TokenFailure } from './codes.ts'

/** What a refusal may say beyond its code: the `cause` is for the log alone, `data` goes to the client. */
interface RefusalOptions extends ErrorOptions { readonly data?: { readonly delivered: 'local' } }

const sentences = { ...errorCodes, ...tokenFailures }

/** A request that is not carried out: thrown by whoever decides it, told to the client as an `error` frame. */
export class Refusal extends Error {
  readonly code: ErrorCode | TokenFailure
  readonly data: { delivered: 'local' } | undefined
  /** For a host's route that lets it through: whose fault it was. */
  readonly statusCode: number

  /**
   * @param code why, for programs
   * @param sentence why, for people; the code's own sentence when absent. It is sent to the client: no secret in it
   */
  constructor (code: ErrorCode | TokenFailure, sentence?: string, options: RefusalOptions = {}) {
    super(sentence ?? sentences[code], options)
    this.name = 'Refusal'
    this.code = code
    this.data = options.data
    this.statusCode = code === 'unavailable' ? 503 : code === 'internal' ? 500 : 400
  }
}
