import { Call } from './call.js'
import { detailOf } from './frames.js'
import { LocalMedia } from './media.js'
import { Chat, Events, Members } from './panels.js'
import { readSettings, roomLink } from './settings.js'
import { Tiles } from './tiles.js'

/** A question about the camera that is not answered does not keep a person out of the room for longer. */
const MEDIA_PATIENCE_MS = 10_000

const byId = (id) => document.getElementById(id)
const settings = readSettings(document.baseURI)

const members = new Members(byId('members'), byId('member-count'))
const chat = new Chat(byId('chat-log'))
const events = new Events(byId('events'))
const tiles = new Tiles(byId('tiles'), (silenced) => { byId('silenced').hidden = !silenced })
const local = new LocalMedia((kind, track) => {
  showLocal()
  call.setTrack(kind, track)
})
const call = new Call({
  base: settings.base,
  userId: settings.userId,
  local,
  on: {
    state: showState,
    note: showCallNote,
    news: (text) => chat.news(text),
    event: (direction, frame) =>
      events.add(direction, frame.type, frame.detail ?? detailOf(frame, (id) => call.nameOf(id))),
    members: showPeople,
    chat: (id, text) => chat.said(call.nameOf(id), text, false),
    peer: (id, state) => tiles.state(id, state),
    media: (id, view) => tiles.media(id, view)
  }
})

/**
 * @param {'note' | 'media-note'} id
 * @param {string} text empty hides the line
 */
function showNote (id, text) {
  byId(id).textContent = text
  byId(id).hidden = text === ''
}

/** A passing note stays long enough to be read. */
let passing = 0

/**
 * @param {string} text
 * @param {boolean} [goes] by itself, after a while
 */
function showCallNote (text, goes = false) {
  clearTimeout(passing)
  showNote('note', text)
  if (goes) passing = setTimeout(showNote, 8_000, 'note', '')
}

/** The own picture and the two switches. */
function showLocal () {
  const { audio, video } = local.sending
  byId('mic').setAttribute('aria-pressed', audio)
  byId('camera').setAttribute('aria-pressed', video)
  tiles.own(local.stream, { audio, video })
}

/** Tiles and member list. */
function showPeople () {
  const others = [...call.members.values()].map((member) => ({ id: member.connection_id, name: member.username }))
  const own = call.room && call.self ? { id: call.self.connection_id, name: call.self.username } : null
  tiles.show(own, others)
  members.show(own ? [{ ...own, self: true }, ...others] : others)
  byId('alone').hidden = others.length > 0
  showLocal()
}

/** @param {string} state */
function showState (state) {
  const inCall = call.room !== null
  const view = inCall ? 'call' : 'lobby'
  const words = {
    idle: 'Not connected',
    connecting: 'Connecting',
    open: call.busy ? 'Joining' : 'Connected, in no room',
    'in-room': `In ${call.room}`,
    reconnecting: 'Reconnecting',
    closed: 'Disconnected'
  }
  document.body.dataset.state = state
  byId('status').textContent = words[state]
  byId('instance').textContent = call.self ? `on ${call.self.instance_id}` : ''
  byId('join').disabled = call.busy
  byId('join').textContent = call.busy ? 'Joining' : 'Join'
  byId('cancel').hidden = !call.busy
  byId('name').disabled = byId('room').disabled = call.busy
  for (const id of ['chat-text', 'chat-send', 'disband']) byId(id).disabled = state !== 'in-room'
  if (document.body.dataset.view !== view) {
    document.body.dataset.view = view
    // What had the focus is gone from the page; who uses the keyboard goes on from here.
    byId(inCall ? 'call' : 'join').focus({ preventScroll: true })
  }
  document.title = inCall ? `${call.room} \u2013 Turnip` : 'Turnip'
}

/** Asks for camera and microphone unless the link said not to. */
async function startMedia () {
  if (!settings.media) return showNote('media-note', 'Joined without camera and microphone. You can still see, hear and chat.')
  const asking = setTimeout(showNote, 1_000, 'media-note', 'Your browser is asking for camera and microphone.')
  const missing = await local.start()
  clearTimeout(asking)
  showNote('media-note', missing)
}

function join () {
  const username = byId('name').value.trim()
  const room = byId('room').value.trim()
  history.replaceState(null, '', roomLink(location.href, room))
  const patience = new Promise((resolve) => { setTimeout(resolve, MEDIA_PATIENCE_MS) })
  call.join({ username, room, ready: Promise.race([startMedia(), patience]) })
}

/** The clipboard is for secure pages; elsewhere the old way still works. */
async function copyLink () {
  const link = roomLink(location.href, call.room)
  try {
    await navigator.clipboard.writeText(link)
  } catch {
    const field = document.createElement('textarea')
    field.value = link
    document.body.append(field)
    field.select()
    const copied = document.execCommand('copy')
    field.remove()
    if (!copied) return showNote('note', link)
  }
  byId('copied').textContent = 'Link copied'
  setTimeout(() => { byId('copied').textContent = '' }, 2_000)
}

/** @param {'audio' | 'video'} kind */
async function toggle (kind) {
  showNote('media-note', await local.toggle(kind))
}

byId('name').value = settings.name
byId('room').value = settings.room
if (settings.elsewhere) {
  byId('elsewhere').hidden = false
  byId('elsewhere').textContent = `Through the server ${settings.base.host}`
}

byId('join-form').addEventListener('submit', (event) => {
  event.preventDefault()
  if (!call.busy) join()
})
byId('cancel').addEventListener('click', () => call.leave())
byId('leave').addEventListener('click', () => {
  call.leave()
  showNote('media-note', '')
})
byId('disband').addEventListener('click', () => call.disband())
byId('mic').addEventListener('click', () => toggle('audio'))
byId('camera').addEventListener('click', () => toggle('video'))
byId('copy-link').addEventListener('click', copyLink)
byId('clear-events').addEventListener('click', () => events.clear())
byId('chat-form').addEventListener('submit', (event) => {
  event.preventDefault()
  const text = byId('chat-text').value.trim()
  if (!text) return
  call.chat(text)
  chat.said(call.self.username, text, true)
  if (call.members.size === 0) chat.news('Nobody else is here yet')
  byId('chat-text').value = ''
})
for (const gesture of ['pointerdown', 'keydown']) {
  document.addEventListener(gesture, () => {
    if (!byId('silenced').hidden) tiles.unsilence()
  })
}
// A page that goes into the back-forward cache comes back as one that has left.
addEventListener('pagehide', () => call.hangUp())

showState('idle')
showPeople()
if (settings.autojoin) join()
