import { BlockList, isIP } from 'node:net'
import { normalizeIP } from '@fastify/rate-limit'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'

/** Where proxies are: a public address that sends X-Forwarded-For is a client that makes it up. */
const PRIVATE = new BlockList()
for (const [net, prefix] of [['10.0.0.0', 8], ['127.0.0.0', 8], ['169.254.0.0', 16], ['172.16.0.0', 12], ['192.168.0.0', 16], ['100.64.0.0', 10]] as const) PRIVATE.addSubnet(net, prefix, 'ipv4')
for (const [net, prefix] of [['::1', 128], ['fc00::', 7], ['fe80::', 10]] as const) PRIVATE.addSubnet(net, prefix, 'ipv6')

/** Some proxies write a port behind the address, `203.0.113.7:4711` or `[2001:db8::1]:4711`, some a zone. */
const DECORATED = /^\[([^\]%]*)(?:%[^\]]*)?\](?::\d+)?$|^([\d.]+):\d+$|^([^%]*)%.*$/

/** What counts for one address. A trusted proxy may hand on anything that a client calls one: all that is none counts as one. */
function countedAs (ip: string): string {
  const [, bracketed, withPort, withZone] = DECORATED.exec(ip) ?? []
  const address = bracketed ?? withPort ?? withZone ?? ip
  return isIP(address) === 0 ? 'unknown' : normalizeIP(address)
}

function isPrivate (ip: string): boolean {
  const [address = ''] = ip.split('%') // fe80::1%eth0
  return PRIVATE.check(address, address.includes(':') ? 'ipv6' : 'ipv4')
}

/** Tells the address that limits count a client by. */
export type AddressOf = (request: FastifyRequest) => string | undefined

/**
 * Clients are counted by their address, in IPv6 by its /64, as that is what one customer gets. Behind a proxy that is
 * not trusted all of them have the proxy's, so it is undefined there: one of them would use up what all may do.
 */
export function addressesFor (log: Pick<FastifyBaseLogger, 'warn'>): AddressOf {
  let hasWarned = false
  return ({ ip, ips, headers }) => {
    if (!ip) return undefined // its socket is gone, or is no IP socket
    const isHidden = headers['x-forwarded-for'] !== undefined && ips === undefined && isPrivate(ip) // with a trusted proxy there are ips
    if (!isHidden) return countedAs(ip)
    if (!hasWarned) log.warn({ proxy: ip }, 'X-Forwarded-For comes from a private address, and TRUST_PROXY is false: no limit by address applies to who comes from there')
    hasWarned = true
    return undefined
  }
}
