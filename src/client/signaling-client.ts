import type { IceServer } from '../protocol/messages.ts'
import { Emitter } from './emitter.ts'
import type { Members, SignalingEvents, SignalingState } from './events.ts'
import type { SignalingOptions } from './options.ts'

/** How a call's set-up went, for the server's metrics. */
export interface CallReport {
  /** connection_id of the other side. */
  peer: string
  result: 'connected' | 'failed'
  ms: number
  path?: 'host' | 'srflx' | 'prflx' | 'relay'
  cause?: string
}

/** One connection to Turnip that comes back by itself, and the room it is in. */
export class SignalingClient extends Emitter<SignalingEvents> {
  readonly options: SignalingOptions
  state: SignalingState = 'closed'
  cause = 'Not connected yet'
  connectionId = ''
  userId = ''
  username = ''
  instanceId = ''
  room: string | null = null
  members: Members = new Map()
  iceServers: IceServer[] = []

  constructor (options: SignalingOptions) {
    super()
    this.options = options
  }

  /** Resolves when the connection is open; rejects with a SignalingError when it is closed for good. */
  async connect (): Promise<void> { throw new Error('not there yet') }
  async join (room: string): Promise<{ room: string, members: Members }> { throw new Error(`not there yet: ${room}`) }
  async leave (): Promise<void> { throw new Error('not there yet') }
  async disband (): Promise<void> { throw new Error('not there yet') }
  async watch (): Promise<void> { throw new Error('not there yet') }
  async unwatch (): Promise<void> { throw new Error('not there yet') }
  /** @param to a connection_id or user_id; absent: all others. @returns false when it could not be taken: in no room, or too much waits */
  send (data: unknown, to?: string): boolean { throw new Error(`not there yet ${String(data)} ${to ?? ''}`) }
  report (report: CallReport): void { throw new Error(`not there yet ${report.peer}`) }
  close (): void {}
}
