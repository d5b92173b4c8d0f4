/** What somebody sees who starts the server with a setting that is wrong. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { dieWithParent } from '../harness/die-with-parent.ts'
import { ACCESS_SECRET, startTurnip } from '../harness/turnip-process.ts'

const SERVER = fileURLToPath(new URL('../../src/server.ts', import.meta.url))

/** Starts the server as somebody does who has set this alone. */
async function start (env: Record<string, string>) {
  const directory = await mkdtemp(join(tmpdir(), 'turnip-start-'))
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), SERVER], {
    cwd: directory,
    env: { PATH: process.env['PATH'], PORT: '0', PUBLIC_IP: '127.0.0.1', METRICS_PORT: '0', METRICS_BIND_IP: '127.0.0.1', REDIS_URL: 'memory:', THREAD_NUM: '4', UV_THREADPOOL_SIZE: '4', ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  return { child, exited: dieWithParent(child, directory) }
}

/** Runs the server until it ends by itself. */
async function run (env: Record<string, string>): Promise<{ code: number | null, stdout: string, stderr: string }> {
  const { child, exited } = await start(env)
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => { stdout += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { stderr += chunk.toString() })
  const limit = setTimeout(() => { child.kill('SIGKILL') }, 30_000)
  const { code } = await exited
  clearTimeout(limit)
  return { code, stdout, stderr }
}

/** A port that something listens on. */
async function takenPort (t: TestContext): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.close() })
  return (server.address() as AddressInfo).port
}

