/** The own camera and microphone. */

/** Gentle on purpose: in a mesh every other member gets a copy of its own. */
const CONSTRAINTS = {
  audio: true,
  video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 24 } }
}

const STILL = 'You can still see, hear and chat.'

/**
 * @param {Error} error from `getUserMedia`
 * @param {string} what was asked for
 * @returns {string} one calm line
 */
function explain (error, what) {
  if (!navigator.mediaDevices) return `Browsers give camera and microphone to https and localhost only. ${STILL}`
  if (error.name === 'NotAllowedError' || error.name === 'SecurityError') return `Your ${what} was not allowed. ${STILL}`
  if (error.name === 'NotFoundError') return `No ${what} was found. ${STILL}`
  if (error.name === 'NotReadableError') return `Your ${what} is in use by another program. ${STILL}`
  return `Your ${what} did not start. ${STILL}`
}

/** Camera and microphone, each of which may be absent, and may come and go during a call. */
export class LocalMedia {
  /** The one stream that both tracks belong to, for the own picture and for the senders. */
  stream = new MediaStream()
  #changed
  /** Grows with every stop: what was asked for before it is not wanted any more. */
  #run = 0

  /** @param {(track: MediaStreamTrack, isSent: boolean) => void} changed a track came, went, or was muted */
  constructor (changed) {
    this.#changed = changed
  }

  /** @returns {MediaStreamTrack | null} */
  get audio () {
    return this.stream.getAudioTracks()[0] ?? null
  }

  /** @returns {MediaStreamTrack | null} */
  get video () {
    return this.stream.getVideoTracks()[0] ?? null
  }

  /** @returns {{ audio: boolean, video: boolean }} what the others get */
  get sending () {
    return { audio: this.audio?.enabled ?? false, video: this.video !== null }
  }

  /**
   * Asks for both, and makes do with one.
   * @returns {Promise<string>} what is missing, in one line; empty when nothing is
   */
  async start () {
    const run = this.#run
    const failure = await this.#take({ audio: true, video: true }, run)
    if (!failure) return ''
    // A person who said no is not asked again.
    if (!navigator.mediaDevices || failure.name === 'NotAllowedError') return explain(failure, 'camera or microphone')
    const noVideo = await this.#take({ video: true }, run)
    if (!noVideo) return 'No microphone: the others see you, but do not hear you.'
    const noAudio = await this.#take({ audio: true }, run)
    return noAudio ? explain(failure, 'camera or microphone') : 'No camera: the others hear you, but do not see you.'
  }

  /**
   * Turns one kind on or off. A microphone is muted; a camera is released, so that its light goes out.
   * @param {'audio' | 'video'} kind
   * @returns {Promise<string>} why it is not on, in one line; empty when it did as told
   */
  async toggle (kind) {
    const track = this[kind]
    if (!track) {
      const failure = await this.#take({ [kind]: true }, this.#run)
      return failure ? explain(failure, kind === 'audio' ? 'microphone' : 'camera') : ''
    }
    if (kind === 'audio') {
      track.enabled = !track.enabled
      this.#changed(track, true)
    } else {
      this.#release(track)
    }
    return ''
  }

  /** Releases all devices. */
  stop () {
    this.#run++
    for (const track of this.stream.getTracks()) this.#release(track)
  }

  #release (track) {
    track.onended = null
    track.stop()
    this.stream.removeTrack(track)
    this.#changed(track, false)
  }

  async #take (kinds, run) {
    let got
    try {
      got = await navigator.mediaDevices.getUserMedia(
        Object.fromEntries(Object.keys(kinds).map((kind) => [kind, CONSTRAINTS[kind]])))
    } catch (error) {
      return error
    }
    for (const track of got.getTracks()) {
      if (run !== this.#run || this[track.kind]) {
        track.stop()
        continue
      }
      this.stream.addTrack(track)
      // Unplugged, or withdrawn in the browser's own controls.
      track.onended = () => this.#release(track)
      this.#changed(track, true)
    }
    return null
  }
}
