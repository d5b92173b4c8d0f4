/** From the bytes of a client's frame to a message that can be trusted to have the form its type asks for. */
import { Compile } from 'typebox/compile'
import type { ErrorCode } from './codes.ts'
import { clientMessages, type ClientMessage, type RequestId } from './messages.ts'

/** A message, or why it is none. `id` is the request's own, where it could be read. */
type Decoded =
  | { message: ClientMessage, refused?: never }
  | { refused: { code: ErrorCode, sentence?: string, id?: RequestId }, message?: never }

const validators = new Map(Object.entries(clientMessages).map(([type, schema]) => [type, Compile(schema)]))

/** Parses and checks one text frame. Never throws, whatever the bytes are. */
export function decode (text: Buffer): Decoded {
  let value: unknown
  try {
    value = JSON.parse(text.toString())
  } catch {
    return { refused: { code: 'bad_json' } }
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { refused: { code: 'bad_message', sentence: 'A message is a JSON object' } }
  }
  const { type, id } = value as { type?: unknown, id?: unknown }
  const known = typeof id === 'string' || Number.isFinite(id) ? { id: id as RequestId } : {} // 1e999 is a number that JSON cannot repeat
  if (typeof type !== 'string') {
    return { refused: { code: 'bad_message', sentence: 'A message needs a type, which is a string', ...known } }
  }
  const validator = validators.get(type)
  if (validator === undefined) return { refused: { code: 'unknown_type', ...known } }
  if (validator.Check(value)) return { message: value as ClientMessage }
  const [error] = validator.Errors(value)
  const field = error?.instancePath.split('/')[1]
  const what = field === undefined || field === '' ? (error?.message ?? 'it is malformed') : `${field} ${error?.message ?? ''}`
  return { refused: { code: 'bad_message', sentence: `${type}: ${what}`, ...known } }
}

/** Reading starts here when the client's own bytes may go on unchanged: the first `type` is the one that was checked. */
const RELAY_START = Buffer.from('{"type":"data",')

/**
 * Whether a checked `data` message can be relayed as the client wrote it: it holds no key but `type`, `data` and `to`.
 * A forged `from`, an `id`, or a second `type` before ours (a parser that takes the first of two equal keys would be
 * misled) has to be rebuilt from what the protocol names instead.
 */
export function isRelayable (text: Buffer, message: object): boolean {
  for (const key in message) if (key !== 'type' && key !== 'data' && key !== 'to') return false
  return text.length > RELAY_START.length && text.compare(RELAY_START, 0, RELAY_START.length, 0, RELAY_START.length) === 0
}

/** The `type` of a relayed payload (`offer`, `answer`, `candidate` …), for statistics; undefined when it has none. */
export function signalType (data: unknown): string | undefined {
  const type = typeof data === 'object' && data !== null ? (data as { type?: unknown }).type : undefined
  return typeof type === 'string' ? type : undefined
}