describe('a start with a wrong setting', { concurrency: 2 }, () => {
  const refusals: Array<[what: string, env: Record<string, string>, line: RegExp]> = [
    ['a PORT that is none', { ACCESS_SECRET, PORT: 'eighty' }, /^PORT is "eighty"; it takes an integer from 0 to 65535$/],
    ['a PORT that is too high', { ACCESS_SECRET, PORT: '70000', ENVIRONMENT: 'production' }, /^PORT is "70000"; it takes an integer from 0 to 65535$/],
    ['no ACCESS_SECRET', {}, /^ACCESS_SECRET is not set; it takes the secret that signs tokens/],
    ['a short ACCESS_SECRET in production', { ACCESS_SECRET: 'canary-4711', ENVIRONMENT: 'production' }, /^ACCESS_SECRET has a wrong value; it takes .*32 bytes/],
    ['METRICS_AUTH=basic without a user', { ACCESS_SECRET, METRICS_AUTH: 'basic', METRICS_PASSWORD: 'canary-4711' }, /^METRICS_USERNAME is not set; it takes a user name/],
    ['a REDIS_URL with a password in it that is no URL of Redis', { ACCESS_SECRET, REDIS_URL: 'http://:canary-4711@host' }, /^REDIS_URL has a wrong value; it takes redis:/],
    ['a JWT_JWKS_URL with a password', { ACCESS_SECRET, JWT_JWKS_URL: 'https://user:canary-4711@id.example/keys' }, /^JWT_JWKS_URL has a wrong value; it takes an https: address without a password/],
    ['a private JWT_PUBLIC_KEY', { JWT_PUBLIC_KEY: '-----BEGIN PRIVATE KEY-----\ncanary-4711\n-----END PRIVATE KEY-----' }, /^JWT_PUBLIC_KEY has a wrong value; it takes a public key/],
    ['an ACCESS_SECRET that is a public key', { ACCESS_SECRET: '-----BEGIN PUBLIC KEY-----\\ncanary-4711\\n-----END PUBLIC KEY-----' }, /^ACCESS_SECRET has a wrong value; it takes .*no public key/],
    ['a TURN server in ICE_SERVERS without a user name', { ACCESS_SECRET, ICE_SERVERS: '{"urls":"turn:a","credential":"canary-4711"}' }, /^ICE_SERVERS has a wrong value; it takes JSON/],
    ['a TURN_SECRET without TURN_URLS', { ACCESS_SECRET, TURN_SECRET: 'canary-4711' }, /^TURN_URLS is not set; it takes the servers that TURN_SECRET is for/],
    ['a REALM with a line break', { ACCESS_SECRET, REALM: 'a\nb' }, /^REALM is "a\\nb"; it takes 1 to 64/]
  ]
  for (const [what, env, line] of refusals) {
    test(`${what} ends it with code 1 and one line`, async () => {
      const { code, stdout, stderr } = await run(env)
      const [first = '', ...rest] = stderr.split('\n')
      assert.match(first, line)
      assert.deepEqual(rest, [''], 'one line on stderr')
      assert.equal(stdout, '')
      assert.equal(code, 1)
      assert.doesNotMatch(stderr, /canary-4711/)
    })
  }

  for (const environment of ['production', 'development']) {
    test(`a PORT that is taken ends it with code 1 and one clear line (ENVIRONMENT=${environment})`, async t => {
      const port = await takenPort(t)
      const { code, stdout, stderr } = await run({ ACCESS_SECRET, PORT: String(port), ENVIRONMENT: environment })
      const lines = `${stdout}${stderr}`.split('\n').filter(line => line !== '')
      assert.equal(lines.length, 1, `${stdout}${stderr}`)
      assert.match(lines[0] ?? '', new RegExp(`port ${port} is taken.*PORT`))
      assert.equal(code, 1)
    })
  }

  test('a METRICS_PORT that is taken ends it with code 1 and one clear line', async t => {
    const port = await takenPort(t)
    const { code, stdout, stderr } = await run({ ACCESS_SECRET, METRICS_PORT: String(port), ENVIRONMENT: 'production' })
    assert.equal(code, 1)
    assert.equal(stderr, '')
    const lines = stdout.split('\n').filter(line => line !== '').map(line => JSON.parse(line) as { level: number, msg: string })
    const [fatal, ...others] = lines.filter(({ level }) => level === 60)
    assert.match(fatal?.msg ?? '', new RegExp(`port ${port} is taken.*METRICS_PORT`))
    assert.equal(others.length, 0)
  })

  test('a pool of another size than THREAD_NUM is said once, and one of that size is not', async () => {
    const [other, same] = await Promise.all([
      startTurnip({ env: { THREAD_NUM: '7', UV_THREADPOOL_SIZE: '3' } }),
      startTurnip({ env: { THREAD_NUM: '5', UV_THREADPOOL_SIZE: '5' } })
    ])
    await Promise.all([other.stop(), same.stop()])
    const said = other.logs.filter(line => line.includes('UV_THREADPOOL_SIZE'))
    assert.equal(said.length, 1)
    assert.match(said[0] ?? '', /3 threads and THREAD_NUM asks for 7/)
    assert.deepEqual(same.logs.filter(line => line.includes('UV_THREADPOOL_SIZE')), [])
  })

  test('--help says how to use it and starts nothing', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'turnip-start-'))
    const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), SERVER, '--help'], { cwd: directory, env: { PATH: process.env['PATH'] }, stdio: ['ignore', 'pipe', 'pipe'] })
    const exited = dieWithParent(child, directory)
    let out = ''
    child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString() })
    assert.deepEqual(await exited, { code: 0, signal: null })
    assert.match(out, /^Usage: /)
  })
})

void test('a server whose output nobody reads any more ends when it is told to, at once', async () => {
  for (const environment of ['', 'production']) {
    const { child, exited } = await start({ ACCESS_SECRET: ACCESS_SECRET.padEnd(32, '!'), ENVIRONMENT: environment })
    let said = ''
    for await (const chunk of child.stdout) {
      said += String(chunk)
      if (said.includes('Turnip is listening')) break // and with that the pipe is closed
    }
    child.stderr.destroy()
    const since = performance.now()
    child.kill('SIGTERM')
    assert.deepEqual(await exited, { code: 0, signal: null }, environment)
    assert.ok(performance.now() - since < 8000, `it took ${Math.round(performance.now() - since)} ms`)
  }
})
