/** An identity provider: keys of its own, the page that shows the public ones, and tokens, signed by node:crypto alone. */
import { constants, generateKeyPairSync, sign as signBytes, type KeyObject, type SignKeyObjectInput } from 'node:crypto'
import { createServer, type ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { claimsOf, type Claims } from './token.ts'

export interface SigningKey {
  alg: string
  kid: string
  privateKey: KeyObject
  publicKey: KeyObject
  pem: string
}

const CURVES: Record<string, string> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }

/** @param bits of an RSA key */
export function createKey (alg: string, kid: string, bits = 2048): SigningKey {
  const namedCurve = CURVES[alg]
  const pair = alg === 'EdDSA' ? generateKeyPairSync('ed25519') : namedCurve === undefined ? generateKeyPairSync('rsa', { modulusLength: bits }) : generateKeyPairSync('ec', { namedCurve })
  return { alg, kid, ...pair, pem: pair.publicKey.export({ type: 'spki', format: 'pem' }).toString() }
}

/** A token of the user's, right by default. */
export function signWith ({ alg, kid, privateKey }: SigningKey, userId: string, over: Claims = {}, header: object = {}): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${part({ alg, kid, typ: 'JWT', ...header })}.${part(claimsOf(userId, over))}`
  const how: SignKeyObjectInput = { key: privateKey, dsaEncoding: 'ieee-p1363' }
  if (alg.startsWith('PS')) Object.assign(how, { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST })
  return `${input}.${signBytes(alg === 'EdDSA' ? null : `sha${alg.slice(2)}`, Buffer.from(input), how).toString('base64url')}`
}

/** What a key is on the page. */
export function jwkOf ({ alg, kid, publicKey }: SigningKey, over: object = {}): object {
  return { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig', ...over }
}

export interface Provider {
  url: string
  /** How often it was asked. */
  asked: number
  /** What it answers with; changed as a test goes on. */
  answer: (response: ServerResponse) => void
  show (...keys: object[]): void
  /** Takes it away, or brings it back to the same port. */
  close (): Promise<void>
  listen (): Promise<void>
}

/** The provider's page, on a port of its own. */
export async function startProvider (t: TestContext, ...keys: object[]): Promise<Provider> {
  return await start(t, undefined, keys)
}

/** The same over TLS. */
export async function startSecureProvider (t: TestContext, tls: { cert: string, key: string }, ...keys: object[]): Promise<Provider> {
  return await start(t, tls, keys)
}

async function start (t: TestContext, tls: { cert: string, key: string } | undefined, keys: object[]): Promise<Provider> {
  const answer = (_request: unknown, response: ServerResponse): void => {
    provider.asked++
    provider.answer(response)
  }
  const server = tls === undefined ? createServer(answer) : createSecureServer(tls, answer)
  let port = 0
  const provider: Provider = {
    url: '',
    asked: 0,
    answer: () => {},
    show: (...shown) => { provider.answer = response => { response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys: shown })) } },
    close: async () => {
      server.closeAllConnections()
      await new Promise<void>(resolve => { server.close(() => { resolve() }) })
    },
    listen: async () => {
      await new Promise<void>(resolve => { server.listen(port, '127.0.0.1', resolve) })
      port = (server.address() as AddressInfo).port
      provider.url = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}/keys`
    }
  }
  provider.show(...keys)
  await provider.listen()
  t.after(provider.close)
  return provider
}
