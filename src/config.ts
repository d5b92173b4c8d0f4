/**
 * Every setting, once: its variable, its option when Turnip is embedded, what it takes, its default, what it is for.
 * README, .env.example and the option types follow this table.
 */
import { isIP } from 'node:net'
import { availableParallelism, hostname } from 'node:os'
import { envSchema } from 'env-schema'
import { Type, type TSchema } from 'typebox'
import { SettingError } from './errors.ts'
import { parseIceServers, parseTurnUrls } from './ice/ice-servers.ts'
import type { IceServer } from './protocol/messages.ts'
import { ADDRESS_FORMS, parseAddress } from './redis/address.ts'
import { isKeySetUrl } from './tokens/key-set.ts'
import { parsePublicKey, PUBLIC_PEM } from './tokens/keys.ts'

/** The names that settings have in the code and as options of the plugin. */
export interface Config {
  readonly port: number
  readonly publicIp: string
  readonly accessSecret: string
  readonly accessSecretPrevious: string
  /** PEM with ends of lines as they should be. */
  readonly jwtPublicKey: string
  readonly jwtJwksUrl: string
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error'
  readonly redisUrl: string
  readonly redisPassword: string
  readonly redisDb: number
  readonly instanceId: string
  readonly threads: number
  readonly environment: string
  readonly realm: string
  readonly enableMetrics: boolean
  readonly metricsPort: number
  readonly metricsAuth: 'none' | 'basic'
  readonly metricsUsername: string
  readonly metricsPassword: string
  readonly metricsBindIp: string
  readonly tokenExpRequired: boolean
  readonly allowedOrigins: readonly string[] | '*'
  readonly trustProxy: boolean
  readonly iceServers: readonly IceServer[]
  readonly turnUrls: readonly string[]
  readonly turnSecret: string
  readonly turnTtlS: number
  readonly maxPayloadBytes: number
  readonly messagesPerSecond: number
  readonly bytesPerSecond: number
  readonly maxRoomMembers: number
  readonly maxConnectionsPerUser: number
  readonly maxConnectionsPerIp: number
  readonly authFailuresPerIp: number
  readonly pingIntervalMs: number
  readonly pongTimeoutMs: number
  readonly sendBufferBytes: number
  readonly authTimeoutMs: number
  readonly redisTimeoutMs: number
  readonly leaseMs: number
  readonly drainTimeoutMs: number
  readonly resumeWindowMs: number
  readonly sessionSecret: string
}

interface Setting {
  readonly env: string
  readonly schema: TSchema
  /** What it takes, in words: the end of "PORT is "x"; it takes …". */
  readonly takes: string
  readonly secret?: true
  /** What the schema cannot say. */
  readonly accepts?: (value: unknown) => boolean
}

const HOUR_MS = 3_600_000

function number (env: string, fallback: number, minimum: number, maximum: number, unit = 'an integer'): Setting {
  return { env, schema: Type.Integer({ default: fallback, minimum, maximum }), accepts: Number.isFinite, takes: `${unit} from ${minimum} to ${maximum}` }
}
function flag (env: string, fallback: boolean): Setting {
  return { env, schema: Type.Boolean({ default: fallback }), takes: 'true or false' }
}
function address (env: string): Setting {
  return { env, schema: Type.String({ default: '0.0.0.0' }), accepts: value => isIP(String(value)) > 0, takes: 'an IP address to bind to' }
}
function choice (env: string, fallback: string, values: string[]): Setting {
  return { env, schema: Type.Enum(values, { default: fallback }), takes: values.map(value => value || 'empty').join(', ') }
}
function text (env: string, fallback: string, takes: string, options: Pick<Setting, 'accepts' | 'secret'> & { pattern?: string } = {}): Setting {
  const { pattern, ...rest } = options
  return { env, schema: Type.String({ default: fallback, ...(pattern !== undefined && { pattern }) }), takes, ...rest }
}
function secret (env: string, what: string): Setting {
  return text(env, '', `${what}; at least 32 bytes when ENVIRONMENT=production, and no public key`, { accepts: value => !PUBLIC_PEM.test(String(value)), secret: true })
}

