/** Every error of the application itself. What clients are told is in protocol/codes.ts. */
import createError from '@fastify/error'

// Settings and start
export const SettingError = createError<[env: string, got: string, takes: string]>('TURNIP_ERR_SETTING', '%s %s; it takes %s', 500)

// Embedding
export const NameTakenError = createError<[name: string]>('TURNIP_ERR_NAME_TAKEN', 'The decorator "%s" is taken: give this Turnip another with the option decorateAs', 500)
export const HostWebSocketError = createError<[list: string]>('TURNIP_ERR_HOST_WEBSOCKET', "The host's @fastify/websocket is laxer than Turnip's limits (%s): register it with { options: webSocketOptions() } from turnip", 500)

// Refusals over HTTP, before a socket opens
/** An answer other than 2xx with the body `{statusCode, error, message, code}`; `code` is one of the protocol's. */
export class HttpRefusal extends Error {
  readonly statusCode: number
  readonly code: string
  readonly headers: Readonly<Record<string, string>>

  constructor (statusCode: number, code: string, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message)
    this.name = 'HttpRefusal'
    this.statusCode = statusCode
    this.code = code
    this.headers = headers
  }
}
