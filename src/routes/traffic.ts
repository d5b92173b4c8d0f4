import { clientMessages, serverMessageTypes, type ClientMessageType } from '../protocol/messages.ts'

/** Types of relayed payloads that WebRTC applications use; everything else is `other`. */
const SIGNAL_TYPES = ['offer', 'answer', 'candidate', 'pranswer', 'rollback', 'bye'] as const
type SignalType = typeof SIGNAL_TYPES[number] | 'other'

const REFUSALS = ['origin', 'failures', 'user_connections', 'address_connections', 'timeout'] as const

/** Where a session was: at this instance, at another, at one that is gone, nowhere (any more). */
const RESUMES = ['here', 'elsewhere', 'gone', 'refused'] as const
export type Resume = typeof RESUMES[number]

/** How many connections and messages there were, by type: plain numbers, with fixed names that no client can add to. */
export class Traffic {
  connections = 0
  /** How often a client sent more than it may for a while, and was read slowly; and how many of them did not yield. */
  slowdowns = 0
  floods = 0
  /** Who was not let in, and why, where a token alone does not say it. */
  readonly refused = zeros(REFUSALS)
  /** Who came back with a session, and what became of it. */
  readonly resumes = zeros(RESUMES)
  readonly received = zeros<ClientMessageType | 'other'>([...Object.keys(clientMessages) as ClientMessageType[], 'other'])
  readonly sent = zeros(serverMessageTypes)
  readonly signals = zeros<SignalType>([...SIGNAL_TYPES, 'other'])

  /** How the set-up of calls went, and the way of those that connected, as clients report it. */
  readonly calls = zeros(['connected', 'failed'])
  readonly paths = zeros(['host', 'srflx', 'prflx', 'relay', 'unknown'])

  countSignal (type: string | undefined): void {
    if (type !== undefined && Object.hasOwn(this.signals, type)) this.signals[type as SignalType]++
    else this.signals.other++
  }
}

function zeros<K extends string> (names: readonly K[]): Record<K, number> {
  return Object.fromEntries(names.map(name => [name, 0])) as Record<K, number>
}
