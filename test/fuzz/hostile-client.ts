/** Sends one case over a socket of its own, and judges what the server makes of it. */
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { closeCodes } from '../../src/protocol/codes.ts'
import type { ServerMessage } from '../../src/protocol/messages.ts'
import { Traffic } from '../../src/routes/traffic.ts'
import type { HostileCase } from './hostile-case.ts'
import { frames } from './server-frames.ts'

/**
 * How long until a connection is closed or answered, ms: a request has ten seconds, headers five, and an open WebSocket
 * whose client answers no ping goes with the settings of these instances after seven. The rest is for a busy machine.
 */
const LIMIT_MS = 25_000
/** A connection that was answered and then stays quiet is one that waits for the next request, ms. */
const QUIET_MS = 300
/** What may be answered over HTTP. */
const STATUSES = [101, 200, 204, 400, 401, 403, 404, 405, 408, 413, 414, 415, 426, 429, 431, 503]
const TYPES = Object.keys(new Traffic().sent)

/** What came of a case, in a word or two: for the tally. */
export type Result = string

/** Plays a case. @throws Error saying what is wrong with what the server did */
export async function playCase ({ chunks, ending }: HostileCase, url: string): Promise<Result> {
  const { hostname, port } = new URL(url)
  const socket = connect({ port: Number(port), host: hostname, noDelay: true })
  const received: Buffer[] = []
  let last = performance.now()
  const closed = new Promise<void>(resolve => { socket.once('close', () => { resolve() }) })
  socket.on('error', () => {}) // 'close' tells
  socket.on('data', bytes => { received.push(bytes); last = performance.now() })
  for (const chunk of chunks) {
    if (socket.closed) break
    socket.write(chunk)
    if (chunks.length > 1) await delay(0)
  }
  if (ending === 'end') socket.end()
  if (ending === 'reset') {
    await delay(1)
    socket.resetAndDestroy()
  }
  const deadline = performance.now() + LIMIT_MS
  const isAnswered = (): boolean => received.length > 0 && !Buffer.concat(received).includes('HTTP/1.1 101 ')
  while (!socket.closed) {
    await Promise.race([closed, delay(QUIET_MS)])
    if (socket.closed || (isAnswered() && performance.now() - last > QUIET_MS)) break
    if (performance.now() > deadline) {
      socket.destroy()
      throw new Error(`neither closed nor answered after ${LIMIT_MS} ms; it got ${JSON.stringify(Buffer.concat(received).toString('latin1').slice(0, 2000))}`)
    }
  }
  socket.destroy()
  return resultOf(Buffer.concat(received))
}

/** @throws Error for what no server may say */
function resultOf (bytes: Buffer): Result {
  if (bytes.length === 0) return 'closed'
  const text = bytes.toString('latin1')
  const status = /^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1]
  if (status === undefined) throw new Error(`that is no HTTP: ${JSON.stringify(text.slice(0, 200))}`)
  for (const [, each] of text.matchAll(/^HTTP\/1\.1 (\d{3}) /gm)) if (!STATUSES.includes(Number(each))) throw new Error(`answered ${each}: ${JSON.stringify(text.slice(0, 1000))}`)
  const opened = bytes.indexOf('HTTP/1.1 101 ')
  if (opened < 0) return status
  const head = bytes.indexOf('\r\n\r\n', opened)
  if (head < 0) return 'cut off'
  let closing: number | undefined
  let texts = 0
  for (const { opcode, isFinal, payload } of frames(bytes.subarray(head + 4), () => {})) {
    if (closing !== undefined) throw new Error('a frame after a close frame')
    if (opcode === 8) closing = payload.length === 0 ? 1005 : payload.readUInt16BE(0)
    if (opcode !== 1) continue
    const message = JSON.parse(payload.toString()) as ServerMessage
    if (!isFinal || !TYPES.includes(message.type)) throw new Error(`a frame that is none of the protocol's: ${payload.toString().slice(0, 500)}`)
    if ((texts++ === 0) !== (message.type === 'welcome')) throw new Error(`${message.type} is the text number ${texts}`)
    if ('id' in message && message.id === null) throw new Error('an id that is null')
    if ('code' in message && message.code === 'internal') throw new Error(`an error of ours: ${payload.toString()}`)
  }
  if (closing === undefined) return 'torn'
  return closing >= 3000 && !(closing in closeCodes) ? 'closed with a code of its own' : `closed with ${closing}`
}
