/**
 * Every code that a client can meet: why a token was refused, why a request was refused, why a socket was closed.
 * Shared with browser clients; imports nothing.
 */

/** The most bytes of a token: a longer one is a mistake, or an attack on the parser. */
export const MAX_TOKEN_BYTES = 4096

/** Why a token opens nothing. Also the values of the `reason` label of the authentication metrics. */
export const tokenFailures = {
  token_missing: 'No token was given: pass ?token=, an Authorization: Bearer header, or the subprotocol bearer.<token>',
  parse_error: `The token is not a JSON Web Token of at most ${MAX_TOKEN_BYTES} bytes`,
  invalid_token: "The signature or the algorithm of the token is not accepted (was it signed with this server's ACCESS_SECRET, or by its identity provider?), or it is not valid yet",
  token_expired: 'The token has expired: fetch a new one',
  unverified_user: 'The user is not verified: the claim is_verified must be "true"',
  realm_missing: 'The token names no realm',
  realm_mismatch: 'The token belongs to another realm',
  invalid_token_type: 'The claim type must be "ACCESS_TOKEN"',
  role_missing: 'The token has no role',
  invalid_claims: 'A claim of the token is missing or of the wrong kind'
} as const

export type TokenFailure = keyof typeof tokenFailures

/** Why a frame was refused: the `code` of an `error` frame, with the sentence it carries when none says more. */
export const errorCodes = {
  bad_json: 'The message is not valid JSON',
  bad_message: 'The message does not have the form its type asks for',
  unknown_type: 'The server does not know this type of message',
  not_in_room: 'You are in no room: join one first',
  room_invalid: 'A room name is 1 to 128 characters of A-Z a-z 0-9 _ - . : @',
  room_forbidden: 'Your token does not open this room',
  room_full: 'The room is full',
  identity_mismatch: 'The identity is not that of your token',
  peer_not_found: 'Nobody else in this room has that connection_id or user_id',
  payload_too_large: 'The message is too large',
  rate_limited: 'Too many messages: slow down',
  forbidden: 'Your token does not allow this',
  unavailable: 'The server cannot do this at the moment: try again shortly',
  internal: 'Something went wrong on the server: try again'
} as const

export type ErrorCode = keyof typeof errorCodes

/** What a client may do after a close: stay away, come back with backoff, after a pause, with a new token. For clients to read. */
export type ComeBack = 'no' | 'yes' | 'later' | 'new token'

/**
 * Close codes that the server sends (RFC 6455 §7.4; 4000 to 4999 are the application's own), each with its reason
 * phrase (at most 123 bytes) and with what the client may do next. 1002, 1003, 1007 and 1009 answer broken,
 * binary, badly encoded and oversize frames: mend the client.
 */
export const closeCodes = {
  1002: { reason: 'protocol error', comeBack: 'no' },
  1003: { reason: 'binary frames are not accepted', comeBack: 'no' },
  1007: { reason: 'text is not UTF-8', comeBack: 'no' },
  1008: { reason: 'you send too much', comeBack: 'later' },
  1009: { reason: 'message too large', comeBack: 'no' },
  1011: { reason: 'internal error', comeBack: 'yes' },
  1012: { reason: 'this instance goes away', comeBack: 'yes' },
  1013: { reason: 'you read too slowly', comeBack: 'yes' },
  4401: { reason: 'token expired', comeBack: 'new token' },
  4403: { reason: 'removed', comeBack: 'no' },
  4408: { reason: 'no pong in time', comeBack: 'yes' },
  4409: { reason: 'replaced by a newer connection of the same session', comeBack: 'no' }
} as const satisfies Record<number, { reason: string, comeBack: ComeBack }>

export type CloseCode = keyof typeof closeCodes

/**
 * Codes of a Close frame, the client's or the server's, after which a session is over: the client has left (1005: a Close
 * without a code), or may not go on. After all others, and none, it may.
 */
export const lastCodes: ReadonlySet<number> = new Set([1000, 1001, 1002, 1003, 1005, 1007, 1008, 1009, 4401, 4403, 4409])
