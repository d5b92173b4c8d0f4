import { frameOf, type Frame } from '../protocol/frame.ts'
import type { LobbyEvent } from '../broker/lobby-event.ts'
import { watches } from './identity.ts'
import type { Peer } from './peer.ts'

/** What a watcher that is or was a member has coming by two ways, by the epoch of the room's life. */
interface Notes {
  /** Told as a member; the lobby's announcement is still to come and is then passed over. */
  readonly told: Set<string>
  /** Announced while the peer was a member or leaving; sent only if it does not hear of it as one. */
  readonly held: Map<string, Frame>
  /** Rooms that it is on the way into or out of. */
  readonly moving: Set<string>
}

/** The peers of this instance that watch rooms being born and ending. Each is told once, member or not. */
export class Watchers {
  readonly #notes = new Map<Peer, Notes>()
  readonly #hearLobby: (on: boolean) => Promise<void>
  /** Subscribing and unsubscribing, one after the other. */
  #switched: Promise<void> = Promise.resolve()
  #hearing = false

  /** @param hearLobby opens or closes the lobby for this instance: it is heard only while somebody watches */
  constructor (hearLobby: (on: boolean) => Promise<void>) {
    this.#hearLobby = hearLobby
  }

  /** Resolves once everything announced from now on reaches the peer. Rejects when the lobby cannot be heard. */
  async add (peer: Peer): Promise<void> {
    if (!this.#notes.has(peer)) this.#notes.set(peer, { told: new Set(), held: new Map(), moving: new Set() })
    try {
      await this.#switch()
    } catch (error) {
      this.#notes.delete(peer)
      throw error
    }
  }

  has (peer: Peer): boolean { return this.#notes.has(peer) }

  /** Never rejects: what is still heard is told to nobody. */
  async remove (peer: Peer): Promise<void> {
    if (this.#notes.delete(peer)) await this.#switch().catch(() => {}) // somebody may watch again by then, and is told what failed
  }

  announce (event: LobbyEvent): void {
    let frame: Frame | undefined
    for (const [peer, notes] of this.#notes) {
      // The books are kept whether the peer may be told or not: its token may be another by now.
      if (event.type === 'room_disbanded' && notes.told.delete(event.epoch)) continue
      if (!watches(peer.identity, event.room)) continue
      frame ??= frameOf(event.type === 'room_created'
        ? { type: event.type, data: { room: event.room } }
        : { type: event.type, data: { room: event.room, reason: event.reason } })
      if (event.type === 'room_disbanded' && (peer.seat?.roster.epoch === event.epoch || notes.moving.has(event.epoch))) {
        notes.held.set(event.epoch, frame)
      } else {
        peer.send(frame)
      }
    }
  }

  /** A peer comes into a life of a room or has asked to leave it: an announcement waits until that is done. */
  moving (peer: Peer, epoch: string): void {
    this.#notes.get(peer)?.moving.add(epoch)
  }

  /** A peer is in. */
  entered (peer: Peer, epoch: string): void {
    this.#notes.get(peer)?.moving.delete(epoch)
  }

  /** A member is out. @param told whether it was sent `room_disbanded` as a member */
  left (peer: Peer, { room, epoch }: { readonly room: string, readonly epoch: string }, told: boolean): void {
    const notes = this.#notes.get(peer)
    if (notes === undefined) return
    notes.moving.delete(epoch)
    const frame = notes.held.get(epoch)
    notes.held.delete(epoch)
    if (told && frame === undefined && watches(peer.identity, room)) notes.told.add(epoch)
    if (!told && frame !== undefined) peer.send(frame)
  }

  /** Brings the subscription in line with whether anybody watches. */
  #switch (): Promise<void> {
    const done = this.#switched.then(async () => {
      const wanted = this.#notes.size > 0
      if (wanted === this.#hearing) return
      await this.#hearLobby(wanted)
      this.#hearing = wanted
    })
    this.#switched = done.catch(() => {})
    return done
  }
}
