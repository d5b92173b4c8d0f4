import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Client } from '../harness/client.ts'
import { grandchildDiesToo } from '../harness/die-with-parent.ts'
import { createListeningParser, launch } from '../harness/turnip-process.ts'
import { until } from '../harness/until.ts'

const DEV = fileURLToPath(new URL('../../scripts/dev.js', import.meta.url))

/** All processes that a process has started, and those that they have. */
async function descendantsOf (pid: number): Promise<number[]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid='])
  const pairs = stdout.trim().split('\n').map(line => line.trim().split(/\s+/).map(Number))
  const found = [pid]
  for (const parent of found) for (const [child = 0, of] of pairs) if (of === parent) found.push(child)
  return found.slice(1)
}

function isAlive (pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('npm run dev serves the demo page and the client library, and gives tokens that open /ws, and Ctrl-C leaves no process behind', async t => {
  const server = await launch([DEV], createListeningParser(), { env: { ENVIRONMENT: undefined, REDIS_URL: undefined, ACCESS_SECRET: undefined } })
  const { url, wsUrl, pid, exited, logs } = server
  const descendants = await descendantsOf(pid)
  for (const descendant of descendants) grandchildDiesToo(descendant, exited)
  t.after(async () => {
    for (const descendant of descendants.filter(isAlive)) process.kill(descendant, 'SIGKILL')
    await server.stop('SIGKILL')
  })
  assert.ok(descendants.length > 0, 'the server is a process of its own')

  const page = await fetch(url)
  assert.equal(page.status, 200)
  assert.match(page.headers.get('content-type') ?? '', /^text\/html/)
  const library = await fetch(`${url}/client/index.js`)
  assert.equal(library.status, 200)
  assert.match(library.headers.get('content-type') ?? '', /^(application|text)\/javascript/)
  assert.match(await library.text(), /export \{[^}]*SignalingClient/)
  const answer = await fetch(`${url}/generate-token`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username: 'ana' }) })
  assert.equal(answer.status, 200)
  const { token } = await answer.json() as { token: string }
  const client = await Client.openWith(`${wsUrl}?token=${token}`)
  assert.equal(client.info.user_id, 'ana')
  await client.join('r')

  const { signal } = await server.stop('SIGINT')
  assert.equal(signal, null, `it ended by itself:\n${logs.join('\n')}`)
  assert.equal((await client.closed).code, 1012)
  await until('all that it has started is gone', async () => !descendants.some(isAlive))
})
