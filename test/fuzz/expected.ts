/** What docs/protocol.md says of a text, written down a second time and without a schema. */
import type { ErrorCode } from '../../src/protocol/codes.ts'

type Expected = { message: object } | { code: ErrorCode, id: string | number | undefined }

const isString = (value: unknown): boolean => typeof value === 'string'
/** The fields of each type, beside `type` and `id`: whether they have to be there, and what they are. */
const fields: Readonly<Record<string, Readonly<Record<string, { isRequired: boolean, is: (value: unknown) => boolean }>>>> = {
  join: { room: { isRequired: true, is: isString }, user_id: { isRequired: false, is: isString } },
  leave: {},
  data: { data: { isRequired: true, is: () => true }, to: { isRequired: false, is: isString } },
  disband_room: {},
  watch: {},
  unwatch: {},
  refresh: { token: { isRequired: true, is: isString } },
  ping: { seen: { isRequired: false, is: value => Number.isInteger(value) && Number(value) >= 0 } },
  report: {
    peer: { isRequired: true, is: value => isString(value) && /^[^]{1,256}$/u.test(String(value)) },
    result: { isRequired: true, is: value => value === 'connected' || value === 'failed' },
    ms: { isRequired: true, is: value => typeof value === 'number' && value >= 0 && value <= 3_600_000 },
    path: { isRequired: false, is: value => ['host', 'srflx', 'prflx', 'relay'].includes(String(value)) && isString(value) },
    cause: { isRequired: false, is: isString }
  }
}

export function expectedOf (bytes: Buffer): Expected {
  let value: unknown
  try {
    value = JSON.parse(bytes.toString())
  } catch {
    return { code: 'bad_json', id: undefined }
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { code: 'bad_message', id: undefined }
  const own = new Map(Object.entries(value))
  const type: unknown = own.get('type')
  const given: unknown = own.get('id')
  const id = isId(given) ? given : undefined
  if (typeof type !== 'string') return { code: 'bad_message', id }
  if (!Object.hasOwn(fields, type)) return { code: 'unknown_type', id }
  const isRight = (!own.has('id') || isId(given)) &&
    Object.entries(fields[type] ?? {}).every(([name, { isRequired, is }]) => own.has(name) ? is(own.get(name)) : !isRequired)
  return isRight ? { message: value } : { code: 'bad_message', id }
}

function isId (value: unknown): value is string | number {
  return typeof value === 'string' || Number.isFinite(value)
}
