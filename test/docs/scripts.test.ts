import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'
import { ACCESS_SECRET, startTurnip } from '../harness/turnip-process.ts'

interface Run { code: number | null, output: string, errors: string }

/** Runs a script as a newcomer does, outside of any directory with a .env, and waits for its end. */
async function run (name: string, args: string[], env: Record<string, string> = {}): Promise<Run> {
  const child = spawn(fileURLToPath(new URL(`../../scripts/${name}`, import.meta.url)), args, { cwd: tmpdir(), env: { PATH: process.env.PATH, ...env } })
  const code = new Promise<number | null>(resolve => { child.once('close', resolve) })
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)])
  return { code: await code, output, errors }
}

test('demo-room-disbanded shows both ends of a room on a server of its own', async () => {
  const { code, output, errors } = await run('demo-room-disbanded', ['--own'])
  assert.equal(code, 0, output + errors)
  assert.match(output, /started for this run/)
  assert.match(output, /Cleo {2}< room_disbanded demo-[0-9a-f]+, last_member_left/)
  assert.match(output, /Wanda < room_disbanded demo-[0-9a-f]+, last_member_left/)
  assert.match(output, /Ada {3}< room_disbanded demo-[0-9a-f]+, user_requested/)
  assert.match(output, /ok: Wanda, the watcher, was told of two births and two ends/)
})

test('test-metrics finds every figure right on a server of its own', async () => {
  const { code, output, errors } = await run('test-metrics', ['--own'])
  assert.equal(code, 0, output + errors)
  assert.match(output, /turnip_messages_sent_total\{message_type="room_disbanded"\} +0 +0 +1 {2}ok, \+1/)
  assert.doesNotMatch(output, /WRONG/)
  assert.match(output, /All as they should be/)
})

test('both talk to a server that runs, with tokens signed by its secret or given by it', async t => {
  const server = await startTurnip({ env: { ENVIRONMENT: 'development', METRICS_AUTH: 'basic', METRICS_USERNAME: 'prometheus', METRICS_PASSWORD: 'secret' } })
  t.after(async () => { await server.stop() })
  const given = await run('demo-room-disbanded', ['--url', server.url])
  assert.equal(given.code, 0, given.output + given.errors)
  const signed = await run('demo-room-disbanded', ['--url', server.url, '--secret', ACCESS_SECRET])
  assert.equal(signed.code, 0, signed.output + signed.errors)
  const metrics = ['--url', server.url, '--metrics-url', `${server.metricsUrl ?? ''}/metrics`]
  const refused = await run('test-metrics', metrics)
  assert.equal(refused.code, 1)
  assert.match(refused.errors, /asks for credentials/)
  const scraped = await run('test-metrics', metrics, { METRICS_USERNAME: 'prometheus', METRICS_PASSWORD: 'secret' })
  assert.equal(scraped.code, 0, scraped.output + scraped.errors)
})

test('they say in one line what is wrong, and explain themselves', async () => {
  for (const name of ['demo-room-disbanded', 'test-metrics']) {
    const nobody = await run(name, ['--url', 'http://127.0.0.1:1'])
    assert.equal(nobody.code, 1)
    assert.match(nobody.errors, /^No Turnip answers at http:\/\/127\.0\.0\.1:1\/: .*\n$/)
    const help = await run(name, ['--help'])
    assert.equal(help.code, 0)
    assert.match(help.output, new RegExp(`^Usage: scripts/${name} `))
  }
})
