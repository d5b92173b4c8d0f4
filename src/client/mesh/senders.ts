/** What one connection sends, by track. */
export class Senders {
  readonly #connection: RTCPeerConnection
  readonly #senders = new Map<MediaStreamTrack, RTCRtpSender>()
  /** Those that have sent, and are to send no more: their `track` may lag behind. */
  readonly #released = new Set<RTCRtpSender>()

  constructor (connection: RTCPeerConnection) {
    this.#connection = connection
  }

  /** An idle sender is taken again, or each switch of a camera would add a section to every description. */
  async add (track: MediaStreamTrack, streams: MediaStream[]): Promise<void> {
    const taken = [...this.#senders.values()]
    const idle = this.#connection.getTransceivers().find(({ sender, receiver, direction }) =>
      direction === 'recvonly' && receiver.track.kind === track.kind && !taken.includes(sender) && (sender.track === null || this.#released.has(sender)))
    const sender = idle?.sender ?? this.#connection.addTrack(track, ...streams)
    this.#senders.set(track, sender)
    if (idle === undefined) return
    this.#released.delete(sender)
    idle.direction = 'sendrecv'
    sender.setStreams(...streams)
    await sender.replaceTrack(track)
  }

  async remove (track: MediaStreamTrack): Promise<void> {
    const sender = this.#senders.get(track)
    this.#senders.delete(track)
    const transceiver = this.#connection.getTransceivers().find(({ sender: other }) => other === sender)
    if (transceiver === undefined) return
    transceiver.direction = 'recvonly'
    this.#released.add(transceiver.sender)
    await transceiver.sender.replaceTrack(null)
  }

  async replace (old: MediaStreamTrack, track: MediaStreamTrack): Promise<void> {
    const sender = this.#senders.get(old)
    if (sender === undefined) return
    this.#senders.delete(old)
    this.#senders.set(track, sender)
    await sender.replaceTrack(track)
  }

  /** Has the next offer ask for kinds that nothing is sent of. */
  ask (kinds: Iterable<'audio' | 'video'>): void {
    const sent = [...this.#senders.keys()].map(({ kind }) => kind)
    for (const kind of kinds) if (!sent.includes(kind)) this.#connection.addTransceiver(kind, { direction: 'recvonly' })
  }
}
