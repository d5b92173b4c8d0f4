import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism, hostname } from 'node:os'
import { test } from 'node:test'
import { createKey } from '../harness/identity-provider.ts'
import { readConfig, settings, type Config } from '../../src/config.ts'

const SECRET = 'a secret of more than thirty-two bytes'
const ACCESS = { ACCESS_SECRET: SECRET }
const { pem: PEM, privateKey } = createKey('RS256', '')
const CERTIFICATE = execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', '/dev/null', '-subj', '/CN=id.example'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
const PRIVATE_PEM = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()

interface Row {
  option: keyof Config
  /** What it is when the variable is absent or empty. */
  default?: unknown
  /** Values as they stand in the environment, and what they become. */
  right: Record<string, unknown>
  wrong: string[]
  /** What it takes, as the message says it. */
  takes: RegExp
  /** Other variables that the values of this row need. */
  with?: Record<string, string>
  isSecret?: true
}

const same = (...values: string[]): Record<string, unknown> => Object.fromEntries(values.map(value => [value, value]))
const notNumbers = ['x', '1x', '-1', '1.5', '0x', 'NaN', 'Infinity', '1 2', 'true']
const port = (fallback: number): Pick<Row, 'default' | 'right' | 'wrong' | 'takes'> =>
  ({ default: fallback, right: { 0: 0, 1: 1, 65535: 65535 }, wrong: [...notNumbers, '65536'], takes: /integer from 0 to 65535/ })
const address: Pick<Row, 'default' | 'right' | 'wrong' | 'takes'> =
  { default: '0.0.0.0', right: same('127.0.0.1', '::1', '::', '10.0.0.1', 'fe80::1', '::ffff:10.0.0.1'), wrong: ['localhost', '1.2.3.4:80', 'x', '10.0.0.0/8', '*', ' '], takes: /IP address/ }
const flag = (fallback: boolean): Pick<Row, 'default' | 'right' | 'wrong' | 'takes'> =>
  ({ default: fallback, right: { true: true, false: false }, wrong: ['yes', 'no', 'TRUE', 'on', '2', 'tru'], takes: /true or false/ })

