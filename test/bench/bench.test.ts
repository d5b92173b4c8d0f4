import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'
import { startDriver } from '../../bench/driver/driver.ts'
import type { Results } from '../../bench/results.ts'
import { startTurnip } from '../harness/turnip-process.ts'

async function bench (...args: string[]): Promise<{ code: number | null, output: string, errors: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'bench/main.ts', ...args], { cwd: fileURLToPath(new URL('../../', import.meta.url)) })
  const code = new Promise<number | null>(resolve => { child.once('close', resolve) })
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)])
  return { code: await code, output, errors }
}

const job = { protocol: 'turnip', pids: { server: [], redis: [] }, limitMs: 10_000, work: { kind: 'exchange', pairs: 1, rounds: 1, warmUp: 1, idle: { connections: 0, roomSize: 1 } } } as const

test('a small run measures both servers and leaves its results and a chart', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'turnip-bench-'))
  t.after(() => rm(directory, { recursive: true }))
  const out = join(directory, 'results.json')
  const { code, output, errors } = await bench('--size', 'tiny', '--only', 'exchange', '--servers', 'turnip,ws', '--rounds', '1', '--out', out)
  assert.equal(code, 0, output + errors)
  assert.match(errors, /1\/2 {2}round 1 {2}exchange/)
  assert.match(output, /\| exchange: .* \| ≤ 1\.00 \| /)
  const { runs, machine } = JSON.parse(await readFile(out, 'utf8')) as Results
  assert.ok(machine.cores > 0)
  assert.deepEqual(runs.map(({ server }) => server).sort(), ['turnip', 'ws'])
  for (const { operations, seconds, cpuUs, p50Ms = 0, p99Ms = 0 } of runs) {
    assert.equal(operations, 4400)
    assert.ok(seconds > 0 && cpuUs.server > 0 && p50Ms > 0 && p99Ms >= p50Ms)
    assert.equal(cpuUs.redis, 0)
  }
  assert.match(await readFile(join(directory, 'results.svg'), 'utf8'), /Turnip<\/text>/)
})

test('a command line that means nothing is explained', async () => {
  const { code, errors } = await bench('--only', 'exchnage')
  assert.equal(code, 1)
  assert.match(errors, /--only: there is no exchnage; there are exchange, /)
})

test('the driver says what a server did instead, and what to do', async t => {
  const driver = startDriver()
  t.after(() => { driver.stop() })
  await assert.rejects(driver.run({ ...job, ports: [1] }), /^Error: Nothing answers as it should at 127\.0\.0\.1:1: connect ECONNREFUSED .* Is the server running/)
  const turnip = await startTurnip({ built: true, env: { REALM: 'elsewhere' } })
  t.after(async () => { await turnip.stop() })
  await assert.rejects(driver.run({ ...job, ports: [Number(new URL(turnip.url).port)] }), /GET \/ws was answered with "HTTP\/1\.1 401 Unauthorized"/)
})
