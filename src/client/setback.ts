/** Why a connection did not open or has ended, and what to do next. */
import { closeCodes, type ComeBack } from '../protocol/codes.ts'
import { SignalingError, type SignalingErrorCode } from './signaling-error.ts'

export interface Setback {
  error: SignalingError
  /** Whether to come back. */
  again: boolean
  /** The least time until then, ms. */
  pauseMs: number
}

/** After 1008: who sent too much and comes back at once does it again. */
const FLOOD_PAUSE_MS = 5000

export function setback (code: SignalingErrorCode, message: string, { again = false, pauseMs = 0, status, cause }: { again?: boolean, pauseMs?: number, status?: number, cause?: unknown } = {}): Setback {
  return { error: new SignalingError(code, message, { status, cause }), again, pauseMs }
}

/**
 * @param event the Close that came, or 1006 when none did
 * @param hasNewTokens whether another token can be fetched
 * @param pauseMs what the server has asked for before it went
 */
export function whyClosed ({ code, reason }: { code: number, reason: string }, hasNewTokens: boolean, pauseMs: number): Setback {
  const known = (closeCodes as Record<number, { reason: string, comeBack: ComeBack }>)[code]
  const said = reason || known?.reason
  const message = code === 1006 ? 'The connection was lost' : `The server closed the connection: ${said === undefined ? code : `${said} (${code})`}`
  const comeBack = code === 1000 ? 'no' : known?.comeBack ?? 'yes'
  if (comeBack === 'no' || (comeBack === 'new token' && !hasNewTokens)) return setback(code === 4401 ? 'token_expired' : `close_${code}`, message)
  return setback('connection_lost', message, { again: true, pauseMs: comeBack === 'later' ? Math.max(pauseMs, FLOOD_PAUSE_MS) : pauseMs })
}

/**
 * A failed WebSocket says nothing in a browser; the same address without an upgrade tells. Never rejects.
 * @param isKnown whether there was a connection before: then a strange answer is a proxy's, whose server is away
 */
export async function whyRefused (fetch: typeof globalThis.fetch, url: URL, token: string, isKnown: boolean, timeoutMs: number): Promise<Setback> {
  let response: Response
  try {
    response = await fetch(url, { headers: { authorization: `Bearer ${token}` }, cache: 'no-store', signal: AbortSignal.timeout(timeoutMs) })
  } catch (cause) {
    const page = (globalThis as { location?: { origin: string } }).location?.origin
    const other = page === undefined || page === url.origin ? '' : `, or does not let pages of ${page} ask why (ALLOWED_ORIGINS)`
    return setback('connection_lost', `${url.host} does not answer${other}`, { again: true, cause })
  }
  const { status } = response
  // Turnip has no 404 here: it is what a wrong prefix gets, from a host or a Turnip, in words that say nothing of the mistake.
  const body = status === 404 ? undefined : await response.json().catch(() => undefined) as { code?: SignalingErrorCode, message?: string } | undefined
  if (status === 426 && body?.code !== undefined) return setback('connection_lost', `${url.host} would let this client in, but the WebSocket does not open: something between the two may not pass it on`, { again: true, status })
  const { code = 'refused', message = `${url.origin}${url.pathname} answers ${status}: is that the address of a Turnip server, with its prefix?` } = body ?? {}
  const pauseMs = (Number(response.headers.get('retry-after')) || 0) * 1000
  const again = status === 429 || status >= 500 || (isKnown && status !== 401 && status !== 403)
  return setback(code, message, { again, pauseMs, status })
}
