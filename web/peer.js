/** How long the one who was here first waits for the newcomer's offer before it makes one itself. */
const OFFER_PATIENCE_MS = 4_000
/** A connection without one pair of candidates to try never fails by itself; this is when it counts as failed. */
const SETUP_MS = 20_000

/**
 * One call with one other member: perfect negotiation, trickle ICE, both media and a data channel.
 * https://w3c.github.io/webrtc-pc/#perfect-negotiation-example
 */
export class Peer {
  /** What the other side sends; it may grow during the call. */
  stream = new MediaStream()
  #pc
  #channel = null
  #senders = {}
  #local
  #polite
  #on
  #started = false
  #startedAt = 0
  #timer = null
  #makingOffer = false
  #ignoreOffer = false
  #settingAnswer = false
  #restarted = false
  #early = []

  /**
   * @param {object} options
   * @param {boolean} options.polite gives way when both sides offer at once
   * @param {boolean} options.offering makes the first offer; the other side waits for it
   * @param {RTCIceServer[]} options.iceServers
   * @param {import('./media.js').LocalMedia} options.local
   * @param {object} options.on
   * @param {(data: object) => void} options.on.signal to be carried to the other side
   * @param {(state: RTCPeerConnectionState) => void} options.on.state `failed` too when nothing came of it in time
   * @param {() => void} options.on.stream a track came or ended
   * @param {(message: object) => void} options.on.message from the data channel
   * @param {() => void} options.on.channel the data channel is open
   * @param {(ms: number, path: string) => void} options.on.connected time it took, and the own candidate's type
   * @param {(text: string) => void} options.on.trouble
   */
  constructor ({ polite, offering, iceServers, local, on }) {
    this.#polite = polite
    this.#local = local
    this.#on = on
    // One transport for all, from the start: a third of the candidates.
    this.#pc = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' })
    this.#pc.onnegotiationneeded = () => this.#offer()
    this.#pc.onicecandidate = ({ candidate }) => {
      if (candidate) on.signal({ type: 'candidate', candidate: candidate.toJSON() })
    }
    this.#pc.ontrack = ({ track }) => this.#incoming(track)
    this.#pc.onconnectionstatechange = () => this.#stateChanged()
    if (offering) this.#start(true)
    else this.#timer = setTimeout(() => this.#start(true), OFFER_PATIENCE_MS)
  }

  /**
   * `muted` is not asked: in Chromium it may stay true on a track that plays, when an offer was rolled back.
   * @returns {boolean} whether the other side has a picture to send
   */
  get hasVideo () {
    return this.stream.getVideoTracks().some((track) => track.readyState === 'live')
  }

  /** @param {object} data a description or a candidate, from the other side */
  async receive (data) {
    try {
      if (data.type === 'candidate') await this.#candidate(data.candidate)
      else await this.#description(data)
    } catch (error) {
      if (this.#pc.signalingState !== 'closed') this.#on.trouble(`${data.type}: ${error.message}`)
    }
  }

  /**
   * @param {object} message
   * @returns {boolean} false when the channel is not open
   */
  send (message) {
    if (this.#channel?.readyState !== 'open') return false
    this.#channel.send(JSON.stringify(message))
    return true
  }

  /**
   * Puts an own track in place of the last one. The first of its kind makes a new offer necessary, all others do not.
   * @param {'audio' | 'video'} kind
   * @param {MediaStreamTrack | null} track
   */
  async setTrack (kind, track) {
    if (!this.#started) return
    if (this.#senders[kind]) await this.#senders[kind].replaceTrack(track)
    else if (track) this.#senders[kind] = this.#pc.addTrack(track, this.#local.stream)
  }

  /** @param {RTCIceServer[]} iceServers for what is gathered from now on */
  setIceServers (iceServers) {
    this.#pc.setConfiguration({ ...this.#pc.getConfiguration(), iceServers })
  }

  /** Ends the call; nothing is reported after it. */
  close () {
    clearTimeout(this.#timer)
    this.#pc.close()
  }

  /**
   * Until here the connection is empty and makes no offer, so that the newcomer's comes first and nothing collides.
   * A kind that this side does not send is still asked for, by whoever offers.
   */
  #start (offering) {
    if (this.#started) return
    this.#started = true
    this.#startedAt = performance.now()
    this.#expect()
    for (const kind of ['audio', 'video']) {
      const track = this.#local[kind]
      if (track) this.#senders[kind] = this.#pc.addTrack(track, this.#local.stream)
      else if (offering) this.#pc.addTransceiver(kind, { direction: 'recvonly' })
    }
    this.#channel = this.#pc.createDataChannel('turnip', { negotiated: true, id: 0 })
    this.#channel.onopen = () => this.#on.channel()
    this.#channel.onmessage = ({ data }) => this.#message(data)
  }

  async #offer () {
    try {
      this.#makingOffer = true
      await this.#pc.setLocalDescription()
      const { type, sdp } = this.#pc.localDescription
      this.#on.signal({ type, sdp })
    } catch (error) {
      if (this.#pc.signalingState !== 'closed') this.#on.trouble(`offer: ${error.message}`)
    } finally {
      this.#makingOffer = false
    }
  }

  async #description ({ type, sdp }) {
    const ready = !this.#makingOffer && (this.#pc.signalingState === 'stable' || this.#settingAnswer)
    this.#ignoreOffer = type === 'offer' && !ready && !this.#polite
    if (this.#ignoreOffer) return
    this.#start(false)
    this.#settingAnswer = type === 'answer'
    try {
      await this.#pc.setRemoteDescription({ type, sdp })
    } finally {
      this.#settingAnswer = false
    }
    for (const candidate of this.#early.splice(0)) await this.#add(candidate)
    if (type !== 'offer') return
    await this.#pc.setLocalDescription()
    const answer = this.#pc.localDescription
    this.#on.signal({ type: answer.type, sdp: answer.sdp })
  }

  async #candidate (candidate) {
    // What follows an offer that was not taken belongs to it.
    if (this.#ignoreOffer) return
    if (this.#pc.remoteDescription) await this.#add(candidate)
    else this.#early.push(candidate)
  }

  /** One candidate that does not fit is no reason to do without the others, or without an answer. */
  async #add (candidate) {
    try {
      await this.#pc.addIceCandidate(candidate)
    } catch (error) {
      if (this.#pc.signalingState !== 'closed') this.#on.trouble(`candidate: ${error.message}`)
    }
  }

  #incoming (track) {
    for (const old of this.stream.getTracks()) {
      if (old.kind === track.kind) this.stream.removeTrack(old)
    }
    this.stream.addTrack(track)
    track.onended = () => this.#on.stream()
    this.#on.stream()
  }

  #message (text) {
    try {
      this.#on.message(JSON.parse(text))
    } catch {
      this.#on.trouble('a channel message that is no JSON')
    }
  }

  #stateChanged () {
    const state = this.#pc.connectionState
    if (state === 'failed') return this.#failed()
    this.#on.state(state)
    if (state === 'connected') this.#connected()
  }

  #expect () {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#failed(), SETUP_MS)
  }

  /** One side only restarts, or the two would collide; and once, because a second try would find the same network. */
  #failed () {
    clearTimeout(this.#timer)
    this.#on.state('failed')
    if (this.#polite || this.#restarted) return
    this.#restarted = true
    this.#on.trouble('failed, restarting ICE')
    this.#pc.restartIce()
    this.#expect()
  }

  async #connected () {
    clearTimeout(this.#timer)
    this.#restarted = false
    const ms = Math.round(performance.now() - this.#startedAt)
    const stats = new Map(await this.#pc.getStats())
    const all = [...stats.values()]
    const pair = stats.get(all.find(({ type }) => type === 'transport')?.selectedCandidatePairId) ??
      all.find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded')
    this.#on.connected(ms, stats.get(pair?.localCandidateId)?.candidateType ?? 'unknown')
  }
}