/** The settings in the order of the README's table. */
export const settings: { readonly [name in keyof Config]: Setting } = {
  port: number('PORT', 5004, 0, 65535),
  publicIp: address('PUBLIC_IP'),
  accessSecret: secret('ACCESS_SECRET', 'the secret that signs tokens'),
  accessSecretPrevious: secret('ACCESS_SECRET_PREVIOUS', 'the secret that signed tokens before'),
  jwtPublicKey: text('JWT_PUBLIC_KEY', '', 'a public key or certificate in PEM, its lines joined by \\n or not: RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519', {
    accepts: value => value === '' || parsePublicKey(String(value)) !== undefined, secret: true
  }),
  jwtJwksUrl: text('JWT_JWKS_URL', '', 'an https: address without a password, or an http: one of this machine', { accepts: value => value === '' || isKeySetUrl(String(value)), secret: true }),
  logLevel: choice('LOG_LEVEL', 'info', ['debug', 'info', 'warn', 'error']),
  redisUrl: text('REDIS_URL', 'redis://localhost:6379', ADDRESS_FORMS, { accepts: value => parseAddress(String(value)) !== undefined, secret: true }),
  redisPassword: text('REDIS_PASSWORD', '', 'a password', { secret: true }),
  redisDb: number('REDIS_DB', 0, 0, 1_000_000),
  instanceId: text('INSTANCE_ID', hostname(), '1 to 128 of A-Z a-z 0-9 _ - . :', { pattern: '^[A-Za-z0-9_.:-]{1,128}$' }),
  threads: number('THREAD_NUM', 2 * availableParallelism(), 1, 1024),
  environment: text('ENVIRONMENT', '', 'production, development, another name or empty', { pattern: '^[A-Za-z0-9_.-]{0,64}$' }),
  realm: text('REALM', 'development', '1 to 64 of A-Z a-z 0-9 _ - .', { pattern: '^[A-Za-z0-9_.-]{1,64}$' }),
  enableMetrics: flag('ENABLE_METRICS', true),
  metricsPort: number('METRICS_PORT', 9090, 0, 65535),
  metricsAuth: choice('METRICS_AUTH', 'none', ['none', 'basic']),
  metricsUsername: text('METRICS_USERNAME', '', 'a user name; METRICS_AUTH=basic needs it'),
  metricsPassword: text('METRICS_PASSWORD', '', 'a password; METRICS_AUTH=basic needs it', { secret: true }),
  metricsBindIp: address('METRICS_BIND_IP'),
  tokenExpRequired: flag('TOKEN_EXP_REQUIRED', true),
  allowedOrigins: text('ALLOWED_ORIGINS', '*', '* or origins such as https://app.example.com, separated by commas', { pattern: '^\\*$|^ *https?://[^/, ]+ *(, *https?://[^/, ]+ *)*$' }),
  trustProxy: flag('TRUST_PROXY', false),
  iceServers: text('ICE_SERVERS', '', 'JSON, a list of {"urls": "stun:host:port"}, or {"urls": ["turn:host:port"], "username": "…", "credential": "…"}, as RTCPeerConnection takes them', {
    accepts: value => value === '' || parseIceServers(String(value)) !== undefined, secret: true
  }),
  turnUrls: text('TURN_URLS', '', 'turn:host:port, with ?transport=tcp or without, turns: and stun:, separated by commas, one of them turn: or turns:', {
    accepts: value => value === '' || parseTurnUrls(String(value)) !== undefined, secret: true // a password in a URL is a mistake that is made
  }),
  turnSecret: text('TURN_SECRET', '', 'the static-auth-secret of coturn, at least 16 bytes when ENVIRONMENT=production', { secret: true }),
  turnTtlS: number('TURN_TTL_S', 86_400, 5, 31_536_000, 'seconds'),
  maxPayloadBytes: number('MAX_PAYLOAD_BYTES', 65536, 1024, 16_777_216, 'bytes'),
  messagesPerSecond: number('MESSAGES_PER_SECOND', 100, 0, 1_000_000_000),
  bytesPerSecond: number('BYTES_PER_SECOND', 262_144, 0, 1_000_000_000_000, 'bytes'),
  maxRoomMembers: number('MAX_ROOM_MEMBERS', 100, 0, 1_000_000),
  maxConnectionsPerUser: number('MAX_CONNECTIONS_PER_USER', 100, 0, 1_000_000),
  maxConnectionsPerIp: number('MAX_CONNECTIONS_PER_IP', 0, 0, 1_000_000),
  authFailuresPerIp: number('AUTH_FAILURES_PER_IP', 10, 0, 1_000_000),
  pingIntervalMs: number('PING_INTERVAL_MS', 25_000, 1000, HOUR_MS, 'milliseconds'),
  pongTimeoutMs: number('PONG_TIMEOUT_MS', 10_000, 1000, HOUR_MS, 'milliseconds'),
  sendBufferBytes: number('SEND_BUFFER_BYTES', 1_048_576, 0, 1_073_741_824, 'bytes'),
  authTimeoutMs: number('AUTH_TIMEOUT_MS', 5000, 0, HOUR_MS, 'milliseconds'),
  redisTimeoutMs: number('REDIS_TIMEOUT_MS', 2000, 50, HOUR_MS, 'milliseconds'),
  leaseMs: number('LEASE_MS', 15_000, 500, 300_000, 'milliseconds'),
  drainTimeoutMs: number('DRAIN_TIMEOUT_MS', 25_000, 0, HOUR_MS, 'milliseconds'),
  resumeWindowMs: number('RESUME_WINDOW_MS', 10_000, 0, HOUR_MS, 'milliseconds'),
  sessionSecret: secret('SESSION_SECRET', 'the secret that signs sessions')
}

