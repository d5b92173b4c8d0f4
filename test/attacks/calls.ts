/** A process of its own, so that an attacker's work does not count: pairs of clients that set up calls at a steady rate. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '../harness/client.ts'

/** What the pairs have met since they were last asked. Times in ms. */
export interface Lap { exchanges: number, p50: number, p99: number, max: number }

/** What was wrong since the beginning, and what is still on its way. */
export interface Losses { sent: number, lost: number, outOfOrder: number, closed: number }

/** Answers to `lap` and `stop`. */
export type Answer = { lap: Lap } | { losses: Losses } | { ready: true }

/** One exchange a pair in this time, ms: a message and its answer. */
const EXCHANGE_MS = 20
/** How long the last answers may take, ms. */
const LAST_ANSWERS_MS = 15_000
/** An offer is about so long; the candidates that follow it are short. */
const SDP = 'v=0\r\n'.padEnd(2000, 'a=candidate ')
const CANDIDATE = 'candidate:1 1 udp 2113937151 192.0.2.1 54400 typ host'
/** Every so many exchanges an offer and its answer, in between candidates. */
const OFFER_EVERY = 10

interface Payload { type: 'offer' | 'answer' | 'candidate', n: number, sdp?: string, candidate?: string }

const losses: Losses = { sent: 0, lost: 0, outOfOrder: 0, closed: 0 }
let times: number[] = []
let isStopping = false

/** Two clients: one calls, the other answers each message with one of its kind. */
class Pair {
  readonly #caller: Client
  readonly #callee: Client
  readonly #sentAt = new Map<number, number>()
  #next = 0
  #heard = 0
  #answered = 0

  constructor (caller: Client, callee: Client) {
    this.#caller = caller
    this.#callee = callee
    callee.socket.on('message', (data: Buffer) => {
      const payload = payloadOf(data)
      if (payload === undefined) return
      if (payload.n !== this.#heard++) losses.outOfOrder++
      callee.send({ type: 'data', to: caller.id, data: { ...payload, type: payload.type === 'offer' ? 'answer' : payload.type } })
    })
    caller.socket.on('message', (data: Buffer) => {
      const payload = payloadOf(data)
      if (payload === undefined) return
      if (payload.n !== this.#answered++) losses.outOfOrder++
      const sentAt = this.#sentAt.get(payload.n)
      if (sentAt !== undefined) times.push(performance.now() - sentAt)
      this.#sentAt.delete(payload.n)
    })
    for (const { socket } of [caller, callee]) socket.on('close', () => { if (!isStopping) losses.closed++ })
  }

  get waiting (): number { return this.#sentAt.size }

  call (): void {
    const n = this.#next++
    const data: Payload = n % OFFER_EVERY === 0 ? { type: 'offer', n, sdp: SDP } : { type: 'candidate', n, candidate: CANDIDATE }
    losses.sent++
    this.#sentAt.set(n, performance.now())
    this.#caller.send({ type: 'data', to: this.#callee.id, data })
  }

  async close (): Promise<void> {
    await Promise.all([this.#caller, this.#callee].map(client => client.close()))
  }
}

function payloadOf (data: Buffer): Payload | undefined {
  const message = JSON.parse(data.toString()) as { type: string, data: Payload }
  return message.type === 'data' ? message.data : undefined
}

/** To a tenth of a ms. */
function quantile (share: number): number {
  const sorted = times.toSorted((a, b) => a - b)
  return Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN) * 10) / 10
}

function answer (what: Answer): void { process.send?.(what) }

const [url = '', count = '1'] = process.argv.slice(2)
const pairs = await Promise.all(Array.from({ length: Number(count) }, async (_, i) => {
  const [caller, callee] = await Promise.all(['caller', 'callee'].map(name => Client.open(url, `${name}-${i}`)))
  if (caller === undefined || callee === undefined) throw new Error('no pair')
  await callee.join(`call-${i}`)
  await caller.join(`call-${i}`)
  return new Pair(caller, callee)
}))
pairs.forEach((pair, i) => {
  setTimeout(() => { setInterval(() => { if (!isStopping) pair.call() }, EXCHANGE_MS) }, i * EXCHANGE_MS / pairs.length)
})

process.on('disconnect', () => process.exit())
process.on('message', (asked: 'lap' | 'stop') => {
  if (asked === 'stop') void stop()
  else {
    answer({ lap: { exchanges: times.length, p50: quantile(0.5), p99: quantile(0.99), max: quantile(1) } })
    times = []
  }
})
answer({ ready: true })

async function stop (): Promise<void> {
  isStopping = true
  const deadline = performance.now() + LAST_ANSWERS_MS
  const waiting = (): number => pairs.reduce((sum, pair) => sum + pair.waiting, 0)
  while (waiting() > 0 && performance.now() < deadline) await sleep(EXCHANGE_MS)
  answer({ losses: { ...losses, lost: waiting() } })
  await Promise.all(pairs.map(pair => pair.close()))
  process.exit()
}
