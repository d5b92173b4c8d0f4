import type { Broker } from '../broker/broker.ts'
import { isRelayable } from '../protocol/decode.ts'
import { frameOf, relayFrame, type Frame } from '../protocol/frame.ts'
import type { ClientMessageOf } from '../protocol/messages.ts'
import { Refusal } from '../protocol/refusal.ts'
import { infoOf } from './peer.ts'
import { encodeRecord } from './record.ts'
import type { RosterChange } from '../presence/presence.ts'
import type { Seat } from './seat.ts'

/** Carries what members say, and what changes, to the members here and to the instances that hold the others. */
export class Relay {
  readonly #broker: Broker

  constructor (broker: Broker) {
    this.#broker = broker
  }

  /**
   * Carries a member's message to the others in its room, or to those that `to` means. The frame is built once.
   * @param text the message as the client wrote it
   * @throws Refusal peer_not_found, bad_message; unavailable when it reached only the members here
   */
  data (sender: Seat, message: ClientMessageOf<'data'>, text: Buffer): void {
    const { peer: { id }, roster } = sender
    const { to } = message
    const frame = isRelayable(text, message) ? relayFrame(sender.prefix, text) : rebuilt(sender, message)
    if (to === undefined) {
      roster.deliver(id, [], frame)
      if (roster.isSpread) this.#send([...roster.instances].map(instance => [instance, []]), sender, frame)
      return
    }
    const members = roster.resolve(to, id)
    if (members.length === 0) throw new Refusal('peer_not_found')
    const here: string[] = []
    const elsewhere = new Map<string, string[]>()
    for (const { connection_id: target, instance } of members) {
      if (instance === this.#broker.nonce) here.push(target)
      else elsewhere.set(instance, [...elsewhere.get(instance) ?? [], target])
    }
    if (here.length > 0) roster.deliver(id, here, frame)
    if (elsewhere.size > 0) this.#send(elsewhere, sender, frame)
  }

  /** Passes a change of a room on to the other instances among those that have to hear of it. */
  change (instances: readonly string[], room: string, epoch: string, change: RosterChange): void {
    const others = new Set(instances)
    others.delete(this.#broker.nonce)
    if (others.size === 0) return
    const record = encodeRecord({ kind: 'change', epoch, room, change })
    for (const instance of others) this.#broker.send(instance, record, true)
  }

  /**
   * @param elsewhere the instances it is for, and the members there; all of them when none is named
   * @throws Refusal unavailable when it cannot leave for one of them; the others get it all the same
   */
  #send (elsewhere: Iterable<readonly [instance: string, targets: string[]]>, { peer, roster: { epoch, room } }: Seat, frame: Frame): void {
    const encode = (targets: string[]): Buffer => encodeRecord({ kind: 'data', epoch, room, sender: peer.id, targets, frame })
    let forAll: Buffer | undefined
    let taken = true
    for (const [instance, targets] of elsewhere) {
      const record = targets.length === 0 ? forAll ??= encode(targets) : encode(targets)
      taken = this.#broker.send(instance, record) && taken
    }
    if (!taken) throw new Refusal('unavailable', 'The message did not leave for other instances', { data: { delivered: 'local' } })
  }
}

/** A message made anew from what the protocol names. @throws Refusal when its data nests too deeply to be written */
function rebuilt ({ peer, roster: { room } }: Seat, { data, to }: ClientMessageOf<'data'>): Frame {
  try {
    return frameOf({ type: 'data', from: infoOf(peer), room, data, ...(to !== undefined && { to }) })
  } catch (error) {
    throw new Refusal('bad_message', 'data: it nests too deeply', { cause: error })
  }
}
