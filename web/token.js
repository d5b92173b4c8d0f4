/** Tokens for whoever asks: the server gives them in development only. Elsewhere an application's backend does. */

const PATIENCE_MS = 10_000

/**
 * @param {URL} base what the server's routes are relative to
 * @param {{ username: string, user_id: string }} identity
 * @returns {Promise<string>}
 * @throws {Error} that says why there is none
 */
export async function fetchToken (base, identity) {
  let response
  try {
    response = await fetch(new URL('generate-token', base), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(identity),
      cache: 'no-store',
      signal: AbortSignal.timeout(PATIENCE_MS)
    })
  } catch {
    const other = base.origin === location.origin ? '' : ', or does not let pages of this origin ask (ALLOWED_ORIGINS)'
    throw new Error(`${base.host} does not answer${other}`)
  }
  if (response.status === 404) throw new Error('this server issues none, as it does so in development only')
  const body = await response.json().catch(() => null)
  if (!response.ok) throw new Error(body?.message ?? `${base.host} answers ${response.status}`)
  return body.token
}
