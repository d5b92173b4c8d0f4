import type { Signal } from './pair-link.ts'

/** More candidates than a connection gathers: what is held beyond is a flood, or belongs to nothing that comes. */
const MAX_HELD = 100
/**
 * A need that an exchange does not meet comes back at its end, and would for ever: a data section that the other side
 * declines is one. So only a few offers may follow each other at once, and then one a second.
 */
const MAX_OFFERS = 8
const PAUSE_MS = 1_000

export interface NegotiatorOptions {
  connection: RTCPeerConnection
  /** Does not give way when two offers meet. */
  leading: boolean
  /** Makes the first offer; otherwise the other side's is waited for. */
  calling: boolean
  send (signal: Signal): void
  failed (error: Error): void
}

/**
 * Keeps a connection and the other side's in step: perfect negotiation, trickle ICE.
 * https://w3c.github.io/webrtc-pc/#perfect-negotiation-example
 *
 * One thing is done at a time, so whether two offers have met is plain to see from `signalingState`.
 */
export class Negotiator {
  readonly #connection: RTCPeerConnection
  readonly #options: NegotiatorOptions
  /** Offers may be made: the first of the pair has been, or is this side's to make. */
  #started: boolean
  /** The browser asked for an offer that was not made yet. */
  #needed = false
  #held: RTCIceCandidateInit[] = []
  #allowed = MAX_OFFERS
  #allowedAt = performance.now()
  #pause: ReturnType<typeof setTimeout> | undefined
  #last: Promise<void> = Promise.resolve()

  constructor (options: NegotiatorOptions) {
    this.#options = options
    this.#connection = options.connection
    this.#started = options.calling
    this.#connection.addEventListener('negotiationneeded', () => {
      this.#needed = true
      this.#inTurn(async () => { await this.#offer() })
    })
    this.#connection.addEventListener('icecandidate', ({ candidate }) => {
      if (candidate !== null) options.send({ type: 'candidate', candidate: candidate.toJSON() })
    })
  }

  receive (signal: Signal): void {
    this.#inTurn(async () => {
      if (signal.type === 'candidate') await this.#candidate(signal.candidate)
      else if (signal.type === 'offer' || signal.type === 'answer') await this.#description(signal)
    })
  }

  /** Makes the first offer after all. */
  call (): void {
    this.#started = true
    this.#inTurn(async () => { await this.#offer() })
  }

  close (): void {
    clearTimeout(this.#pause)
  }

  /** The event comes again when an exchange ends and an offer is still needed, so none has to be remembered. */
  async #offer (): Promise<void> {
    if (!this.#started || !this.#needed || this.#connection.signalingState !== 'stable') return
    const now = performance.now()
    this.#allowed = Math.min(MAX_OFFERS, this.#allowed + (now - this.#allowedAt) / PAUSE_MS)
    this.#allowedAt = now
    if (this.#allowed < 1) {
      clearTimeout(this.#pause)
      this.#pause = setTimeout(() => { this.#inTurn(async () => { await this.#offer() }) }, PAUSE_MS)
      return
    }
    this.#allowed--
    this.#needed = false
    await this.#connection.setLocalDescription()
    this.#say()
  }

  async #description ({ type, sdp }: { type: 'offer' | 'answer', sdp: string }): Promise<void> {
    const { signalingState } = this.#connection
    // Two offers have met, and the other side gives way; or an answer to nothing.
    if (type === 'offer' ? signalingState !== 'stable' && this.#options.leading : signalingState !== 'have-local-offer') return
    this.#started = true
    this.#needed = false
    await this.#connection.setRemoteDescription({ type, sdp })
    for (const candidate of this.#held.splice(0)) await this.#candidate(candidate)
    if (type === 'answer') return
    await this.#connection.setLocalDescription()
    this.#say()
  }

  /** Held until the description it belongs to is there, which may be never: its offer may have given way. */
  async #candidate (candidate: RTCIceCandidateInit): Promise<void> {
    const description = this.#connection.remoteDescription
    const { usernameFragment: name } = candidate
    const fits = description !== null && (name == null || name === '' || description.sdp.split(/\r?\n/).includes(`a=ice-ufrag:${name}`))
    if (!fits) {
      this.#held.push(candidate)
      this.#held.splice(0, this.#held.length - MAX_HELD)
      return
    }
    try {
      await this.#connection.addIceCandidate(candidate)
    } catch (error) {
      // no reason to do without the others, or without an answer
      this.#trouble(error)
    }
  }

  #say (): void {
    const description = this.#connection.localDescription
    if (description?.type === 'offer' || description?.type === 'answer') {
      this.#options.send({ type: description.type, sdp: description.sdp })
    }
  }

  #inTurn (step: () => Promise<void>): void {
    this.#last = this.#last.then(step).catch((error: unknown) => { this.#trouble(error) })
  }

  #trouble (error: unknown): void {
    if (this.#connection.signalingState !== 'closed') this.#options.failed(error instanceof Error ? error : new Error(String(error)))
  }
}