const names = Object.keys(settings) as Array<keyof Config>

/** The JSON schema of the environment. A new one each time, as validators write into the one they are given. */
export function environmentSchema (): object {
  return { type: 'object', properties: Object.fromEntries(names.map(name => [settings[name].env, { ...settings[name].schema }])) }
}

/** Options of the plugin as the variables they stand for. @throws SettingError when an option is of the wrong kind */
export function variablesOf (options: Readonly<Partial<Record<keyof Config, unknown>>>): Record<string, unknown> {
  const variables: Record<string, unknown> = {}
  for (const name of names) {
    const value = options[name]
    if (value !== undefined) variables[settings[name].env] = typeof value === 'object' && value !== null ? wordsOf(value) : value
  }
  return variables
}

/** A list as the words of its variable. An empty one is no absent one: without its brackets, it would let everybody in. */
function wordsOf (value: object): string {
  const isWords = Array.isArray(value) && value.length > 0 && value.every(item => typeof item === 'string')
  return isWords ? value.join(',') : JSON.stringify(value)
}

/** The variables that are settings and say something: an empty one counts as absent; so does null, or it would be 0 or false. */
export function givenOf (environment: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const given: Record<string, unknown> = {}
  for (const name of names) {
    const { env } = settings[name]
    const value = environment[env]
    if (value !== undefined && value !== null && value !== '') given[env] = value
  }
  return given
}

/**
 * Checks variables and gives every setting its value; for what has to know them before an app exists.
 * @param environment variables by name
 * @throws SettingError whose message is one line: the variable, what it got (unless it is a secret), what it takes
 */
export function readConfig (environment: Readonly<Record<string, unknown>>): Config {
  const given = givenOf(environment)
  try {
    return configOf(envSchema({ schema: environmentSchema(), data: given, env: false, dotenv: false }), given)
  } catch (error) {
    throw settingErrorOf(error, given)
  }
}

