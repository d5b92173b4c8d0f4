/** A server, or a sentinel, or a node of a Cluster. */
export interface Endpoint { readonly host: string, readonly port: number }

/** Where rooms are, as REDIS_URL says it. What it leaves open is undefined. */
export type Address =
  | { readonly form: 'memory' }
  | { readonly form: 'server', readonly server: Endpoint, readonly db: number | undefined } & Access
  | { readonly form: 'sentinel', readonly sentinels: readonly Endpoint[], readonly name: string, readonly db: number | undefined } & Access & SentinelAccess
  | { readonly form: 'cluster', readonly nodes: readonly Endpoint[] } & Access

/** How servers are to be reached. */
export interface Access {
  readonly tls: boolean
  readonly username: string | undefined
  readonly password: string | undefined
}

/** What the sentinels themselves ask for. */
export interface SentinelAccess {
  readonly sentinelUsername: string | undefined
  readonly sentinelPassword: string | undefined
}

export const ADDRESS_FORMS = 'redis://[user:password@]host:port[/db], redis+sentinel://[user:password@]host:port,…/name[/db], ' +
  'redis+cluster://[user:password@]host:port,…, the same with rediss for TLS, or memory:'

/** The largest number that a Redis can be told to have databases. */
const MAX_DB = 1_000_000

/** Scheme, form, credentials, hosts, path, query. A password may hold an @. */
const URL_PARTS = /^(rediss?)(?:\+(sentinel|cluster))?:\/\/(?:([^/?#]*)@)?([^@/?#]+)(?:\/([^?#]*))?(?:\?([^#]*))?$/
const HOST_AND_PORT = /^(?:\[([\da-fA-F:.]+)\]|([\w.-]+))(?::(\d{1,5}))?$/

/** @returns undefined for what is no such address */
export function parseAddress (url: string): Address | undefined {
  if (url === 'memory:') return { form: 'memory' }
  const [, scheme, form, credentials, hosts = '', path = '', query] = URL_PARTS.exec(url) ?? []
  if (scheme === undefined) return undefined
  try {
    return addressOf(scheme === 'rediss', form ?? 'server', credentials, hosts, path, query)
  } catch (error) {
    if (error instanceof Malformed || error instanceof URIError) return undefined
    throw error
  }
}

class Malformed extends Error {}

function addressOf (tls: boolean, form: string, credentials: string | undefined, hosts: string, path: string, query: string | undefined): Address {
  const access = { tls, ...credentialsOf(credentials) }
  if (form === 'sentinel') {
    const [name = '', db, ...rest] = path.split('/')
    if (name === '' || rest.length > 0) throw new Malformed()
    return { form, sentinels: endpointsOf(hosts, 26379), name: decodeURIComponent(name), db: databaseOf(db), ...access, ...sentinelAccessOf(query) }
  }
  if (query !== undefined) throw new Malformed()
  const db = databaseOf(path)
  const endpoints = endpointsOf(hosts, 6379)
  if (form === 'cluster') {
    if (db !== undefined && db !== 0) throw new Malformed() // a Cluster has one database
    return { form, nodes: endpoints, ...access }
  }
  const [server, another] = endpoints
  if (server === undefined || another !== undefined) throw new Malformed()
  return { form: 'server', server, db, ...access }
}

function endpointsOf (hosts: string, defaultPort: number): Endpoint[] {
  return hosts.split(',').map(text => {
    const [matches, ipv6, name = '', port] = HOST_AND_PORT.exec(text) ?? []
    const number = port === undefined ? defaultPort : Number(port)
    if (matches === undefined || number < 1 || number > 65535) throw new Malformed()
    return { host: ipv6 ?? name, port: number }
  })
}

/** An empty part counts as absent: `redis://:secret@host` names no user. */
function credentialsOf (text = ''): { username: string | undefined, password: string | undefined } {
  const colon = text.indexOf(':')
  const [username, password] = colon === -1 ? [text, ''] : [text.slice(0, colon), text.slice(colon + 1)]
  return { username: decodeURIComponent(username) || undefined, password: decodeURIComponent(password) || undefined }
}

function databaseOf (text = ''): number | undefined {
  if (text === '') return undefined
  if (!/^\d+$/.test(text) || Number(text) > MAX_DB) throw new Malformed()
  return Number(text)
}

function sentinelAccessOf (query = ''): SentinelAccess {
  const given = new Map<string, string>()
  for (const pair of query.split('&').filter(pair => pair !== '')) {
    const [name = '', value = ''] = pair.split('=', 2)
    given.set(name, decodeURIComponent(value))
  }
  const access = { sentinelUsername: given.get('sentinel_username'), sentinelPassword: given.get('sentinel_password') }
  given.delete('sentinel_username')
  given.delete('sentinel_password')
  if (given.size > 0) throw new Malformed()
  return access
}
