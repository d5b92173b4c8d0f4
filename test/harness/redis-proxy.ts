import type { Server } from 'node:net'
import type { Link, Parcel } from './tcp-link.ts'
import { openProxy, TcpProxy } from './tcp-proxy.ts'

/** Whether a command is meant. @param words its name, in capitals, and its arguments */
export type IsCommand = (words: string[]) => boolean

/** A reply that is to be lost, and what becomes of its connection then. */
interface Loss { isIt: IsCommand, then: 'cut' | 'hold', lost: (link: Link) => void }

/** The talk on one connection: what is not whole yet, and whether the replies that are awaited are to be lost. */
interface Talk { sent: Buffer, received: Buffer, awaited: Array<Loss | undefined> }

/** A line to Redis that knows which reply belongs to which command. */
export class RedisProxy extends TcpProxy {
  readonly url: string
  readonly #losses = new Set<Loss>()
  readonly #talks = new WeakMap<Link, Talk>()

  constructor (server: Server, port: number, target: number) {
    super(server, port, target)
    this.url = `redis://127.0.0.1:${port}`
  }

  /**
   * Has the reply to the next such command be lost after it was carried out. A script that Redis did not know
   * (NOSCRIPT) was not. Resolves when it is lost.
   * @param then `cut`: the connection breaks instead; `hold`: it hangs, and the reply comes with all later ones on `heal`
   */
  async loseReply (isIt: IsCommand, then: Loss['then']): Promise<Link> {
    return await new Promise(resolve => { this.#losses.add({ isIt, then, lost: resolve }) })
  }

  protected override sent (link: Link, bytes: Buffer): Parcel[] {
    const talk = this.#talkOf(link)
    if (talk !== undefined) {
      talk.sent = eachValue(Buffer.concat([talk.sent, bytes]), request => {
        const words = wordsOf(request)
        const loss = [...this.#losses].find(({ isIt }) => isIt(words))
        if (loss !== undefined) this.#losses.delete(loss)
        talk.awaited.push(loss)
      })
    }
    return [{ bytes }]
  }

  protected override received (link: Link, bytes: Buffer): Parcel[] {
    const talk = this.#talkOf(link)
    if (talk === undefined) {
      const begun = this.#talks.get(link)?.received ?? Buffer.of()
      this.#talks.delete(link)
      return [{ bytes: Buffer.concat([begun, bytes]) }]
    }
    const parcels: Parcel[] = []
    talk.received = eachValue(Buffer.concat([talk.received, bytes]), reply => {
      const loss = isPush(reply) ? undefined : talk.awaited.shift()
      if (loss === undefined || reply.toString('latin1', 0, 9) === '-NOSCRIPT') {
        if (loss !== undefined) this.#losses.add(loss)
        parcels.push({ bytes: reply })
        return
      }
      const lose = (): void => {
        if (loss.then === 'cut') link.end()
        else link.holdReplies()
        loss.lost(link)
      }
      parcels.push({ bytes: Buffer.of(), then: lose }, { bytes: reply })
    })
    return parcels
  }

  /** A subscriber's talk has no order of commands and replies: nothing of it can be lost here. */
  #talkOf (link: Link): Talk | undefined {
    if (isSubscriber(link)) return undefined
    const talk = this.#talks.get(link) ?? { sent: Buffer.of(), received: Buffer.of(), awaited: [] }
    this.#talks.set(link, talk)
    return talk
  }
}

/** Opens a proxy to a Redis on a port of this machine. */
export async function startRedisProxy (target: number): Promise<RedisProxy> {
  return await openProxy((server, port) => new RedisProxy(server, port, target))
}

/** A connection that subscribes. */
export function isSubscriber (link: Link): boolean {
  return link.hasSent('\r\nsubscribe\r\n')
}

/** Calls back for every whole value of Redis' protocol. @returns what is left */
function eachValue (bytes: Buffer, take: (value: Buffer) => void): Buffer {
  let at = 0
  for (let end = endOfValue(bytes, at); end !== undefined; end = endOfValue(bytes, at)) {
    take(bytes.subarray(at, end))
    at = end
  }
  return bytes.subarray(at)
}

/** @returns where the value ends that begins at `at`, undefined while it is not whole */
function endOfValue (bytes: Buffer, at: number): number | undefined {
  const line = bytes.indexOf('\r\n', at)
  if (line < 0) return undefined
  const type = String.fromCharCode(bytes[at] ?? 0)
  const count = Number(bytes.toString('latin1', at + 1, line))
  let end: number | undefined = line + 2
  if ('$=!'.includes(type)) {
    if (count >= 0) end += count + 2
    return end <= bytes.length ? end : undefined
  }
  const parts = '*~>'.includes(type) ? count : type === '%' ? 2 * count : 0
  for (let part = 0; part < parts && end !== undefined; part++) end = endOfValue(bytes, end)
  return end
}

/** A message of the server's own that answers no command. */
function isPush (reply: Buffer): boolean {
  return reply[0] === '>'.charCodeAt(0)
}

function wordsOf (request: Buffer): string[] {
  const words: string[] = []
  let at = request.indexOf('\r\n') + 2
  while (at < request.length) {
    const line = request.indexOf('\r\n', at)
    const length = Number(request.toString('latin1', at + 1, line))
    words.push(request.toString('utf8', line + 2, line + 2 + length))
    at = line + 4 + length
  }
  return words.map((word, index) => index === 0 ? word.toUpperCase() : word)
}
