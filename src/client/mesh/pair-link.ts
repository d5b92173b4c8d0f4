/** What the two ends of a pair say to each other by way of the server: the payload of `data` frames. */
export type Signal =
  | { type: 'offer' | 'answer', sdp: string }
  | { type: 'candidate', candidate: RTCIceCandidateInit }
  /** Nothing but its `link`. */
  | { type: 'ack' }
  /** This side has closed its connection on purpose. */
  | { type: 'bye' }

/** What makes a signal survive a loss. A peer without it is a client of its own making: it gets each signal once. */
export interface LinkHeader {
  /** The life of the pair, given by its leading side (the higher connection_id): a later one is larger. 0: a call without one. */
  life: number
  /** The following side's connection, as it may be another one in the same life: a later one is larger. The leading side names the one it has met. */
  by?: number
  /** Counts the signals of one side in this life, from 1. 0: this one is not counted. */
  seq: number
  /** The last one of the receiver's that the sender has. */
  ack: number
  /** Something after `ack` is missing: send it again at once. */
  gap?: true
  /** An earlier connection of the following side's has taken the first offer of this life: no other one can. */
  taken?: true
}

export type LinkedSignal = Signal & { link?: LinkHeader }

/** How long what came may wait for something that can carry its acknowledgement. */
const ACK_MS = 500
/** How often a gap is filled at the most. What is lacking after that comes by the next time. */
const GAP_MS = 300
/** When what was not acknowledged is sent again; each further time after twice as long. */
const RESEND_MS = 3_000
/** One minute and a half, with the times above: a member that does not answer that long has no mesh. Events try again. */
const RESEND_TIMES = 5

export interface PairLinkOptions {
  /** This side gives the life, and its call is the one that counts when both call. */
  leading: boolean
  /** This side makes the first offer. */
  calling: boolean
  /** Larger than any that this side had before: the life, or the name of the following side's connection. */
  birth: number
  /**
   * The other side's first offer that an earlier connection of this side has taken, by its life or its `by`; 0: none. That
   * one's checks and its DTLS may have reached the caller, answered or not, and a second one's would get nowhere.
   */
  taken: number
  /** Hands it to the server if it can; what is lost on the way is sent again. */
  transmit (signal: LinkedSignal): void
  /** What came from the other side: each signal once, in the order sent. */
  deliver (signal: Signal): void
  /** The other side has another connection than the one this link began with, so a new one is needed here too; it is to have this signal. */
  renew (signal: LinkedSignal): void
}

/**
 * Makes one pair's signals survive losses, which happen when an instance dies. Signals are numbered, acknowledged, sent
 * again until they are, and told from those of an earlier life of the pair.
 *
 * A life is the leading side's to begin: with its connection, and again when the other side turns out to have another
 * connection than the one it began with. The other side takes each later life with a new connection. Where both call, the
 * leading side takes no notice, and the other one begins anew without a call: a first offer that is rolled back can leave
 * a browser without data channels (seen in Chromium 156).
 */
export class PairLink {
  readonly #options: PairLinkOptions
  #life: number
  /** The other side's `by`. */
  #other = 0
  /** The other side sends no headers. */
  #plain = false
  /** This side has called, or is about to, and was not answered. */
  #calling: boolean
  #queue: Array<{ signal: Signal, seq: number }> = []
  #sent = 0
  #received = 0
  /** The last signal that came too early, 0 when none is awaited. The first such is told, and those that do not go on from there: they come again. */
  #early = 0
  #times = 0
  #filledAt = 0
  #resendTimer: ReturnType<typeof setTimeout> | undefined
  #ackTimer: ReturnType<typeof setTimeout> | undefined

  constructor (options: PairLinkOptions) {
    this.#options = options
    this.#calling = options.calling
    this.#life = options.leading ? options.birth : 0
  }

