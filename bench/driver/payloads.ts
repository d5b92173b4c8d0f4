/** What browsers tell each other, in the sizes they have: JSON. */

const SDP_BYTES = 2400
const SDP_START = ['v=0', 'o=- 3155760000000000000 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=group:BUNDLE 0 1', 'a=msid-semantic: WMS']
const SDP_CODEC = ['a=rtpmap:96 VP8/90000', 'a=rtcp-fb:96 goog-remb', 'a=rtcp-fb:96 transport-cc', 'a=rtcp-fb:96 ccm fir', 'a=rtcp-fb:96 nack pli']

function sdp (): string {
  const lines = [...SDP_START]
  while (lines.length * 20 < SDP_BYTES * 2) lines.push(...SDP_CODEC)
  return lines.join('\r\n').slice(0, SDP_BYTES)
}

export const offer = JSON.stringify({ type: 'offer', sdp: sdp() })
export const answer = JSON.stringify({ type: 'answer', sdp: sdp() })
export const candidate = JSON.stringify({
  type: 'candidate',
  candidate: {
    candidate: 'candidate:2739281123 1 udp 1677729535 203.0.113.24 51234 typ srflx raddr 192.0.2.7 rport 51234 generation 0 ufrag k3Fq network-cost 999',
    sdpMid: '0',
    sdpMLineIndex: 0
  }
})

/** A small message of so many bytes. */
export function filler (bytes: number): string {
  const empty = JSON.stringify({ type: 'note', text: '' })
  return JSON.stringify({ type: 'note', text: 'x'.repeat(Math.max(0, bytes - empty.length)) })
}
