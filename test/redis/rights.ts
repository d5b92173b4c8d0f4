import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { Redis } from 'ioredis'

type Place = 'server' | 'database' | 'node' | 'sentinel'

/** The rights of a user of Redis as the README gives them: nothing of it may be missing there. */
const RIGHTS = readRights(readFileSync(new URL('../../README.md', import.meta.url), 'utf8'))

/** Makes the user `turnip`, whose password is `password`. */
export async function grant (redis: Redis, ...places: Place[]): Promise<void> {
  for (const place of places) await redis.call('ACL', 'SETUSER', 'turnip', ...RIGHTS[place])
}

/** Nothing was refused to anybody, in a script neither. */
export async function assertNothingRefused (redis: Redis): Promise<void> {
  const entries = await redis.call('ACL', 'LOG') as Array<Array<string | number>>
  assert.deepEqual(entries.map(entry => entry[entry.indexOf('object') + 1]), [])
}

function readRights (readme: string): Record<Place, string[]> {
  const [server, database, node, sentinel, ...more] = Array.from(readme.replaceAll('\\\n', ' ').matchAll(/^redis-cli .*ACL SETUSER turnip (.+)$/gm), ([, words = '']) =>
    words.replaceAll("'", '').split(/\s+/))
  assert.ok(server && database && node && sentinel && more.length === 0, 'the README grants rights in four lines')
  return { server, database, node, sentinel }
}