const table: Record<string, Row> = {
  PORT: { option: 'port', ...port(5004) },
  PUBLIC_IP: { option: 'publicIp', ...address },
  ACCESS_SECRET: { option: 'accessSecret', right: same('s', SECRET, '"quoted" \\ and long'), wrong: ['', PEM, `x\n${CERTIFICATE}`], takes: /32 bytes.*no public key/, isSecret: true },
  ACCESS_SECRET_PREVIOUS: { option: 'accessSecretPrevious', default: '', right: same('s', SECRET), wrong: [PEM], takes: /32 bytes/, isSecret: true },
  JWT_PUBLIC_KEY: {
    option: 'jwtPublicKey',
    default: '',
    right: { ...same(PEM, createKey('ES256', '').pem, createKey('EdDSA', '').pem, CERTIFICATE), [PEM.replaceAll('\n', '\\n')]: PEM },
    wrong: ['x', '/etc/keys/public.pem', 'https://id.example/keys', createKey('RS256', '', 1024).pem, PRIVATE_PEM, `${PEM}${PRIVATE_PEM}`, PEM.slice(0, 200), generateKeyPairSync('x25519').publicKey.export({ type: 'spki', format: 'pem' }).toString(),
      generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ type: 'spki', format: 'pem' }).toString()],
    takes: /public key or certificate in PEM/,
    isSecret: true
  },
  JWT_JWKS_URL: {
    option: 'jwtJwksUrl',
    default: '',
    right: same('https://id.example/.well-known/jwks.json', 'http://localhost:8080/keys', 'http://127.0.0.1/keys', 'http://[::1]:1/keys', 'https://id.example/keys?tenant=7'),
    wrong: ['x', 'id.example/keys', 'http://id.example/keys', 'http://127.0.0.1.example/keys', 'http://localhost.example/', 'https://user:password@id.example/keys', 'https://user@id.example/', 'file:///etc/keys', 'data:,{}'],
    takes: /https: address without a password, or an http: one of this machine/,
    isSecret: true
  },
  LOG_LEVEL: { option: 'logLevel', default: 'info', right: same('debug', 'info', 'warn', 'error'), wrong: ['trace', 'INFO', 'fatal', 'silent', '1'], takes: /debug, info, warn, error/ },
  REDIS_URL: {
    option: 'redisUrl',
    default: 'redis://localhost:6379',
    right: same('redis://redis:6379', 'redis://host', 'rediss://user:pw@host:6380/3', 'memory:', 'redis://[::1]:6379', 'redis://:a%2Fb@host', 'redis://user@some_host/',
      'redis+sentinel://a:1,b,[::1]:3/main', 'rediss+sentinel://u:p@a:1/main/2?sentinel_password=x&sentinel_username=y', 'redis+cluster://u:p@a:1,b:2', 'rediss+cluster://a/0'),
    wrong: ['localhost:6379', 'http://localhost', 'memory', 'redis:', 'redis://', 'nonsense', 'redis://a:0', 'redis://a:65536', 'redis://a:x', 'redis://a,b', 'redis://a/b', 'redis://a/1/2',
      'redis://a b', 'redis://a?db=1', 'redis://%@a', 'redis://::1', 'redis://u:p@', 'redis+unix://a', 'redis+sentinel://a', 'redis+sentinel://a/', 'redis+sentinel://a/main/x', 'redis+sentinel://a/main?x=y',
      'redis+cluster://', 'redis+cluster://a,', 'redis+cluster://a/1', 'redis+cluster://a/name'],
    takes: /redis:\/\/.+host:port.+redis\+sentinel:\/\/.+redis\+cluster:\/\/.+rediss.+memory:/,
    isSecret: true
  },
  REDIS_PASSWORD: { option: 'redisPassword', default: '', right: same('pw', ' with space ', '{"json":1}', '0', 'true'), wrong: [], takes: /password/, isSecret: true },
  REDIS_DB: { option: 'redisDb', default: 0, right: { 0: 0, 15: 15 }, wrong: notNumbers, takes: /integer from 0/ },
  INSTANCE_ID: { option: 'instanceId', default: hostname(), right: same('a', 'web-1.eu:2', 'x'.repeat(128), '7'), wrong: ['a b', 'ü', 'x'.repeat(129), 'a/b', '{}', 'a\nb'], takes: /1 to 128/ },
  THREAD_NUM: { option: 'threads', default: 2 * availableParallelism(), right: { 1: 1, 16: 16, 1024: 1024 }, wrong: [...notNumbers, '0', '1025'], takes: /integer from 1 to 1024/ },
  ENVIRONMENT: { option: 'environment', default: '', right: same('production', 'development', 'staging-2'), wrong: ['two words', 'x'.repeat(65), 'a/b'], takes: /production, development/ },
  REALM: { option: 'realm', default: 'development', right: same('a', 'shop_1-eu.prod', 'x'.repeat(64), '0'), wrong: ['a:b', 'a b', 'x'.repeat(65), 'ü', '{a}', '*', 'a\n'], takes: /1 to 64/ },
  ENABLE_METRICS: { option: 'enableMetrics', ...flag(true) },
  METRICS_PORT: { option: 'metricsPort', ...port(9090) },
  METRICS_AUTH: { option: 'metricsAuth', default: 'none', right: same('none', 'basic'), wrong: ['Basic', 'digest', 'true'], takes: /none, basic/, with: { METRICS_USERNAME: 'u', METRICS_PASSWORD: 'p' } },
  METRICS_USERNAME: { option: 'metricsUsername', default: '', right: same('prometheus', 'ü'), wrong: [], takes: /user name/ },
  METRICS_PASSWORD: { option: 'metricsPassword', default: '', right: same('pw: with colon', '1'), wrong: [], takes: /password/, isSecret: true },
  METRICS_BIND_IP: { option: 'metricsBindIp', ...address },
  TOKEN_EXP_REQUIRED: { option: 'tokenExpRequired', ...flag(true) },
  ALLOWED_ORIGINS: {
    option: 'allowedOrigins',
    default: '*',
    right: {
      '*': '*',
      'https://app.com': ['https://app.com'],
      'https://App.com': ['https://app.com'],
      'https://a.com,http://localhost:3000': ['https://a.com', 'http://localhost:3000'],
      ' https://a.com , https://b.com ': ['https://a.com', 'https://b.com']
    },
    wrong: ['app.com', 'https://app.com/', 'https://app.com/path', 'https://a.com,', ',', 'https://a.com https://b.com', 'null', '*,https://a.com', 'ftp://a.com', 'https://'],
    takes: /\* or origins/
  },
  TRUST_PROXY: { option: 'trustProxy', ...flag(false) },
  ICE_SERVERS: {
    option: 'iceServers',
    default: [],
    right: {
      '[]': [],
      '{"urls":"stun:stun.example.com"}': [{ urls: 'stun:stun.example.com' }],
      '[{"urls":["stun:a:3478","stuns:[2001:db8::1]:5349"]},{"urls":["turn:b:80?transport=tcp","turns:10.0.0.1"],"username":"u","credential":"p","credentialType":"password"}]':
        [{ urls: ['stun:a:3478', 'stuns:[2001:db8::1]:5349'] }, { urls: ['turn:b:80?transport=tcp', 'turns:10.0.0.1'], username: 'u', credential: 'p' }],
      ' [ {"urls": "turn:a", "username": "u", "credential": "p"} ] ': [{ urls: 'turn:a', username: 'u', credential: 'p' }]
    },
    wrong: ['stun:stun.example.com', '[', '1', 'true', 'null', '"stun:a"', '["stun:a"]', '{}', '[{}]', '[null]', '[[]]', '{"url":"stun:a"}', '{"urls":[]}', '{"urls":["stun:a",7]}', '{"urls":{"0":"stun:a"}}', '{"urls":""}',
      '{"urls":"http://a"}', '{"urls":"stun://a"}', '{"urls":"stun:a:0"}', '{"urls":"stun:a:65536"}', '{"urls":"stun:a:x"}', '{"urls":"stun:"}', '{"urls":"stun:a b"}', '{"urls":"stun:u:p@a"}', '{"urls":"stun:a?transport=udp"}', '{"urls":"stun:[1]"}', '{"urls":"stun:::1"}',
      '{"urls":"turn:a"}', '{"urls":"turn:a","username":"u"}', '{"urls":"turn:a","credential":"p"}', '{"urls":"turn:a","username":"","credential":"p"}', '{"urls":"turn:a","username":"u","credential":7}', '{"urls":"turn:a?transport=sctp","username":"u","credential":"p"}',
      `{"urls":"turn:a","username":"${'u'.repeat(509)}","credential":"p"}`],
    takes: /JSON, a list of .*"urls".*username.*credential.*RTCPeerConnection/,
    isSecret: true
  },
  TURN_URLS: {
    option: 'turnUrls',
    default: [],
    right: { 'turn:turn.example.com': ['turn:turn.example.com'], ' turn:a:3478?transport=udp , turns:a:443?transport=tcp,stun:a ': ['turn:a:3478?transport=udp', 'turns:a:443?transport=tcp', 'stun:a'], 'turn:[::1]:3478': ['turn:[::1]:3478'] },
    wrong: ['turn.example.com', 'turn://turn.example.com', 'stun:a', 'turn:a,', ',', 'turn:a turn:b', 'turn:user:password@a', 'TURN:a', 'turn:a:99999', 'turn:a?transport=tls', '["turn:a"]'],
    takes: /turn:host:port.*turns: and stun:.*commas/,
    with: { TURN_SECRET: 'a secret of coturn' },
    isSecret: true
  },
  TURN_SECRET: { option: 'turnSecret', default: '', right: same('s', SECRET, '0'), wrong: [], takes: /static-auth-secret/, with: { TURN_URLS: 'turn:a' }, isSecret: true },
  TURN_TTL_S: { option: 'turnTtlS', default: 86_400, right: { 5: 5, 3600: 3600, 31536000: 31_536_000 }, wrong: [...notNumbers, '0', '4', '31536001'], takes: /seconds from 5/ },
  MAX_PAYLOAD_BYTES: { option: 'maxPayloadBytes', default: 65536, right: { 1024: 1024, 1048576: 1_048_576 }, wrong: [...notNumbers, '0', '1023', '999999999'], takes: /bytes from 1024/ },
  MESSAGES_PER_SECOND: { option: 'messagesPerSecond', default: 100, right: { 0: 0, 1: 1, 1000000: 1_000_000 }, wrong: notNumbers, takes: /integer from 0/ },
  BYTES_PER_SECOND: { option: 'bytesPerSecond', default: 262_144, right: { 0: 0, 1000: 1000, 10000000000: 10_000_000_000 }, wrong: notNumbers, takes: /bytes from 0/ },
  MAX_ROOM_MEMBERS: { option: 'maxRoomMembers', default: 100, right: { 0: 0, 2: 2 }, wrong: notNumbers, takes: /integer from 0/ },
  MAX_CONNECTIONS_PER_USER: { option: 'maxConnectionsPerUser', default: 100, right: { 0: 0, 1: 1 }, wrong: notNumbers, takes: /integer from 0/ },
  MAX_CONNECTIONS_PER_IP: { option: 'maxConnectionsPerIp', default: 0, right: { 0: 0, 20: 20 }, wrong: notNumbers, takes: /integer from 0/ },
  AUTH_FAILURES_PER_IP: { option: 'authFailuresPerIp', default: 10, right: { 0: 0, 3: 3 }, wrong: notNumbers, takes: /integer from 0/ },
  PING_INTERVAL_MS: { option: 'pingIntervalMs', default: 25_000, right: { 1000: 1000, 60000: 60_000 }, wrong: [...notNumbers, '0', '999', '3600001'], takes: /milliseconds from 1000/ },
  PONG_TIMEOUT_MS: { option: 'pongTimeoutMs', default: 10_000, right: { 1000: 1000 }, wrong: [...notNumbers, '999'], takes: /milliseconds from 1000/ },
  SEND_BUFFER_BYTES: { option: 'sendBufferBytes', default: 1_048_576, right: { 0: 0, 65536: 65_536 }, wrong: notNumbers, takes: /bytes from 0/ },
  AUTH_TIMEOUT_MS: { option: 'authTimeoutMs', default: 5000, right: { 0: 0, 1000: 1000 }, wrong: [...notNumbers, '3600001'], takes: /milliseconds from 0/ },
  REDIS_TIMEOUT_MS: { option: 'redisTimeoutMs', default: 2000, right: { 50: 50 }, wrong: [...notNumbers, '49', '0'], takes: /milliseconds from 50/ },
  LEASE_MS: { option: 'leaseMs', default: 15_000, right: { 500: 500, 1500: 1500 }, wrong: [...notNumbers, '499'], takes: /milliseconds from 500/ },
  DRAIN_TIMEOUT_MS: { option: 'drainTimeoutMs', default: 25_000, right: { 0: 0, 1000: 1000 }, wrong: notNumbers, takes: /milliseconds from 0/ },
  RESUME_WINDOW_MS: { option: 'resumeWindowMs', default: 10_000, right: { 0: 0, 1000: 1000 }, wrong: notNumbers, takes: /milliseconds from 0/ },
  SESSION_SECRET: { option: 'sessionSecret', default: '', right: same('s', SECRET), wrong: [PEM], takes: /32 bytes/, isSecret: true }
}

