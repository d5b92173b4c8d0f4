/**
 * Broker: carries records between instances. Every instance has one inbox, named by its nonce; there is one lobby,
 * where the births and deaths of rooms are announced.
 *
 * Guarantees of every implementation:
 * - Records of one sender reach one receiver in the order sent, and at most once.
 * - `send` never blocks and never throws. Records may be lost when the connection or the receiver is. A receiver is then
 *   told that it missed something, as soon as it can be, by whoever lost it; one that could not be reached knows by itself.
 * - What waits to leave is bounded: by INBOX_QUEUE_BYTES, and by twice as much for what is vital.
 */
import type { LobbyEvent } from './lobby-event.ts'

/** The most that may wait for one inbox, in bytes. A Redis that takes nothing must not grow this process. */
export const INBOX_QUEUE_BYTES = 8 * 1024 * 1024

/** What arrives, handed over synchronously, in order. A throwing handler loses the record it was given, no other. */
export interface BrokerHandlers {
  /**
   * @param record may be kept, must not be changed
   * @param origin the nonce of the instance that sent it
   */
  onRecord: (record: Buffer, origin: string) => void
  onLobby: (event: LobbyEvent) => void
  /** This instance cannot be reached for a while: what is sent to it is lost. */
  onInterrupted: () => void
  /** It can be reached again, after it could not. */
  onRestored: () => void
  /** Another instance could not pass on a record to this one. */
  onMissed: () => void
}

/** What was sent to other instances since the start. Plain numbers, read when scraped. */
export interface BrokerTraffic { publishes: number, bytes: number }

export interface Broker {
  /** This instance's unique name: INSTANCE_ID and a random part made at start. Two processes never share one. */
  readonly nonce: string
  readonly traffic: Readonly<BrokerTraffic>

  /** Begins to deliver. Resolves once this instance's inbox is open for others. */
  open (handlers: BrokerHandlers): Promise<void>

  /**
   * Queues a record for an instance; all that is queued for it in one turn of the event loop, at least, travels together.
   * @param vital whether its loss costs more than a message: a change of a room
   * @returns whether it was taken: false when nothing can leave at the moment or too much waits already
   */
  send (instance: string, record: Buffer, vital?: boolean): boolean

  /**
   * As `send`, for a record that somebody waits for.
   * @returns whether the instance has heard it: false when it cannot, undefined when that is not known. Never rejects
   */
  ask (instance: string, record: Buffer): Promise<boolean | undefined>

  /** Resolves once all that was sent before has left, or is lost: what others send after that comes behind it. */
  settled (): Promise<void>

  /** Hears the lobby from now on (resolves once it does, rejects when it cannot), or no longer (never rejects). */
  hearLobby (on: boolean): Promise<void>

  /** Delivers what was queued and stops. Nothing is handed over afterwards. */
  close (): Promise<void>
}
