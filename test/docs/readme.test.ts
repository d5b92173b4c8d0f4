import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { availableParallelism, hostname } from 'node:os'
import { test } from 'node:test'
import { readConfig, settings, type Config } from '../../src/config.ts'
import { closeCodes, errorCodes, tokenFailures } from '../../src/protocol/codes.ts'
import { clientMessages } from '../../src/protocol/messages.ts'
import { Metrics } from '../../src/plugins/metrics.ts'

const ROOT = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8')
const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...readdirSync(new URL('docs/', ROOT)).filter(name => name.endsWith('.md')).map(name => `docs/${name}`)]

/** What GitHub makes of a heading. */
function anchorsOf (page: string): string[] {
  return Array.from(read(page).matchAll(/^#+ (.+)$/gm), ([, heading = '']) => heading.toLowerCase().replace(/[^\w -]/g, '').replaceAll(' ', '-'))
}

test('every relative link leads somewhere', () => {
  for (const page of pages) {
    for (const [, link = ''] of read(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(link)) continue
      const [path = '', anchor] = link.split('#')
      const target = new URL(path === '' ? new URL(page, ROOT) : path, new URL(page, ROOT))
      assert.ok(existsSync(target), `${page} links to ${link}`)
      if (anchor !== undefined) assert.ok(anchorsOf(target.href.slice(ROOT.href.length)).includes(anchor), `${page} links to ${link}`)
    }
  }
})

test('every npm script and every script file that is named exists', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
  for (const page of pages) {
    for (const [, name = ''] of read(page).matchAll(/npm run ([\w:-]+)/g)) assert.ok(name in scripts, `${page} names npm run ${name}`)
    for (const [path] of read(page).matchAll(/\bscripts\/[\w.-]+/g)) assert.ok(existsSync(new URL(path, ROOT)), `${page} names ${path}`)
  }
})

/** What the table says of a default that is not a plain value. */
function defaultOf (name: keyof Config, config: Config): string {
  if (name === 'accessSecret') return 'required'
  if (name === 'instanceId') return 'hostname'
  if (name === 'threads') return '2 × CPU count'
  const value = String(config[name])
  return value === '' ? 'empty' : `\`${value}\``
}

test('the settings table has every setting, in order, with its default', () => {
  const config = readConfig({ ACCESS_SECRET: 'x' })
  assert.equal(config.instanceId, hostname())
  assert.equal(config.threads, 2 * availableParallelism())
  const names = Object.keys(settings) as Array<keyof Config>
  const rows = Array.from(read('README.md').matchAll(/^\| `([A-Z_]+)` \| (.+?) \|/gm), ([, env, fallback]) => [env, fallback])
  assert.deepEqual(rows, names.map(name => [settings[name].env, defaultOf(name, config)]))
})

test('.env.example has every setting, in order, with its default', () => {
  const config = readConfig({ ACCESS_SECRET: 'x' })
  const names = Object.keys(settings) as Array<keyof Config>
  const lines = Array.from(read('.env.example').matchAll(/^#?([A-Z_]+)=(.*)$/gm), ([, env, value]) => [env, value])
  const dynamic: Array<keyof Config> = ['accessSecret', 'instanceId', 'threads']
  assert.deepEqual(lines, names.map(name => [settings[name].env, dynamic.includes(name) ? '' : String(config[name])]))
})

test('the compose file passes on every setting but those that its containers fix', () => {
  const fixed = new Set(['PORT', 'PUBLIC_IP', 'REDIS_PASSWORD', 'REDIS_DB', 'METRICS_PORT', 'METRICS_BIND_IP'])
  const passed = new Set(Array.from(read('docker-compose.yml').matchAll(/^ +([A-Z_]+): /gm), ([, env]) => env))
  assert.deepEqual(Object.values(settings).map(({ env }) => env).filter(env => !fixed.has(env) && !passed.has(env)), [])
})

test('the protocol page knows every message of a client and every code', () => {
  const page = read('docs/protocol.md')
  for (const type of Object.keys(clientMessages)) assert.ok(page.includes(`**${type}**`), type)
  for (const code of Object.keys(tokenFailures)) assert.ok(page.includes(`\`${code}\``), code)
  // no rule sends these yet
  const reserved = new Set(['payload_too_large', 'rate_limited', '1011'])
  for (const code of Object.keys(errorCodes)) assert.equal(page.includes(`| \`${code}\` |`), !reserved.has(code), code)
  for (const code of Object.keys(closeCodes)) assert.equal(page.includes(`| ${code} |`), !reserved.has(code), code)
})

test('the metrics page knows every metric of ours', async () => {
  const metrics = new Metrics(readConfig({ ACCESS_SECRET: 'x' }))
  const page = read('docs/metrics.md')
  const names = (await metrics.registry?.getMetricsAsJSON() ?? []).map(({ name }) => name)
  assert.ok(names.length > 10)
  for (const name of names) assert.ok(page.includes(`| \`${name}\` |`), name)
})