/** The seventeen of the Go server, with its defaults, as its users know them. */
const KEPT = {
  PORT: 5004,
  PUBLIC_IP: '0.0.0.0',
  ACCESS_SECRET: undefined,
  LOG_LEVEL: 'info',
  REDIS_URL: 'redis://localhost:6379',
  REDIS_PASSWORD: '',
  REDIS_DB: 0,
  INSTANCE_ID: hostname(),
  THREAD_NUM: 2 * availableParallelism(),
  ENVIRONMENT: '',
  REALM: 'development',
  ENABLE_METRICS: true,
  METRICS_PORT: 9090,
  METRICS_AUTH: 'none',
  METRICS_USERNAME: '',
  METRICS_PASSWORD: '',
  METRICS_BIND_IP: '0.0.0.0'
}

const variables = Object.values(settings).map(({ env }) => env)

test('every setting there is has its row here', () => {
  assert.deepEqual(Object.keys(table).toSorted(), variables.toSorted())
  for (const [env, { option }] of Object.entries(table)) assert.equal(settings[option].env, env)
})

test('the defaults are those that users of the Go server know', () => {
  const config = readConfig(ACCESS)
  for (const [env, value] of Object.entries(KEPT)) {
    const { option } = table[env] ?? assert.fail(`${env} is no setting`)
    if (value !== undefined) assert.equal(config[option], value, env)
  }
})