/** What a wrong setting is called: by its variable, or by its option, where setting the variable would change nothing. */
export type Naming = 'variable' | 'option'

/**
 * From checked variables to the configuration.
 * @param given them as they were before the check turned words into numbers
 * @throws SettingError when settings do not go together
 */
export function configOf (variables: Readonly<Record<string, unknown>>, given: Readonly<Record<string, unknown>>, naming: Naming = 'variable'): Config {
  const values = Object.fromEntries(names.map(name => [name, variables[settings[name].env]])) as unknown as Config & { allowedOrigins: string, iceServers: string, turnUrls: string }
  for (const name of names) if (settings[name].accepts?.(values[name]) === false) throw wrong(name, given, naming)
  const { accessSecret, jwtPublicKey, jwtJwksUrl, environment, metricsAuth, metricsUsername, metricsPassword } = values
  if (accessSecret === '' && jwtPublicKey === '' && jwtJwksUrl === '') throw wrong('accessSecret', given, naming)
  for (const name of ['accessSecret', 'accessSecretPrevious', 'sessionSecret'] as const) {
    if (environment === 'production' && values[name] !== '' && Buffer.byteLength(values[name]) < 32) throw wrong(name, given, naming)
  }
  if (accessSecret === '' && values.accessSecretPrevious !== '') throw wrong('accessSecretPrevious', given, naming, 'nothing without ACCESS_SECRET')
  if (jwtPublicKey !== '' && jwtJwksUrl !== '') throw wrong('jwtJwksUrl', given, naming, 'nothing beside JWT_PUBLIC_KEY: set one of the two')
  if (metricsAuth === 'basic' && metricsUsername === '') throw wrong('metricsUsername', given, naming)
  if (metricsAuth === 'basic' && metricsPassword === '') throw wrong('metricsPassword', given, naming)
  const { allowedOrigins, redisUrl, redisDb, iceServers, turnUrls, turnSecret } = values
  if (parseAddress(redisUrl)?.form === 'cluster' && redisDb !== 0) throw wrong('redisDb', given, naming, '0, as a Redis Cluster has one database')
  if (turnUrls !== '' && turnSecret === '') throw wrong('turnSecret', given, naming, 'the static-auth-secret of the servers in TURN_URLS')
  if (turnSecret !== '' && turnUrls === '') throw wrong('turnUrls', given, naming, 'the servers that TURN_SECRET is for, such as turn:turn.example.com:3478')
  // Every client holds a username with its HMAC, and may try secrets on it for as long as it likes.
  if (environment === 'production' && turnSecret !== '' && Buffer.byteLength(turnSecret) < 16) throw wrong('turnSecret', given, naming)
  return {
    ...values,
    jwtPublicKey: jwtPublicKey.replaceAll('\\n', '\n'),
    allowedOrigins: allowedOrigins === '*' ? '*' : allowedOrigins.split(',').map(origin => origin.trim().toLowerCase()),
    iceServers: parseIceServers(iceServers) ?? [],
    turnUrls: parseTurnUrls(turnUrls) ?? []
  }
}

/** What a validator says of a variable, in one line. Anything else is handed back as it is. */
export function settingErrorOf (error: unknown, given: Readonly<Record<string, unknown>>, naming: Naming = 'variable'): unknown {
  const [first] = (error as { errors?: Array<{ instancePath: string }> }).errors ?? []
  const env = first?.instancePath.slice(1)
  const name = names.find(candidate => settings[candidate].env === env)
  return name === undefined ? error : wrong(name, given, naming)
}

function wrong (name: keyof Config, given: Readonly<Record<string, unknown>>, naming: Naming, takes = settings[name].takes): Error {
  const { env, secret } = settings[name]
  const value = given[env]
  const got = value === undefined || value === '' ? 'is not set' : secret ? 'has a wrong value' : `is ${JSON.stringify(value)}`
  return new SettingError(naming === 'option' ? name : env, got, takes)
}
