/** The pictures: one tile for each person in the call. */
import { explain, pathOf, stateOf } from './words.js'

/**
 * A colour that stays with a person.
 * @param {string} id
 * @returns {number} degrees
 */
export function hueOf (id) {
  let hash = 0
  for (const character of id) hash = (hash * 31 + character.codePointAt(0)) % 360_000
  return hash % 360
}

/** @param {string} name */
export function initialsOf (name) {
  const words = name.trim().split(/\s+/)
  const ends = words.length > 1 ? [words[0], words.at(-1)] : words
  return ends.map((word) => [...word][0] ?? '').join('').toUpperCase()
}

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 * @returns {HTMLElement}
 */
export function element (tag, className, text = '') {
  const made = document.createElement(tag)
  made.className = className
  made.textContent = text
  return made
}

/**
 * @param {{ id: string, name: string, self?: boolean }} person
 */
function makeTile ({ id, name, self = false }) {
  const root = element('figure', 'tile')
  const video = document.createElement('video')
  video.autoplay = true
  video.playsInline = true
  video.muted = self
  const avatar = element('div', 'avatar', initialsOf(name))
  avatar.style.setProperty('--hue', hueOf(id))
  avatar.setAttribute('aria-hidden', 'true')
  const caption = element('figcaption', 'caption')
  const who = element('span', 'caption-who')
  const muted = element('span', 'caption-muted', 'muted')
  muted.hidden = true
  who.append(element('span', 'caption-name', self ? `${name} (you)` : name), muted)
  const way = element('span', 'way')
  caption.append(who, way)
  root.append(video, avatar, caption)
  root.dataset.video = 'off'
  if (self) root.dataset.self = ''
  else root.dataset.peer = id
  return { root, video, way, muted }
}

/** The grid of tiles. The own tile is always the last. */
export class Tiles {
  #grid
  #tiles = new Map()
  #own = null
  #silenced

  /**
   * @param {HTMLElement} grid
   * @param {(silenced: boolean) => void} silenced the browser plays no sound before the person does something
   */
  constructor (grid, silenced) {
    this.#grid = grid
    this.#silenced = silenced
  }

  /**
   * Makes the tiles those of these people, and leaves those that stay as they are.
   * @param {{ id: string, name: string } | null} own null: not in a call
   * @param {{ id: string, name: string }[]} others
   */
  show (own, others) {
    for (const [id, { root }] of this.#tiles) {
      if (others.some((other) => other.id === id)) continue
      root.remove()
      this.#tiles.delete(id)
    }
    if (this.#own && this.#own.id !== own?.id) {
      this.#own.root.remove()
      this.#own = null
    }
    if (own && !this.#own) {
      this.#own = { id: own.id, ...makeTile({ ...own, self: true }) }
      this.#grid.append(this.#own.root)
    }
    for (const other of others) {
      if (this.#tiles.has(other.id)) continue
      const tile = makeTile(other)
      this.#tiles.set(other.id, tile)
      this.#grid.insertBefore(tile.root, this.#own?.root ?? null)
    }
    const count = this.#tiles.size + (this.#own ? 1 : 0)
    const columns = Math.ceil(Math.sqrt(count))
    this.#grid.dataset.count = count
    this.#grid.style.setProperty('--columns', columns || 1)
    this.#grid.style.setProperty('--rows', Math.ceil(count / columns) || 1)
  }

  /**
   * @param {string} id
   * @param {import('./words.js').Way} way
   */
  way (id, way) {
    const tile = this.#tiles.get(id)
    if (!tile) return
    tile.root.dataset.connectionState = way.state
    tile.way.dataset.state = way.state
    tile.way.textContent = pathOf(way) || stateOf(way)
    tile.way.title = explain(way)
  }

  /**
   * @param {MediaStream} stream
   * @param {{ video: boolean, audio: boolean }} sending
   */
  own (stream, sending) {
    if (this.#own) this.#put(this.#own, { stream, ...sending })
  }

  /**
   * @param {string} id
   * @param {{ stream: MediaStream | null, video: boolean, audio: boolean }} view
   */
  media (id, view) {
    const tile = this.#tiles.get(id)
    if (tile) this.#put(tile, view)
  }

  /** Gives the sound back, once the person has done something in the page. */
  unsilence () {
    for (const { video } of this.#tiles.values()) video.muted = false
    this.#silenced(false)
  }

  #put ({ root, video, muted }, { stream, video: picture, audio }) {
    root.dataset.video = picture ? 'on' : 'off'
    muted.hidden = audio
    if (video.srcObject !== stream) video.srcObject = stream
    if (stream) this.#play(video)
  }

  async #play (video) {
    try {
      await video.play()
    } catch (error) {
      // Without a gesture a browser plays silent video only. An interrupted play (AbortError) is followed by another.
      if (error.name !== 'NotAllowedError' || video.muted) return
      video.muted = true
      this.#silenced(true)
      await video.play().catch(() => {})
    }
  }
}