  /** The other side has answered, or has begun. */
  get heard (): boolean { return this.#plain || this.#received > 0 || this.#other !== 0 }

  /** @see PairLinkOptions.taken */
  get taken (): number {
    if (this.#received === 0) return this.#options.taken
    return this.#options.leading ? this.#other : this.#life
  }

  /** Another client than this library is on the other side. */
  get plain (): boolean { return this.#plain }

  /** The other side had its time: this one calls. */
  call (): void {
    this.#calling = true
  }

  send (signal: Signal): void {
    if (this.#plain) return this.#transmit(signal)
    this.#queue.push({ signal, seq: ++this.#sent })
    this.#transmit(signal, this.#sent)
    this.#resendTimer ??= this.#later()
  }

  /** Sends what was not acknowledged, or at least a sign of life: the other side is back, or something was lost. */
  resend (): void {
    this.#times = 0
    if (this.#sent > 0 && this.#queue.length === 0 && !this.#plain) this.#acknowledge()
    this.#again()
  }

  receive (signal: LinkedSignal): void {
    const { link } = signal
    if (link === undefined ? this.#isTaken(signal) : this.#plain) {
      this.#options.renew(signal)
    } else if (link === undefined) {
      this.#plain = true
      this.#calling = false
      this.#stop()
      this.#options.deliver(signal)
    } else if (this.#options.leading ? this.#leads(link, signal) : this.#follows(link, signal)) {
      this.#take(link, signal)
    }
  }

  /** Tells a side that understands it that this connection is over. */
  bye (): void {
    if (this.heard && !this.#plain) this.#transmit({ type: 'bye' })
  }

  close (): void {
    this.#stop()
    clearTimeout(this.#ackTimer)
    this.#ackTimer = undefined
  }

  /** Whether this call is in the way of the other side's, which counts. */
  #isTaken ({ type }: Signal): boolean {
    return type === 'offer' && this.#calling && !this.#options.leading
  }

  #leads ({ life, by = 0, ack, taken }: LinkHeader, signal: LinkedSignal): boolean {
    if (by < this.#other) return false
    if ((this.#other !== 0 && this.#other !== by) || (taken === true && life === this.#life)) {
      this.#options.renew(signal)
      return false
    }
    if (life !== 0 && life !== this.#life) {
      // The other side is to see that there is a later life.
      if (life < this.#life) this.#acknowledge()
      return false
    }
    // Until it has heard of the life, the other side can only be calling.
    if (life === 0 && this.#calling) {
      this.#again()
      return false
    }
    if (life === 0 && by <= this.#options.taken) return false // it is this side's turn to call
    // Who has had nothing may yet begin anew without a call.
    if (ack > 0 || life === 0) this.#other = by
    return true
  }

  #follows ({ life, by, seq }: LinkHeader, signal: LinkedSignal): boolean {
    if (life < this.#life || life === 0) return false
    // No life has had a part in it yet: not by its signals, and not by taking a call.
    const isFresh = this.#received === 0 && (this.#calling || this.#sent === 0)
    if (isFresh ? seq === 1 && this.#isTaken(signal) : life > this.#life) {
      this.#options.renew(signal)
      return false
    }
    if (life > this.#life) this.#early = 0
    this.#life = life
    const isOurs = by === undefined || by === this.#options.birth
    const isTaken = life <= this.#options.taken
    // So that the leading side sees whom it has met: there was another one of ours, or we have had nothing of this life.
    if (!isOurs || isTaken || (isFresh && seq === 0)) this.#acknowledge(isTaken ? { taken: true } : {})
    return isOurs && !isTaken
  }

  #take ({ seq, ack, gap }: LinkHeader, signal: Signal): void {
    const before = this.#queue.length
    this.#queue = this.#queue.filter(waiting => waiting.seq > ack)
    if (this.#queue.length < before) {
      this.#times = 0
      this.#rearm()
    }
    if (ack > 0 || seq === this.#received + 1) this.#calling = false
    if (gap) this.#fill()
    if (signal.type === 'bye') return this.#options.deliver(signal)
    if (seq === 0) return
    if (seq > this.#received + 1) {
      const isNext = this.#early !== 0 && seq > this.#early
      this.#early = seq
      if (!isNext) this.#acknowledge({ gap: true })
      return
    }
    this.#early = 0
    this.#ackTimer ??= setTimeout(() => { this.#acknowledge() }, ACK_MS)
    if (seq <= this.#received) return
    this.#received = seq
    this.#options.deliver(signal)
  }

  #acknowledge (more: Pick<LinkHeader, 'gap' | 'taken'> = {}): void {
    this.#transmit({ type: 'ack' }, 0, more)
  }

  /** The other side lacks something. It may say so as often as it likes: that must not make this side flood the server. */
  #fill (): void {
    const now = Date.now()
    if (now - this.#filledAt < GAP_MS) return
    this.#filledAt = now
    this.#again()
  }

  #again (): void {
    for (const { signal, seq } of this.#queue) this.#transmit(signal, seq)
    this.#rearm()
  }

  #rearm (): void {
    clearTimeout(this.#resendTimer)
    this.#resendTimer = this.#queue.length > 0 && this.#times < RESEND_TIMES ? this.#later() : undefined
  }

  #later (): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      this.#times++
      this.#again()
    }, RESEND_MS * 2 ** this.#times)
  }

  #stop (): void {
    this.#queue = []
    this.#rearm()
  }

  #transmit (signal: Signal, seq = 0, more: Pick<LinkHeader, 'gap' | 'taken'> = {}): void {
    if (this.#plain) return this.#options.transmit(signal)
    const { leading, birth, transmit } = this.#options
    const by = leading ? this.#other : birth
    clearTimeout(this.#ackTimer)
    this.#ackTimer = undefined
    transmit({
      ...signal,
      link: {
        // A call of the following side's belongs to no life until it is answered.
        life: leading || !this.#calling ? this.#life : 0,
        ...(by !== 0 && { by }),
        seq,
        ack: this.#received,
        ...more
      }
    })
  }
}