for (const [env, row] of Object.entries(table)) {
  const { option } = row

  test(`${env} takes what it should`, () => {
    const others = { ...ACCESS, ...row.with }
    for (const [value, expected] of Object.entries(row.right)) assert.deepEqual(readConfig({ ...others, [env]: value })[option], expected, value)
    if ('default' in row) {
      assert.deepEqual(readConfig(ACCESS)[option], row.default)
      assert.deepEqual(readConfig({ ...ACCESS, [env]: '' })[option], row.default, 'empty is absent')
    }
  })

  test(`a wrong ${env} is refused in one line that says what it takes`, () => {
    for (const value of row.wrong) {
      assert.throws(() => readConfig({ ...ACCESS, ...row.with, [env]: value }), (error: unknown) => {
        const { message } = error as Error
        assert.ok(message.startsWith(`${env} `), message)
        assert.ok(!message.includes('\n'), message)
        assert.match(message, row.takes)
        if (value === '') assert.match(message, /is not set/)
        else if (row.isSecret) assert.ok(!message.slice(0, message.indexOf(';')).includes(value), message)
        else assert.ok(message.includes(JSON.stringify(value)), message)
        return true
      }, `${env}=${value}`)
    }
  })
}

test('ACCESS_SECRET is required, and has 32 bytes in production', () => {
  assert.throws(() => readConfig({}), /^.*ACCESS_SECRET is not set; it takes /)
  const short = 'short and secret'
  assert.equal(readConfig({ ACCESS_SECRET: short }).accessSecret, short)
  for (const value of [short, 'x'.repeat(31)]) {
    assert.throws(() => readConfig({ ACCESS_SECRET: value, ENVIRONMENT: 'production' }), (error: unknown) => {
      const { message } = error as Error
      assert.match(message, /ACCESS_SECRET has a wrong value; it takes .*32 bytes/)
      assert.ok(!message.includes(value))
      return true
    })
  }
  assert.equal(readConfig({ ACCESS_SECRET: 'x'.repeat(32), ENVIRONMENT: 'production' }).accessSecret.length, 32)
  assert.equal(readConfig({ ACCESS_SECRET: 'ü'.repeat(16), ENVIRONMENT: 'production' }).accessSecret.length, 16, 'bytes, not characters')
})

