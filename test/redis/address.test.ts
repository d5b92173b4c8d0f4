import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAddress } from '../../src/redis/address.ts'

const open = { tls: false, username: undefined, password: undefined }

void test('A server\'s address says where it is, who asks and which database', () => {
  assert.deepEqual(parseAddress('redis://host'), { form: 'server', server: { host: 'host', port: 6379 }, db: undefined, ...open })
  assert.deepEqual(parseAddress('rediss://u%40x:a%2Fb:c@[::1]:1/3'), { form: 'server', server: { host: '::1', port: 1 }, db: 3, tls: true, username: 'u@x', password: 'a/b:c' })
  assert.deepEqual(parseAddress('redis://:p@host:1/'), { form: 'server', server: { host: 'host', port: 1 }, db: undefined, ...open, password: 'p' })
  assert.deepEqual(parseAddress('redis://user@host:1'), { form: 'server', server: { host: 'host', port: 1 }, db: undefined, ...open, username: 'user' })
})

void test('Sentinels have a port and a password of their own', () => {
  assert.deepEqual(parseAddress('redis+sentinel://:p@a,b:1/the%20name/2?sentinel_password=x%26y&sentinel_username=s'), {
    form: 'sentinel', sentinels: [{ host: 'a', port: 26379 }, { host: 'b', port: 1 }], name: 'the name', db: 2, ...open, password: 'p', sentinelUsername: 's', sentinelPassword: 'x&y'
  })
  assert.deepEqual(parseAddress('redis+sentinel://a/main'), {
    form: 'sentinel', sentinels: [{ host: 'a', port: 26379 }], name: 'main', db: undefined, ...open, sentinelUsername: undefined, sentinelPassword: undefined
  })
})

void test('A Cluster is some of its nodes, with no database', () => {
  assert.deepEqual(parseAddress('rediss+cluster://u:p@a,b:1/0'), { form: 'cluster', nodes: [{ host: 'a', port: 6379 }, { host: 'b', port: 1 }], tls: true, username: 'u', password: 'p' })
  assert.equal(parseAddress('redis+cluster://a/1'), undefined)
})
