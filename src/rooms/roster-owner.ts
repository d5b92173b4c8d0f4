import type { Roster } from './roster.ts'
import type { Seat } from './seat.ts'

/** A member that goes on over another instance. */
export interface Move {
  readonly connectionId: string
  /** Of the room as it is known since. */
  readonly version: number
  /** Nonce of the instance that held it; undefined where it was not known as a member. */
  readonly from: string | undefined
  /** Nonce of the instance that holds it now; undefined where that is not known: it may have left again. */
  readonly to: string | undefined
  /** The one that it had here until now, if any. */
  readonly seat: Seat | undefined
}

/** What a roster reports to its owner. */
export interface RosterOwner {
  /** A change is missing: later ones wait for it. Called once, until the gap is closed. */
  onGap (roster: Roster): void
  /** The life has ended by a disband; the seats were told. */
  onDisbanded (roster: Roster, seats: readonly Seat[]): void
  /** A member has moved. Its seat here was taken away, and nothing was said there of the move. */
  onMoved (roster: Roster, move: Move): void
  /** Another peer here has come in under the same connection_id: this seat was taken away. */
  onReplaced (roster: Roster, seat: Seat): void
}
