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
const local = new LocalMedia((track, isSent) => {
  showLocal()
  call.others?.setTrack(track, isSent)
})
const call = new Call({
  base: settings.base,
  userId: settings.userId,
  local,
  on: {
    state: showState,
    trouble: (text) => showNote('trouble', text),
    degraded: (isDown) => showNote('degraded', isDown ? 'The server has lost its store: calls go on, who wants to join has to wait.' : ''),
    note: showCallNote,
    news: (text) => chat.news(text),
    event: (direction, frame) =>
      events.add(direction, frame.type, frame.detail ?? detailOf(frame, (id) => call.others?.nameOf(id) ?? id)),
    people: showPeople,
    peer: showPeer,
    chat: (name, text) => chat.said(name, text, false)
  }
})

/**
 * @param {string} id of the line
 * @param {string} text empty hides it
 */
function showNote (id, text) {
  // Said once, where a screen reader reads it out.
  if (byId(id).textContent === text) return
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
  const { self } = call
  const others = self ? call.others.list : []
  tiles.show(self, others)
  members.show(self ? [{ ...self, self: true }, ...others] : [])
  for (const { id } of others) showPeer(id)
  const limit = call.others?.exceeded
  showNote('crowded', limit ? `${others.length} others are here. Everybody sends a picture to everybody: with more than ${limit}, expect it to falter.` : '')
  byId('alone').hidden = others.length > 0
  showLocal()
}

/** @param {string} id */
function showPeer (id) {
  const way = call.others.way(id)
  tiles.way(id, way)
  tiles.media(id, call.others.view(id))
  members.way(id, way)
}

function showState () {
  const { state, room, busy, instance } = call
  const view = room === null ? 'lobby' : 'call'
  const words = {
    idle: 'Not connected',
    connecting: 'Connecting',
    open: busy ? 'Joining' : 'Connected, in no room',
    'in-room': `In ${room}`,
    reconnecting: room === null ? 'Reconnecting' : `Reconnecting to ${room}`,
    closed: 'Disconnected'
  }
  document.body.dataset.state = state
  byId('status').textContent = words[state]
  byId('instance').textContent = instance ? `on ${instance}` : ''
  byId('join').disabled = busy
  byId('join').textContent = busy ? 'Joining' : 'Join'
  byId('cancel').hidden = !busy
  byId('name').disabled = byId('room').disabled = busy
  byId('chat-text').disabled = byId('chat-send').disabled = room === null
  byId('disband').disabled = state !== 'in-room'
  if (document.body.dataset.view !== view) {
    document.body.dataset.view = view
    // What had the focus is gone from the page; who uses the keyboard goes on from here.
    byId(room === null ? 'join' : 'call').focus({ preventScroll: true })
  }
  document.title = room === null ? 'Turnip' : `${room} \u2013 Turnip`
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

/** On phones and tablets the other programs offer to take the link. */
const canShare = 'share' in navigator && matchMedia('(pointer: coarse)').matches

async function shareLink () {
  const url = roomLink(location.href, call.room)
  if (canShare) return await navigator.share({ title: document.title, url }).catch(() => {}) // the person thought better of it
  if (await copy(url)) {
    byId('copied').textContent = 'Link copied'
    setTimeout(() => { byId('copied').textContent = '' }, 2_000)
  } else showNote('note', url)
}

/** The clipboard is for secure pages; elsewhere the old way still works. */
async function copy (text) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const field = document.createElement('textarea')
    field.value = text
    document.body.append(field)
    field.select()
    const copied = document.execCommand('copy')
    field.remove()
    return copied
  }
}

/** @param {'audio' | 'video'} kind */
async function toggle (kind) {
  showNote('media-note', await local.toggle(kind))
}

byId('name').value = settings.name
byId('room').value = settings.room
if (settings.invited) byId('lobby-title').textContent = `Join ${settings.room}`
if (canShare) byId('share-label').textContent = 'Share link'
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
byId('share').addEventListener('click', shareLink)
byId('clear-events').addEventListener('click', () => events.clear())
byId('chat-form').addEventListener('submit', (event) => {
  event.preventDefault()
  const text = byId('chat-text').value.trim()
  if (!text) return
  call.others.chat(text)
  chat.said(call.self.name, text, true)
  if (call.others.list.length === 0) chat.news('Nobody else is here yet')
  byId('chat-text').value = ''
})
for (const gesture of ['pointerdown', 'keydown']) {
  document.addEventListener(gesture, () => {
    if (!byId('silenced').hidden) tiles.unsilence()
  })
}

showState()
showPeople()
if (settings.autojoin) join()
