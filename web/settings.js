/** What the page was asked for in its address, and what it takes where the address is silent. */

/** A room name as the server takes it. */
export const ROOM_NAME = /^[A-Za-z0-9_.:@-]{1,128}$/

const MOODS = ['Calm', 'Brave', 'Merry', 'Quiet', 'Sunny', 'Clever', 'Gentle', 'Swift', 'Kind', 'Bright', 'Lucky', 'Jolly']
const ANIMALS = ['Heron', 'Otter', 'Badger', 'Finch', 'Hare', 'Lynx', 'Robin', 'Seal', 'Wren', 'Fox', 'Owl', 'Marten']

/**
 * Random letters and digits. `crypto.randomUUID` is not there on plain http, and this page may be opened so.
 * @param {number} bytes
 * @returns {string} twice as many hexadecimal digits
 */
export function randomId (bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** @returns {string} a name that is easy to tell from another tab's */
function friendlyName () {
  const [mood, animal] = crypto.getRandomValues(new Uint32Array(2))
  return `${MOODS[mood % MOODS.length]} ${ANIMALS[animal % ANIMALS.length]}`
}

/**
 * @param {string | null} server address of another instance, from the link
 * @returns {URL | null} where that instance's routes are, null when the link names none that can be used
 */
function otherInstance (server) {
  if (!server || !URL.canParse(server)) return null
  const url = new URL(server.endsWith('/') ? server : `${server}/`)
  return url.protocol === 'http:' || url.protocol === 'https:' ? url : null
}

/** @param {string} hash what follows the page's address, with its sign */
function roomOfHash (hash) {
  try {
    return decodeURIComponent(hash.slice(1))
  } catch {
    return ''
  }
}

/**
 * @param {string} address the page's own address
 * @returns {{ name: string, room: string, userId: string, invited: boolean, base: URL, elsewhere: boolean, media: boolean, autojoin: boolean }}
 *   `invited`: the link names the room; `base` is what `generate-token` and `ws` are relative to; `elsewhere` says that it is not where the page came from
 */
export function readSettings (address) {
  const page = new URL(address)
  const query = page.searchParams
  const wished = [query.get('room'), roomOfHash(page.hash)].find((room) => ROOM_NAME.test(room ?? ''))
  const server = otherInstance(query.get('server'))
  return {
    name: query.get('name')?.trim().slice(0, 64) || friendlyName(),
    room: wished ?? 'lobby',
    invited: wished !== undefined,
    // New for every load: a duplicated tab copies its session storage, and two tabs must not be one user.
    userId: `demo-${randomId(8)}`,
    base: server ?? new URL('.', page),
    elsewhere: server !== null && server.origin !== page.origin,
    media: query.get('media') !== 'none',
    autojoin: query.get('autojoin') === '1'
  }
}

/**
 * The link that brings somebody else into a room. It says nothing about the person who copies it.
 * @param {string} address the page's own address
 * @param {string} room
 * @returns {string}
 */
export function roomLink (address, room) {
  const page = new URL(address)
  const link = new URL(page.pathname, page)
  link.searchParams.set('room', room)
  const server = page.searchParams.get('server')
  if (server) link.searchParams.set('server', server)
  return link.href
}
