import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import { IceServers, type IceSettings } from '../../src/ice/ice-servers.ts'

const STUN = { urls: 'stun:stun.example.com' }
const TURN_URLS = ['turn:turn.example.com:3478?transport=udp', 'turns:turn.example.com:443?transport=tcp']
const nothing: IceSettings = { iceServers: [], turnUrls: [], turnSecret: '', turnTtlS: 600 }
const withTurn: IceSettings = { ...nothing, turnUrls: TURN_URLS, turnSecret: 'the secret' }

/** The server of a grant that has credentials of ours. */
function turnOf (settings: IceSettings, userId: string): { username: string, credential: string, expiresAt: number } {
  const { ice_servers: servers, expires_at: expiresAt } = new IceServers(settings).grant(userId)
  const { username = '', credential = '' } = servers.at(-1) ?? {}
  return { username, credential, expiresAt: expiresAt ?? 0 }
}

test('the credential is the HMAC of the username, which is the expiry and the user', () => {
  const before = Math.floor(Date.now() / 1000)
  const { username, credential, expiresAt } = turnOf(withTurn, 'ada')
  assert.ok(expiresAt >= before + 600 && expiresAt <= Date.now() / 1000 + 600)
  assert.equal(username, `${expiresAt}:ada`)
  assert.equal(credential, createHmac('sha1', 'the secret').update(username, 'utf8').digest('base64'))
  // RFC 2202 §3, case 2: the key "Jefe" and the text "what do ya want for nothing?"
  assert.equal(createHmac('sha1', 'Jefe').update('what do ya want for nothing?').digest('hex'), 'effcdf6ae5eb2fa2d27416d5f184df9c259a7c79')
})

test('there is nothing to give where nothing is set, and what is set for all never ends', () => {
  assert.deepEqual(new IceServers(nothing).grant('ada'), { ice_servers: [], expires_at: null })
  assert.deepEqual(new IceServers({ ...nothing, iceServers: [STUN] }).grant('ada'), { ice_servers: [STUN], expires_at: null })
})

test('what is set for all comes first, then TURN with all its addresses', () => {
  const { ice_servers: servers } = new IceServers({ ...withTurn, iceServers: [STUN] }).grant('ada')
  assert.equal(servers.length, 2)
  assert.deepEqual(servers[0], STUN)
  assert.deepEqual(servers[1]?.urls, TURN_URLS)
})

test('each user has credentials of its own, and each secret makes others', () => {
  assert.notEqual(turnOf(withTurn, 'ada').credential, turnOf(withTurn, 'ben').credential)
  assert.notEqual(turnOf(withTurn, 'ada').credential, turnOf({ ...withTurn, turnSecret: 'another' }, 'ada').credential)
})

test('what coturn refuses in a username stands there in percent, and all else as it is', () => {
  for (const [userId, written] of [
    ['Ada Lovelace', 'Ada%20Lovelace'], ['a\tb\nc\rd', 'a%09b%0Ac%0Dd'], ["o'neil \"x\" \\", 'o%27neil%20%22x%22%20%5C'], ['reunion-select', 're%75nion-select'], ['UNION', '%55NION'],
    ['1:2:3', '1:2:3'], ['auth0|5f7c8ec7', 'auth0|5f7c8ec7'], ['ada@example.com', 'ada@example.com'], ['50%', '50%'], ['Ädäß 漢字 😀', 'Ädäß%20漢字%20😀'], ['', '']
  ] as const) {
    const { username, expiresAt } = turnOf(withTurn, userId)
    assert.equal(username, `${expiresAt}:${written}`)
  }
})

test('no username is longer than TURN takes, ends in half a character, or is no text', () => {
  for (const userId of ['x'.repeat(256), '漢'.repeat(256), '😀'.repeat(128), `x${'😀'.repeat(128)}`, ' '.repeat(256), '\ud800'.repeat(256), `${'é'.repeat(255)}\udc00`]) {
    const { username, credential } = turnOf(withTurn, userId)
    assert.ok(Buffer.byteLength(username) <= 508, `${Buffer.byteLength(username)} bytes`)
    assert.equal(Buffer.from(username).toString(), username)
    assert.equal(credential, createHmac('sha1', 'the secret').update(username).digest('base64'))
  }
})
