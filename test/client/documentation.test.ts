import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { SignalingErrorCode, SignalingOptions } from '../../src/client/index.ts'
import type { ErrorCode, TokenFailure } from '../../src/protocol/codes.ts'
import { tokenFor } from '../harness/token.ts'
import { startTurnip } from '../harness/turnip-process.ts'
import { EVENTS, clientFor } from './recorded.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const page = readFileSync(`${ROOT}docs/client.md`, 'utf8')
const protocol = readFileSync(`${ROOT}docs/protocol.md`, 'utf8')

const options: Record<keyof SignalingOptions, true> = { url: true, token: true, resume: true, WebSocket: true, fetch: true, backoffMs: true, maxBackoffMs: true, connectTimeoutMs: true }
const codes: Record<Exclude<SignalingErrorCode, ErrorCode | TokenFailure | `close_${number}`>, true> = {
  not_connected: true, closed: true, connection_lost: true, token_failed: true, refused: true, left_out: true, bad_upgrade: true, origin_forbidden: true, too_many_connections: true, too_many_failures: true, starting: true, draining: true, auth_timeout: true
}

test('docs/client.md has every option, event and code', () => {
  for (const name of [...Object.keys(options), ...EVENTS, 'frame']) assert.ok(page.includes(`\`${name}\``), name)
  for (const code of Object.keys(codes)) assert.ok(page.includes(`| \`${code}\` |`) || protocol.includes(`\`${code}\``), code)
})

test('its example for Node runs', async t => {
  const [, example = ''] = /```js\n(import \{ SignalingClient \}.*?)```/s.exec(page) ?? []
  assert.notEqual(example, '')
  const server = await startTurnip()
  t.after(async () => { await server.stop() })
  const bob = clientFor(t, server.url, 'bob')
  await bob.client.join('kitchen')
  const program = example.replace('const { members }', "client.once('data', () => setTimeout(() => client.close(), 100))\n$&")
  const running = promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
    cwd: ROOT, timeout: 30_000, env: { ...process.env, TURNIP_URL: server.url, TURNIP_TOKEN: tokenFor('ada') }
  })
  await bob.next('user_joined')
  bob.client.send({ text: 'dinner' })
  assert.deepEqual((await bob.next('data')).data, { text: 'Hello bob' })
  const { stdout, stderr } = await running
  assert.deepEqual(stdout.trim().split('\n').sort(), ['1 here already', 'bob says dinner'])
  assert.match(stderr, /^connecting: Connecting\nopen: Connected\nclosed: Closed by this side\n$/)
})
