/** States in words, for a person. */

/** By `PeerState`. */
const STATES = {
  new: 'connecting',
  connecting: 'connecting',
  connected: 'connected',
  reconnecting: 'reconnecting',
  failed: 'failed',
  closed: 'ended'
}

/** By `Path`: how far the pictures have to go. */
const PATHS = {
  host: 'Directly, inside one network',
  srflx: 'Directly, through a NAT that a STUN server looked behind',
  prflx: 'Directly, through a NAT that was found on the way',
  relay: 'Through a TURN server'
}

/**
 * @typedef {object} Way between this page and another
 * @property {import('./client/index.js').PeerState} state
 * @property {import('./client/index.js').Path} [path]
 * @property {number} [rtt] round trip, ms
 * @property {string} [cause] why it failed
 * @property {boolean} [away] the server does not see the other one any more
 */

/**
 * @param {Way} way
 * @returns {string}
 */
export const stateOf = ({ state }) => STATES[state]

/**
 * @param {Way} way
 * @returns {string} where the connection leads and how long it takes; empty while there is none
 */
export function pathOf ({ state, path, rtt }) {
  if (state !== 'connected' || path === undefined) return ''
  return rtt === undefined ? path : `${path} \u00b7 ${rtt < 1 ? '<1' : Math.round(rtt)} ms`
}

/**
 * @param {Way} way
 * @returns {string} all there is to know
 */
export function explain ({ state, path, cause, away }) {
  if (state === 'failed') return cause ? `${cause}. Still trying` : 'Still trying'
  if (away) return 'Away from the server'
  return state === 'connected' && path !== undefined ? PATHS[path] : ''
}
