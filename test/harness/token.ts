import { createHmac } from 'node:crypto'
import { ACCESS_SECRET } from './turnip-process.ts'

/** Claims of a token, right by default; undefined takes one away. */
export type Claims = Record<string, unknown>

/** Claims that open every room of the realm `development` for an hour. */
export function claimsOf (userId: string, over: Claims = {}): Claims {
  const now = Math.floor(Date.now() / 1000)
  return { user_id: userId, username: userId, email: `${userId}@example.com`, role: 'user', is_verified: 'true', type: 'ACCESS_TOKEN', realm: 'development', iat: now, exp: now + 3600, ...over }
}

/** A token, signed here and not by the code under test. */
export function sign (claims: Claims, { secret = ACCESS_SECRET, alg = 'HS256', header = {} }: { secret?: string, alg?: string, header?: object } = {}): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${part({ alg, typ: 'JWT', ...header })}.${part(claims)}`
  return `${input}.${createHmac(alg.replace('HS', 'sha'), secret).update(input).digest('base64url')}`
}

export function tokenFor (userId: string, over: Claims = {}): string {
  return sign(claimsOf(userId, over))
}