test('ACCESS_SECRET may be absent where a public key or a key set checks tokens; where it is there, its rule holds', () => {
  for (const key of [{ JWT_PUBLIC_KEY: PEM }, { JWT_JWKS_URL: 'https://id.example/keys' }]) {
    assert.equal(readConfig({ ...key, ENVIRONMENT: 'production' }).accessSecret, '')
    assert.equal(readConfig({ ...key, ACCESS_SECRET: SECRET }).accessSecret, SECRET)
    assert.throws(() => readConfig({ ...key, ACCESS_SECRET_PREVIOUS: SECRET }), /ACCESS_SECRET_PREVIOUS has a wrong value; it takes nothing without ACCESS_SECRET/)
    assert.throws(() => readConfig({ ...key, ACCESS_SECRET: 'short', ENVIRONMENT: 'production' }), /ACCESS_SECRET has a wrong value/)
  }
  assert.throws(() => readConfig({ ACCESS_SECRET_PREVIOUS: SECRET }), /ACCESS_SECRET is not set/)
  assert.throws(() => readConfig({ JWT_PUBLIC_KEY: PEM, JWT_JWKS_URL: 'https://id.example/keys' }), { message: 'JWT_JWKS_URL has a wrong value; it takes nothing beside JWT_PUBLIC_KEY: set one of the two' })
})

test('the secret that rotates out has 32 bytes in production too', () => {
  assert.throws(() => readConfig({ ...ACCESS, ACCESS_SECRET_PREVIOUS: 'x'.repeat(31), ENVIRONMENT: 'production' }), /^.*ACCESS_SECRET_PREVIOUS has a wrong value; it takes .*32 bytes/)
  assert.equal(readConfig({ ...ACCESS, ACCESS_SECRET_PREVIOUS: 'x'.repeat(32), ENVIRONMENT: 'production' }).accessSecretPrevious.length, 32)
})

test('METRICS_AUTH=basic without a user name or a password is refused, with the name of what is missing', () => {
  const basic = { ...ACCESS, METRICS_AUTH: 'basic' }
  assert.throws(() => readConfig(basic), /METRICS_USERNAME is not set/)
  assert.throws(() => readConfig({ ...basic, METRICS_PASSWORD: 'p' }), /METRICS_USERNAME is not set/)
  assert.throws(() => readConfig({ ...basic, METRICS_USERNAME: 'u' }), /METRICS_PASSWORD is not set/)
  assert.throws(() => readConfig({ ...basic, METRICS_USERNAME: 'u', METRICS_PASSWORD: '' }), /METRICS_PASSWORD is not set/)
  assert.equal(readConfig({ ...basic, METRICS_USERNAME: 'u', METRICS_PASSWORD: 'p' }).metricsAuth, 'basic')
})

