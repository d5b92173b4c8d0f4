import { NotDone, type Entry, type NewMember, type RosterChange } from '../presence/presence.ts'
import { Refusal } from '../protocol/refusal.ts'
import type { Cluster } from './cluster.ts'
import { infoOf, type Peer } from './peer.ts'
import { GAP_MS } from './reconciler.ts'
import type { Roster } from './roster.ts'
import { Seat } from './seat.ts'
import type { Watchers } from './watchers.ts'

/** How a peer comes into a room, as the store is asked for it. */
export interface Coming {
  readonly room: string
  /** Whether what the room sends waits until the seat is released. */
  readonly isHeld: boolean
  readonly ask: (member: NewMember) => Promise<Entry | 'full' | undefined>
  /** Called once the peer is in, before anything of the room is sent to it. @param version of its coming; the roster may be further */
  readonly onSeated: (seat: Seat, version: number) => void
}

/** The way of this instance's peers into rooms. */
export class Entrance {
  readonly #cluster: Cluster
  readonly #watchers: Watchers
  readonly #nonce: string

  /** @param nonce this instance's */
  constructor (cluster: Cluster, watchers: Watchers, nonce: string) {
    this.#cluster = cluster
    this.#watchers = watchers
    this.#nonce = nonce
  }

  /** @throws Refusal unavailable when a room cannot be changed at the moment */
  async ready (room: string): Promise<void> {
    if (!await this.#cluster.ready(room)) throw new Refusal('unavailable')
  }

  /**
   * Has the store put a peer into a room, tells the instances concerned, and waits until the roster has seated it.
   * @returns its seat, which may have been taken away again by then, and the version of its coming; or what the store answered else
   * @throws Refusal unavailable
   */
  async enter (peer: Peer, { room, isHeld, ask, onSeated }: Coming): Promise<{ seat: Seat, version: number } | 'full' | undefined> {
    await this.ready(room)
    const { hub, relay } = this.#cluster
    hub.expect(room)
    let seated: Promise<{ seat: Seat, version: number }>
    let late: NodeJS.Timeout | undefined
    try {
      const entry = await answerOf(ask({ ...infoOf(peer), instance: this.#nonce }).catch((error: unknown) => {
        if (!(error instanceof NotDone)) this.#cluster.doubt(room) // it may have happened all the same
        throw error
      }))
      if (entry === undefined || entry === 'full') return entry
      const member = entry.members.find(({ connection_id: other }) => other === peer.id)
      if (member === undefined) throw new Refusal('internal', undefined, { cause: new Error('the store answered a join without its member') })
      const { epoch, version, from } = entry
      const change: RosterChange = { kind: from === undefined ? 'joined' : 'moved', version, member }
      const concerned = entry.members.map(({ instance }) => instance)
      relay.change(from === undefined ? concerned : [...concerned, from], room, epoch, change) // that one may be frozen, not dead
      const roster = hub.open(room, entry, peer.id)
      const seat = new Seat(peer, roster, isHeld)
      this.#watchers.moving(peer, epoch)
      seated = new Promise(resolve => {
        roster.receive(change, seat, () => { onSeated(seat, version); resolve({ seat, version }) })
      })
      if (roster.hasGap) late = setTimeout(() => { catchUp(roster, entry) }, GAP_MS)
    } finally {
      hub.arrived(room)
      this.#cluster.releaseUnused(room)
    }
    const entered = await seated
    clearTimeout(late)
    return entered
  }

  /** A peer has come in and takes its seat, unless that was taken away again. @returns whether it sits */
  sit (peer: Peer, seat: Seat): boolean {
    const { roster } = seat
    if (roster.ended) return false
    if (!roster.isTaken(seat)) {
      this.#watchers.left(peer, roster, false)
      return false
    }
    peer.seat = seat
    this.#watchers.entered(peer, roster.epoch)
    return true
  }
}

/** A join does not wait for a lost change. Where others of ours are in question, what is done about the gap settles that. */
function catchUp (roster: Roster, entry: Entry): void {
  const isIn = ({ peer: { id } }: Seat): boolean => entry.members.some(({ connection_id: other }) => other === id)
  if (roster.hasGap && roster.seats.every(isIn)) roster.adopt(entry)
}

/** Waits for the store. @throws Refusal unavailable when it does not answer or refuses */
export async function answerOf<T> (answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new Refusal('unavailable', undefined, { cause: error })
  }
}
