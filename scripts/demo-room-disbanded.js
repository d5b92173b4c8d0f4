/**
 * Shows when a room ends and who is told: docs/testing-room-disbanded.md goes through it step by step.
 */
import { randomBytes } from 'node:crypto'
import { readFlags } from './command-line.js'
import { SERVER_FLAGS, SERVER_HELP, Trouble, reachServer, tellTrouble } from './reach-server.js'
import { SignalingClient } from './signaling-client.js'

/** @import { Frame } from './signaling-client.js' */

const HELP = `Usage: scripts/demo-room-disbanded [--url http://localhost:5004] [--secret ACCESS_SECRET] [--own]

Three members and a watcher show when a room ends: when its last member leaves, and when a member asks for it. Prints
each frame that each of them sends (>) and gets (<), and exits with 1 if one is missing or comes twice.

${SERVER_HELP}`

const flags = readFlags(HELP, SERVER_FLAGS)
const room = `demo-${randomBytes(3).toString('hex')}`

await tellTrouble(run)

async function run () {
  const server = await reachServer(flags)
  /** @type {SignalingClient[]} */
  const clients = []
  try {
    /**
     * @param {string} name
     * @param {string[]} [rooms]
     */
    const connect = async (name, rooms) => {
      const client = await SignalingClient.open(server.url, await server.tokenFor({ username: name, ...(rooms && { rooms }) }), shower(name))
      clients.push(client)
      return client
    }

    title('Four clients connect. Wanda watches: her token names the rooms that it is about')
    const wanda = await connect('Wanda', ['demo-*'])
    const ada = await connect('Ada')
    const ben = await connect('Ben')
    const cleo = await connect('Cleo')
    await wanda.ask({ type: 'watch' }, 'watching')

    title('The first join creates the room')
    await ada.ask({ type: 'join', room }, 'joined')
    await wanda.next('room_created')
    await ben.ask({ type: 'join', room }, 'joined')
    await ada.next('user_joined')
    await cleo.ask({ type: 'join', room }, 'joined')
    await Promise.all([ada.next('user_joined'), ben.next('user_joined')])

    title('Ada and Ben leave: the room goes on without them')
    await ada.ask({ type: 'leave' }, 'left')
    await Promise.all([ben.next('user_left'), cleo.next('user_left')])
    await ben.ask({ type: 'leave' }, 'left')
    await cleo.next('user_left')
    expect('No room_disbanded so far', [wanda, ada, ben, cleo].every(client => client.count('room_disbanded') === 0))

    title('Cleo is the last one: the room ends')
    await cleo.ask({ type: 'leave' }, 'left')
    await Promise.all([cleo, wanda].map(async client => expectReason(await client.next('room_disbanded'), 'last_member_left')))

    title('The same name again is a new room, and its versions begin at 1')
    const { version } = await ada.ask({ type: 'join', room }, 'joined')
    expect('The new room is at version 1', version === 1)
    await wanda.next('room_created')
    await ben.ask({ type: 'join', room }, 'joined')
    await ada.next('user_joined')

    title('Ben ends it for everybody')
    ben.send({ type: 'disband_room' })
    await Promise.all([ada, ben, wanda].map(async client => expectReason(await client.next('room_disbanded'), 'user_requested')))

    title('Their connections stay open, outside a room')
    const { code } = await ada.ask({ type: 'data', data: 'Anybody there?' }, 'error')
    expect('Ada is in no room', code === 'not_in_room')

    // What was sent before the answer has come before it: whatever came twice is here by now.
    await Promise.all(clients.map(async client => await client.ask({ type: 'ping' }, 'pong')))
    title('Told once each')
    expect('Wanda, the watcher, was told of two births and two ends', wanda.count('room_created') === 2 && wanda.count('room_disbanded') === 2)
    expect('Ada and Ben, members at the second end, were told of that one', ada.count('room_disbanded') === 1 && ben.count('room_disbanded') === 1)
    expect('Cleo, the last to leave, was told of the first', cleo.count('room_disbanded') === 1)
  } finally {
    await Promise.all(clients.map(async client => await client.close()))
    await server.stop()
  }
}

/** @param {string} text */
function title (text) {
  console.log(`\n${text}`)
}

/**
 * @param {string} what
 * @param {boolean} holds
 */
function expect (what, holds) {
  if (!holds) throw new Trouble(`This should hold, and does not: ${what}`)
  console.log(`  ok: ${what}`)
}

/**
 * @param {Frame} frame
 * @param {string} reason
 */
function expectReason ({ data }, reason) {
  if (data.room !== room || data.reason !== reason) throw new Trouble(`room_disbanded should be of ${room}, ${reason}; it is ${JSON.stringify(data)}`)
}

/**
 * @param {string} name
 * @returns {(direction: '>' | '<', frame: Frame) => void}
 */
function shower (name) {
  return (direction, frame) => {
    if (frame.type === 'ping' || frame.type === 'pong') return
    const time = new Date().toISOString().slice(11, 23)
    console.log(`  ${time}  ${name.padEnd(5)} ${direction} ${`${frame.type} ${detailOf(frame)}`.trimEnd()}`)
  }
}

/**
 * @param {Frame} frame
 * @returns {string}
 */
function detailOf (frame) {
  const { type, data } = frame
  switch (type) {
    case 'welcome': return `to ${data.instance_id}`
    case 'join': return frame.room
    case 'joined': return `${data.room}, version ${frame.version}, with ${namesOf(data.members)}`
    case 'ready':
    case 'user_joined':
    case 'user_left': return data.username
    case 'left':
    case 'room_created': return data.room
    case 'room_disbanded': return data === undefined ? '' : `${data.room}, ${data.reason}`
    case 'data': return JSON.stringify(data)
    case 'error': return `${frame.code}: ${frame.error}`
    default: return ''
  }
}

/** @param {Array<{ username: string }>} members */
function namesOf (members) {
  return members.map(({ username }) => username).join(' and ') || 'nobody'
}
