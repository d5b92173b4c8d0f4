/** Where the server's routes are. */

/**
 * @param url http(s) or ws(s), with the prefix if there is one; by default the folder that the page comes from
 * @returns the same as http(s), ending with a slash, so that routes are relative to it
 */
export function baseOf (url: string | URL | undefined): URL {
  const page = (globalThis as { location?: { href: string } }).location?.href
  if (url === undefined && page === undefined) throw new TypeError('There is no page here: tell where the server is, as `url`')
  const base = new URL(url ?? '.', page)
  base.protocol = base.protocol.replace(/^ws/, 'http')
  base.search = base.hash = ''
  if (!base.pathname.endsWith('/')) base.pathname += '/'
  return base
}

/** The address of /ws for `fetch`; with `ws:` or `wss:` in front that of the socket. */
export function wsAddress (base: URL, query: Record<string, string> = {}): URL {
  const url = new URL('ws', base)
  for (const name in query) url.searchParams.set(name, String(query[name]))
  return url
}
