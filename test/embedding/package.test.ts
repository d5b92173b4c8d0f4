import assert from 'node:assert/strict'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, posix } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Client } from '../harness/client.ts'
import { dieWithParent, endChild, type Exit } from '../harness/die-with-parent.ts'
import { tokenFor } from '../harness/token.ts'
import { ACCESS_SECRET } from '../harness/turnip-process.ts'
import { getJson } from './full-host.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const STOP_LIMIT_MS = 30_000
const run = promisify(execFile)

interface Manifest { dependencies: Record<string, string>, scripts: { start: string } }

/** An application of somebody else's, in TypeScript. What it is told to expect is checked by the compiler. */
const CONSUMER = `\
import Fastify from 'fastify'
import turnip, { webSocketOptions, type MemberInfo, type Turnip, type TurnipOptions } from 'turnip'

const options: TurnipOptions = {
  prefix: '/rtc',
  accessSecret: ${JSON.stringify(ACCESS_SECRET)},
  redisUrl: 'memory:',
  maxRoomMembers: 10,
  tokenExpRequired: true,
  sendBufferBytes: '65536',
  logLevel: 'warn',
  allowedOrigins: ['https://app.example.com']
}

// @ts-expect-error a number or its digits
export const wrongKind: TurnipOptions = { maxRoomMembers: true }
// @ts-expect-error none of the levels, which are Fastify's own too
export const wrongWord: TurnipOptions = { logLevel: 'loud' }
// @ts-expect-error no such option
export const misspelt: TurnipOptions = { acessSecret: 'x' }
export const limits: number | undefined = webSocketOptions({ maxPayloadBytes: 1024 }).maxPayload

const app = Fastify()
await app.register(turnip, options)
const decorated: Turnip = app.turnip
app.get<{ Params: { room: string } }>('/who/:room', async ({ params }) => {
  const members: MemberInfo[] = await decorated.rooms.members(params.room)
  return members.map(member => member.username)
})
// @ts-expect-error a room has a name
export const nameless = async (): Promise<boolean> => await decorated.rooms.disbandRoom(1)

console.log('listening at ' + await app.listen({ port: 0, host: '127.0.0.1' }))
process.once('SIGTERM', () => { void app.close() })
`

/** A program of somebody else's that talks to a server, in Node: it knows no types of a browser. */
const CLIENT = `\
import WebSocket from 'ws'
import { SignalingClient, SignalingError, type Member } from 'turnip/client'

const [url = '', token = ''] = process.argv.slice(2)
const client = new SignalingClient({ url, token: async () => token, WebSocket })
client.on('data', ({ from, data }) => { console.log(from.username + ' says ' + String(data)) })
// @ts-expect-error no such event
client.on('dta', () => {})
const { members } = await client.join('standup')
export const first: Member | undefined = members.values().next().value
client.send('hello')
await client.join('not a name').catch((error: unknown) => { console.log(error instanceof SignalingError && error.code) })
client.close()
`

const CONSUMER_TSCONFIG = {
  compilerOptions: { target: 'es2023', lib: ['es2023'], module: 'nodenext', strict: true, exactOptionalPropertyTypes: true, skipLibCheck: true, types: ['node'], outDir: 'out' },
  files: ['consumer.ts', 'client.ts']
}

interface Program { readonly url: string, readonly stop: () => Promise<Exit> }

