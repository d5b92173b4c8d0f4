/** What a `SignalingClient` can be told, and what it does when it is not told. */

import type { ClientMessageOf } from '../protocol/messages.ts'

/** As much of a WebSocket as is used here: the browser's, Node's and that of `ws` have it. */
export interface WebSocketLike {
  send (data: string): void
  close (code?: number, reason?: string): void
  addEventListener (type: 'message', listener: (event: { data: unknown }) => void): void
  addEventListener (type: 'close', listener: (event: { code: number, reason: string }) => void): void
  addEventListener (type: 'open' | 'error', listener: () => void): void
}

export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike

/** A token, or what fetches one: asked at each connect, and again before the token ends. */
export type TokenSource = string | (() => string | Promise<string>)

export interface SignalingOptions {
  /** Where the server's routes are: http(s) or ws(s), with the prefix if there is one. Default: where the page comes from. */
  url?: string | URL
  token: TokenSource
  /** Whether to ask for a session, which survives a lost connection. Default: true. */
  resume?: boolean
  /** Default: the global one. Node 20 has none: give it that of `ws`. */
  WebSocket?: WebSocketClass
  /** Default: the global one. Asks why a connection did not open. */
  fetch?: typeof globalThis.fetch
  /** The first pause before coming back is up to this long, each further one up to twice as long, ms. Default: 300. */
  backoffMs?: number
  /** The longest of these pauses, ms. Default: 10000. */
  maxBackoffMs?: number
  /** How long an attempt to connect may take, ms. Default: 10000. */
  connectTimeoutMs?: number
}

/** How a call's set-up went, for the server's metrics. */
export type CallReport = Omit<ClientMessageOf<'report'>, 'type' | 'id'>
