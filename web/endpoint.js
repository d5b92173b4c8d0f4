/** The server's HTTP side: tokens, and the reason of a refused socket. */

const PATIENCE_MS = 10_000

/** A refusal, with what the server said and whether asking again can help. */
export class Refusal extends Error {
  /**
   * @param {string} message for the person
   * @param {{ again?: boolean, retryAfterMs?: number }} [options]
   */
  constructor (message, { again = false, retryAfterMs = 0 } = {}) {
    super(message)
    this.again = again
    this.retryAfterMs = retryAfterMs
  }
}

/**
 * @param {URL} base
 * @param {string} token
 * @returns {URL} address of the socket
 */
export function socketUrl (base, token) {
  const url = new URL('ws', base)
  url.protocol = base.protocol === 'https:' ? 'wss:' : 'ws:'
  url.searchParams.set('token', token)
  return url
}

/**
 * @param {Response} response
 * @returns {Promise<Refusal>}
 */
async function refusalOf (response) {
  const body = await response.json().catch(() => null)
  const said = typeof body?.message === 'string' ? body.message : `The server answered ${response.status}.`
  return new Refusal(body?.code ? `${said} (${body.code})` : said, {
    again: response.status === 429 || response.status >= 500,
    retryAfterMs: (Number(response.headers.get('retry-after')) || 0) * 1000
  })
}

/**
 * @param {URL} url
 * @param {RequestInit} [init]
 * @returns {Promise<Response>}
 * @throws {Refusal} when nobody answers
 */
async function ask (url, init) {
  try {
    return await fetch(url, { ...init, cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) })
  } catch {
    const other = url.origin === location.origin ? '' : ' It may also not allow this page\'s origin.'
    throw new Refusal(`${url.host} does not answer.${other}`, { again: true })
  }
}

/**
 * @param {URL} base
 * @param {{ username: string, user_id: string }} identity
 * @returns {Promise<string>} a token
 * @throws {Refusal}
 */
export async function fetchToken (base, identity) {
  const response = await ask(new URL('generate-token', base), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(identity)
  })
  if (response.status === 404) throw new Refusal('This server issues no tokens: it does so in development only.')
  if (!response.ok) throw await refusalOf(response)
  const { token } = await response.json()
  return token
}

/**
 * A browser does not see why a socket was refused; the same address without an upgrade tells.
 * @param {URL} base
 * @param {string} token
 * @returns {Promise<Refusal>}
 */
export async function whyRefused (base, token) {
  const url = socketUrl(base, token)
  url.protocol = base.protocol
  try {
    const response = await ask(url)
    // 426: the upgrade would have been granted, so what failed was on the way.
    if (response.status === 426) return new Refusal('The connection did not open.', { again: true })
    return await refusalOf(response)
  } catch (error) {
    return error instanceof Refusal ? error : new Refusal(String(error))
  }
}
