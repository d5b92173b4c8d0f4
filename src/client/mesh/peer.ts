/** What a mesh shows of one member, and what both of them tell. */
import type { PeerInfo } from '../../protocol/messages.ts'
import type { Emitter } from '../emitter.ts'
import type { Path } from './stats.ts'

/**
 * - `new`: nothing was heard of the other side yet
 * - `connecting`: for the first time
 * - `connected`
 * - `reconnecting`: it was connected, and looks for another way
 * - `failed`: not connected for 20 s; it goes on trying as long as the member is there
 * - `closed`: over for good
 */
export type PeerState = 'new' | 'connecting' | 'connected' | 'reconnecting' | 'failed' | 'closed'

export interface PeerEvents {
  state: { peer: Peer, state: PeerState }
  /** The way to the other side is known, or another one. */
  path: { peer: Peer, path: Path }
  /** The other side sends a track; `streams` are those it was added with. */
  track: { peer: Peer, track: MediaStreamTrack, streams: readonly MediaStream[] }
  /** The first track of a stream came. Further ones, and the loss of one, are told by the stream itself. */
  stream: { peer: Peer, stream: MediaStream }
  /** The other side has opened a data channel. */
  channel: { peer: Peer, channel: RTCDataChannel }
  /** From now on it can be sent to. */
  open: { peer: Peer }
  /** What the other side's `send` was given. */
  message: { peer: Peer, data: string | ArrayBuffer }
  /** Something went wrong and the call goes on, as well as it can. */
  error: { peer: Peer, error: Error }
}

/** The connection with one member, until it is closed. After that the same member may get another one. */
export interface Peer extends Pick<Emitter<PeerEvents>, 'on' | 'once' | 'off'> {
  /** The member's connection_id. */
  readonly id: string
  readonly info: PeerInfo
  readonly state: PeerState
  /** How the two reach each other, once connected. */
  readonly path: Path | undefined
  /** What it sends, by streams that have a track. */
  readonly streams: readonly MediaStream[]
  /** The first of them. */
  readonly stream: MediaStream | undefined
  /** For what is not here. Its descriptions and candidates are the mesh's to exchange. */
  readonly connection: RTCPeerConnection
  /** Opens a data channel, at any time. The other side is told by its `channel` event, unless it is negotiated; id 0 is taken. */
  channel (label: string, init?: RTCDataChannelInit): RTCDataChannel
  /** @returns false when it was not taken: not connected yet, or too much waits */
  send (data: string | ArrayBuffer | ArrayBufferView<ArrayBuffer>): boolean
  /** In milliseconds; undefined while there is no path, or none was measured. */
  roundTripTime (): Promise<number | undefined>
}