await suite('the package', async () => {
  let scratch: string
  let installed: string
  let manifest: Manifest
  let files: string[]
  const running: Program[] = []

  /**
   * Packed by npm, and installed by hand: `npm install` would ask the registry for every dependency, on each run. In the
   * scratch project are the packages that package.json declares and no others, so a dependency that is used and not
   * declared is missing here as it would be for a user.
   */
  before(async () => {
    for (const built of ['dist/app.js', 'dist/server.js']) {
      if (!existsSync(join(ROOT, built))) throw new Error(`${built} is missing: run "npm run build" first`)
    }
    scratch = await realpath(await mkdtemp(join(tmpdir(), 'turnip-package-')))
    const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', scratch], { cwd: ROOT })
    const [packed] = JSON.parse(stdout) as Array<{ filename: string, files: Array<{ path: string }> }>
    assert.ok(packed !== undefined)
    files = packed.files.map(file => file.path)

    installed = join(scratch, 'node_modules', 'turnip')
    await mkdir(installed, { recursive: true })
    await run('tar', ['-xzf', join(scratch, packed.filename), '--strip-components=1', '-C', installed])
    manifest = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8')) as Manifest
    for (const name of [...Object.keys(manifest.dependencies), '@types/node']) {
      const link = join(scratch, 'node_modules', name)
      await mkdir(dirname(link), { recursive: true })
      await symlink(join(ROOT, 'node_modules', name), link, 'dir')
    }
  })

  after(async () => {
    await Promise.all(running.map(program => program.stop()))
    await rm(scratch, { recursive: true, force: true })
  })

  /** Starts a program in the scratch project, or below it, and waits for the line that says where it listens. */
  async function start (command: string, args: string[], { cwd = scratch, env = {} }: { cwd?: string, env?: NodeJS.ProcessEnv } = {}): Promise<Program> {
    const { PATH, HOME, TMPDIR } = process.env
    const child: ChildProcess = spawn(command, args, { cwd, env: { PATH, HOME, TMPDIR, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    const exited = dieWithParent(child, await mkdtemp(join(tmpdir(), 'turnip-package-run-')))
    const lines: string[] = []
    const url = await new Promise<string>((resolve, reject) => {
      for (const stream of [child.stdout, child.stderr]) {
        if (stream === null) continue
        createInterface({ input: stream }).on('line', line => {
          lines.push(line)
          const [, found] = /listening.*?(http:\/\/127\.0\.0\.1:\d+)/i.exec(line) ?? []
          if (found !== undefined) resolve(found)
        })
      }
      void exited.then(() => { reject(new Error(`it ended instead of listening:\n${lines.join('\n')}`)) })
    })
    const program = { url, stop: () => endChild(child, exited, 'SIGTERM', STOP_LIMIT_MS) }
    running.push(program)
    return program
  }

  const settings = {
    ACCESS_SECRET, REDIS_URL: 'memory:', ENVIRONMENT: 'production', PORT: '0', PUBLIC_IP: '127.0.0.1', METRICS_PORT: '0', METRICS_BIND_IP: '127.0.0.1'
  }

  await test('it holds what runs, and nothing else', () => {
    const scripts = ['start.js', 'run-until-exit.js', 'command-line.js', 'crash-plainly.js'].map(name => `scripts/${name}`)
    const single = new Set([...scripts, 'package.json', 'README.md', 'LICENSE', 'CHANGELOG.md'])
    const strays = files.filter(path => !single.has(path) && !/^dist\/.+\.(js|js\.map|d\.ts|lua)$/.test(path) && !/^docs\/[^.]+\.(md|svg|png)$/.test(path) && !/^web\/[^.]+\.(html|css|js|svg)$/.test(path))
    assert.deepEqual(strays, [])
    assert.deepEqual(files.filter(path => /^(test|bench)\/|\.env/.test(path)), [])
    for (const path of [...scripts, 'package.json', 'dist/app.js', 'dist/app.d.ts', 'dist/server.js', 'dist/client/index.js', 'dist/client/index.d.ts', 'dist/presence/lua/join.lua', 'web/index.html']) assert.ok(files.includes(path), path)
  })

  await test('it has a README, a LICENSE and a CHANGELOG', () => {
    assert.deepEqual(['README.md', 'LICENSE', 'CHANGELOG.md'].filter(path => !files.includes(path)), [])
  })

  await test('its source maps name no file that is not there', async () => {
    const missing: string[] = []
    for (const path of files.filter(file => file.endsWith('.map'))) {
      const { sources, sourcesContent = [] } = JSON.parse(await readFile(join(installed, path), 'utf8')) as { sources: string[], sourcesContent?: Array<string | null> }
      for (const [index, source] of sources.entries()) {
        if (typeof sourcesContent[index] !== 'string' && !files.includes(posix.join(posix.dirname(path), source))) missing.push(`${path}: ${source}`)
      }
    }
    assert.deepEqual(missing, [])
  })

  await test('an application in TypeScript compiles against it, and a wrong option does not', async () => {
    await writeFile(join(scratch, 'package.json'), '{ "type": "module" }')
    await writeFile(join(scratch, 'consumer.ts'), CONSUMER)
    await writeFile(join(scratch, 'client.ts'), CLIENT)
    await writeFile(join(scratch, 'tsconfig.json'), JSON.stringify(CONSUMER_TSCONFIG))
    const compiler = createRequire(import.meta.url).resolve('typescript/lib/tsc.js')
    await run(process.execPath, [compiler, '-p', scratch], { cwd: scratch }).catch((error: unknown) => {
      throw new Error((error as { stdout?: string }).stdout, { cause: error })
    })
  })

  await test('that application runs, and clients talk through it, the client library among them', async () => {
    const { url, stop } = await start(process.execPath, ['out/consumer.js'])
    const wsUrl = `${url.replace('http', 'ws')}/rtc/ws`
    const ann = await Client.open(wsUrl, 'ann')
    const bob = await Client.open(wsUrl, 'bob')
    await ann.join('standup')
    await bob.join('standup')
    bob.send({ type: 'data', data: 'hello' })
    assert.equal((await ann.next('data')).data, 'hello')
    assert.deepEqual(await getJson(`${url}/who/standup`), { status: 200, body: ['ann', 'bob'] })
    const { stdout } = await run(process.execPath, ['out/client.js', `${url}/rtc`, tokenFor('cleo')], { cwd: scratch })
    assert.equal(stdout, 'room_invalid\n')
    assert.equal((await bob.next('data')).from.username, 'cleo')
    assert.deepEqual(await stop(), { code: 0, signal: null })
    assert.equal((await ann.closed).code, 1012)
    assert.equal((await bob.closed).code, 1012)
  })

  await test('its server runs by itself', async () => {
    const { url, stop } = await start(process.execPath, ['node_modules/turnip/dist/server.js'], { env: settings })
    const { status, body } = await getJson(`${url}/health`)
    assert.equal(status, 200)
    assert.equal((body as { status: string }).status, 'healthy')
    assert.deepEqual(await stop(), { code: 0, signal: null })
  })

  await test('its start script runs', async () => {
    const { url, stop } = await start('sh', ['-c', manifest.scripts.start], { cwd: installed, env: settings })
    const { status, body } = await getJson(`${url}/health`)
    assert.equal(status, 200)
    assert.equal((body as { redis: string }).redis, 'off')
    const ann = await Client.open(`${url.replace('http', 'ws')}/ws`, 'ann')
    assert.deepEqual(await stop(), { code: 0, signal: null })
    assert.equal((await ann.closed).code, 1012)
  })
})
