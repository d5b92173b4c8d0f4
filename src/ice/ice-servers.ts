/** The ICE servers that clients are given: those of the settings, and credentials for TURN servers that share a secret with us. */
import { createHmac } from 'node:crypto'
import { isIPv6 } from 'node:net'
import type { IceServer } from '../protocol/messages.ts'

/** The settings of all this. */
export interface IceSettings {
  readonly iceServers: readonly IceServer[]
  readonly turnUrls: readonly string[]
  readonly turnSecret: string
  readonly turnTtlS: number
}

/** What one client is given, for a while. */
export interface IceGrant {
  readonly ice_servers: readonly IceServer[]
  /** When the credentials among them end, s since 1970; null: never. */
  readonly expires_at: number | null
}

/** RFC 7064 §3.1, RFC 7065 §3.1. Only turn: and turns: have a transport. */
const ICE_URL = /^(?:(stuns?)|turns?):(?:\[([\da-fA-F:.]+)\]|[\w.-]+)(?::(\d{1,5}))?(\?transport=(?:udp|tcp))?$/
const TURN_URL = /^turns?:/
/** RFC 8489 §14.3: fewer than 509 bytes. A longer one makes RTCPeerConnection throw. */
const MAX_USERNAME_BYTES = 508
/** coturn answers 400 to a username with any of these, and to one with both "union" and "select": it guards its SQL so. */
const REFUSED_BY_COTURN = /[\t\n\r "'\\]|u(?=nion)/gi

function isIceUrl (url: unknown): url is string {
  const [matches, stun, ipv6, port = '1', query] = ICE_URL.exec(String(url)) ?? []
  return typeof url === 'string' && matches !== undefined && (ipv6 === undefined || isIPv6(ipv6)) &&
    Number(port) >= 1 && Number(port) <= 65535 && (stun === undefined || query === undefined)
}

/** What ICE_SERVERS says, in JSON: a list, or one server alone. @returns undefined for what RTCPeerConnection would not take */
export function parseIceServers (json: string): IceServer[] | undefined {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    return undefined
  }
  const servers = (Array.isArray(value) ? value : [value]).map(iceServerOf)
  return servers.every(server => server !== undefined) ? servers : undefined
}

/** Takes the fields that it knows: providers hand out others beside them, of older drafts. */
function iceServerOf (value: unknown): IceServer | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { urls, username, credential } = value as Record<string, unknown>
  const list: unknown[] = Array.isArray(urls) ? urls : [urls]
  if (list.length === 0 || !list.every(isIceUrl)) return undefined
  const isStun = !list.some(url => TURN_URL.test(url))
  if (isStun) return { urls: urls as string | string[] }
  if (typeof username !== 'string' || typeof credential !== 'string' || username === '' || credential === '' || Buffer.byteLength(username) > MAX_USERNAME_BYTES) return undefined
  return { urls: urls as string | string[], username, credential }
}

/** What TURN_URLS says, separated by commas. @returns undefined when one is no such URL, or none is a TURN server's */
export function parseTurnUrls (list: string): string[] | undefined {
  const urls = list.split(',').map(url => url.trim())
  return urls.every(isIceUrl) && urls.some(url => TURN_URL.test(url)) ? urls : undefined
}

/** `<unix expiry>:<user_id>`, as far as coturn and RTCPeerConnection take it: it says who to coturn's log, and opens nothing by that. */
function turnUsername (expiresAt: number, userId: string): string {
  const name = `${expiresAt}:${userId.replace(REFUSED_BY_COTURN, character => `%${Buffer.from(character).toString('hex').toUpperCase()}`)}`
  const bytes = Buffer.alloc(MAX_USERNAME_BYTES)
  const { written } = new TextEncoder().encodeInto(name, bytes) // ends with a whole character, and replaces halves of surrogate pairs
  return bytes.toString('utf8', 0, written)
}

/** Part of their life after which credentials are replaced. */
const RENEW_AFTER = 0.75

/** Gives clients their ICE servers. */
export class IceServers {
  readonly #settings: IceSettings

  constructor (settings: IceSettings) {
    this.#settings = settings
  }

  /** When what is given now is to be replaced, ms since 1970. */
  get renewAt (): number {
    const { turnSecret, turnTtlS } = this.#settings
    return turnSecret === '' ? Infinity : Date.now() + turnTtlS * 1000 * RENEW_AFTER
  }

  /** Credentials are those of coturn's `use-auth-secret`: it knows them by the secret alone, and refuses them after their expiry. */
  grant (userId: string): IceGrant {
    const { iceServers, turnUrls, turnSecret, turnTtlS } = this.#settings
    if (turnSecret === '') return { ice_servers: iceServers, expires_at: null }
    const expiresAt = Math.floor(Date.now() / 1000) + turnTtlS
    const username = turnUsername(expiresAt, userId)
    const credential = createHmac('sha1', turnSecret).update(username).digest('base64')
    return { ice_servers: [...iceServers, { urls: [...turnUrls], username, credential }], expires_at: expiresAt }
  }
}