test('TURN_URLS and TURN_SECRET want each other, and the secret has 16 bytes in production', () => {
  const [turn, secret] = [{ ...ACCESS, TURN_URLS: 'turn:a' }, { ...ACCESS, TURN_SECRET: 'x'.repeat(15) }]
  assert.throws(() => readConfig(turn), { message: 'TURN_SECRET is not set; it takes the static-auth-secret of the servers in TURN_URLS' })
  assert.throws(() => readConfig(secret), { message: 'TURN_URLS is not set; it takes the servers that TURN_SECRET is for, such as turn:turn.example.com:3478' })
  assert.equal(readConfig({ ...turn, ...secret }).turnSecret, 'x'.repeat(15))
  const production = { ENVIRONMENT: 'production' }
  assert.throws(() => readConfig({ ...turn, ...secret, ...production }), /TURN_SECRET has a wrong value; it takes .*16 bytes/)
  assert.equal(readConfig({ ...turn, ...production, TURN_SECRET: 'x'.repeat(16) }).turnUrls.length, 1)
  assert.equal(readConfig({ ...ACCESS, ...production, TURN_TTL_S: '60' }).turnTtlS, 60)
})

test('an address that no machine can have is refused', () => {
  for (const env of ['PUBLIC_IP', 'METRICS_BIND_IP']) {
    for (const value of ['256.1.1.1', '1.2.3', 'face', '1:2', '...', ':::']) {
      assert.throws(() => readConfig({ ...ACCESS, [env]: value }), new RegExp(`${env} is `), `${env}=${value}`)
    }
  }
})

test('a Redis Cluster takes no database but 0', () => {
  const cluster = { ...ACCESS, REDIS_URL: 'redis+cluster://a:1,b:2' }
  assert.equal(readConfig({ ...cluster, REDIS_DB: '0' }).redisDb, 0)
  assert.throws(() => readConfig({ ...cluster, REDIS_DB: '3' }), { message: 'REDIS_DB is "3"; it takes 0, as a Redis Cluster has one database' })
})

test('variables that are no settings do not matter', () => {
  assert.deepEqual(readConfig({ ...ACCESS, PATH: '/bin', TURNIP: 'x', port: 'x' }), readConfig(ACCESS))
})

test('reading the settings twice gives the same, and changes no variable', () => {
  const environment = Object.freeze({ ...ACCESS, PORT: '1', ALLOWED_ORIGINS: 'https://a.com' })
  assert.deepEqual(readConfig(environment), readConfig(environment))
})

// What users read

const root = new URL('../../', import.meta.url)

function read (name: string): string {
  const file = new URL(name, root)
  assert.ok(existsSync(file), `there is no ${name}`)
  return readFileSync(file, 'utf8')
}

test('.env.example has a line for every variable, at its default', () => {
  const lines = new Map([...read('.env.example').matchAll(/^#?\s?([A-Z][A-Z0-9_]+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value.trim()]))
  assert.deepEqual(variables.filter(name => !lines.has(name)), [], 'missing')
  const wrong = Object.entries(table).filter(([env, row]) => {
    const value = lines.get(env) ?? ''
    return value !== '' && 'default' in row && value !== String(row.default)
  })
  assert.deepEqual(wrong.map(([env]) => env), [], 'not at their defaults')
})

test('.env.example can be copied, given a secret and used', () => {
  const lines = [...read('.env.example').matchAll(/^([A-Z][A-Z0-9_]+)=(.*)$/gm)]
  const environment = Object.fromEntries(lines.map(([, name = '', value = '']) => [name, value]))
  assert.deepEqual(readConfig({ ...environment, ...ACCESS }), readConfig(ACCESS))
})

test('the README has a row for every variable, with its default', () => {
  const rows = new Map([...read('README.md').matchAll(/^\|(.*)\|\s*$/gm)].flatMap(([, row = '']) =>
    variables.filter(name => new RegExp(`^[\\s\`]*(.*,\\s*\`?)?${name}\\b`).test(row)).map(name => [name, row] as const)))
  assert.deepEqual(variables.filter(name => !rows.has(name)), [], 'missing')
  const stated = ['PORT', 'LOG_LEVEL', 'REDIS_URL', 'METRICS_PORT', 'REALM', 'METRICS_AUTH', 'MAX_PAYLOAD_BYTES', 'PING_INTERVAL_MS', 'DRAIN_TIMEOUT_MS']
  const wrong = stated.filter(name => !(rows.get(name) ?? '').replaceAll(/(?<=\d)[, _](?=\d{3})/g, '').includes(String(table[name]?.default)))
  assert.deepEqual(wrong, [], 'without their defaults')
})
