/** What a connection's statistics tell of its way through the network. */

/** How the two sides reach each other: the farther of both ends, so `relay` if either side needs one. */
export type Path = 'host' | 'srflx' | 'prflx' | 'relay'

/** From the same network to a relay. A `prflx` end is behind a NAT that its STUN server did not see. */
const FARTHER: Path[] = ['host', 'srflx', 'prflx', 'relay']

interface Report {
  id: string
  type: string
  selectedCandidatePairId?: string
  localCandidateId?: string
  remoteCandidateId?: string
  nominated?: boolean
  state?: string
  currentRoundTripTime?: number
  candidateType?: Path
}

async function reportsOf (connection: RTCPeerConnection): Promise<Map<string, Report>> {
  const reports = new Map<string, Report>();
  (await connection.getStats()).forEach((report: Report) => reports.set(report.id, report))
  return reports
}

/** @returns undefined while there is no pair in use; the time in milliseconds, if it was measured */
export async function pathOf (connection: RTCPeerConnection): Promise<{ path: Path, roundTripTime: number | undefined } | undefined> {
  const reports = await reportsOf(connection)
  const all = [...reports.values()]
  // Not every browser names the selected pair.
  const pair = reports.get(all.find(({ selectedCandidatePairId: id }) => id)?.selectedCandidatePairId ?? '') ??
    all.find(({ type, nominated, state }) => type === 'candidate-pair' && nominated === true && state === 'succeeded')
  if (pair === undefined) return undefined
  const ends = [pair.localCandidateId, pair.remoteCandidateId].map(id => FARTHER.indexOf(reports.get(id ?? '')?.candidateType ?? 'host'))
  const { currentRoundTripTime: seconds } = pair
  return { path: FARTHER[Math.max(...ends)] ?? 'host', roundTripTime: seconds === undefined ? undefined : seconds * 1000 }
}

/** Why a connection has not come about, as well as one side can tell. */
export async function whyNoPath (connection: RTCPeerConnection): Promise<string> {
  if (connection.remoteDescription === null) return 'No answer came'
  const reports = [...(await reportsOf(connection)).values()]
  const [here, there] = ['local-candidate', 'remote-candidate'].map(side => {
    const types = reports.filter(({ type }) => type === side).map(({ candidateType }) => candidateType)
    return [...new Set(types)].join(', ') || 'none'
  })
  return `No path was found between candidates here (${here}) and there (${there})`
}
