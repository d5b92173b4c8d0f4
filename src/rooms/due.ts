import type { Member, RosterChange } from '../presence/presence.ts'
import type { Seat } from './seat.ts'

/** A change, and what to do for our own peer that brought it about once its turn has come. */
export interface Due { readonly change: RosterChange, readonly seat?: Seat, readonly settled?: () => void }

/** Changes that came before their turn, by version; undefined while there are none. */
export type Ahead = Map<number, Due> | undefined

/** Whether a change seats somebody. */
export function isEntry (change: RosterChange): change is Extract<RosterChange, { member: Member }> {
  return change.kind === 'joined' || change.kind === 'moved'
}

/** Our own peers that wait for their turn to come in. */
export function comersOf (ahead: Ahead): Member[] {
  return Array.from(ahead?.values() ?? []).flatMap(({ change, seat }) => seat !== undefined && isEntry(change) ? [change.member] : [])
}

/** Whether word of a member's move to another instance than this one waits for its turn. */
export function hasGone (ahead: Ahead, id: string, self: string): boolean {
  return Array.from(ahead?.values() ?? []).some(({ change }) => change.kind === 'moved' && change.member.connection_id === id && change.member.instance !== self)
}

/** Whether a frame comes too early: its sender, or one of ours whom the sender knows already, has yet to come in. */
export function isTooEarly (ahead: Ahead, sender: string, targets: readonly string[]): boolean {
  for (const { change, seat } of ahead?.values() ?? []) {
    if (!isEntry(change)) continue
    const { connection_id: comer } = change.member
    if (comer === sender || (seat !== undefined && (targets.length === 0 || targets.includes(comer)))) return true
  }
  return false
}
