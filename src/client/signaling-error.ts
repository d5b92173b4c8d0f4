import type { ErrorCode, TokenFailure } from '../protocol/codes.ts'
import type { ClientMessageType } from '../protocol/messages.ts'

/** Why the library itself says no; what a server says has the server's own code. */
export type ClientErrorCode =
  | 'not_connected' // `connect` was not called, or the connection is closed for good
  | 'closed' // by `close()`, while this was under way
  | 'connection_lost' // before the answer came: it may have been done or not
  | 'token_failed' // the function that fetches tokens
  | 'refused' // by a server that gave no code: `status` is its HTTP status
  | 'left_out' // what waited for the connection, and could not be sent any more
  | `close_${number}` // the server closed the connection for good, with this close code

export type HttpErrorCode = 'bad_upgrade' | 'origin_forbidden' | 'too_many_connections' | 'too_many_failures' | 'starting' | 'draining' | 'auth_timeout'

export type SignalingErrorCode = ErrorCode | TokenFailure | HttpErrorCode | ClientErrorCode

/** A request that was not done, or a connection that does not come. The message is for people, the code for programs. */
export class SignalingError extends Error {
  override readonly name = 'SignalingError'
  readonly code: SignalingErrorCode
  /** What was asked for, where it was a request. */
  readonly request: ClientMessageType | undefined
  /** HTTP status of the refused opening, where there was one. */
  readonly status: number | undefined

  constructor (code: SignalingErrorCode, message: string, { request, status, cause }: { request?: ClientMessageType | undefined, status?: number | undefined, cause?: unknown } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.request = request
    this.status = status
  }
}
