import { element, hueOf, initialsOf } from './tiles.js'
import { explain, pathOf, stateOf } from './words.js'

/** The event log keeps this many lines, so that a long call does not fill the memory. */
const EVENT_LIMIT = 300
const CHAT_LIMIT = 500

const ARROWS = { in: ['\u2190', 'received'], out: ['\u2192', 'sent'], here: ['\u00b7', 'in this page'] }

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })

/** A list that keeps its newest line in sight, unless the person has scrolled up to read. */
class Log {
  #list
  #limit
  #following = true
  #top = 0

  /**
   * @param {HTMLElement} list
   * @param {number} limit lines kept
   */
  constructor (list, limit) {
    this.#list = list
    this.#limit = limit
    list.addEventListener('scroll', () => {
      const { scrollTop } = list
      const isAtEnd = list.scrollHeight - scrollTop - list.clientHeight < 40
      // Only a person scrolls up; the end of a list that has shrunk is farther away too.
      if (isAtEnd || scrollTop < this.#top) this.#following = isAtEnd
      this.#top = scrollTop
    })
    // Other panels come and go, and the list shrinks and grows with them.
    new ResizeObserver(() => this.#follow()).observe(list)
  }

  /** @param {HTMLElement} line */
  append (line) {
    this.#list.append(line)
    while (this.#list.childElementCount > this.#limit) this.#list.firstElementChild.remove()
    this.#follow()
  }

  clear () {
    this.#following = true
    this.#list.replaceChildren()
  }

  #follow () {
    if (this.#following) this.#list.scrollTop = this.#list.scrollHeight
  }
}

/** Who is here, and how this page reaches them. */
export class Members {
  #list
  #count
  #ways = new Map()

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} count
   */
  constructor (list, count) {
    this.#list = list
    this.#count = count
  }

  /** @param {{ id: string, name: string, self?: boolean }[]} people */
  show (people) {
    this.#ways.clear()
    this.#count.textContent = people.length
    this.#list.replaceChildren(...people.map(({ id, name, self }) => {
      const line = element('li', 'member')
      const dot = element('span', 'member-dot', initialsOf(name))
      dot.style.setProperty('--hue', hueOf(id))
      dot.setAttribute('aria-hidden', 'true')
      const label = element('span', 'member-name', name)
      label.title = name
      const way = element('span', 'member-way', self ? 'you' : '')
      line.append(dot, label, way)
      line.dataset.member = id
      line.title = `connection ${id}`
      this.#ways.set(id, way)
      return line
    }))
  }

  /**
   * @param {string} id
   * @param {import('./words.js').Way} way
   */
  way (id, way) {
    const line = this.#ways.get(id)
    if (!line) return
    const state = element('span', 'way', stateOf(way))
    state.dataset.state = way.state
    const words = explain(way)
    const more = element('span', '', (way.away ? '' : pathOf(way)) || words)
    more.title = words
    line.replaceChildren(state, more)
  }
}

/** What was said, and who came and went. */
export class Chat {
  #log

  /** @param {HTMLElement} list */
  constructor (list) {
    this.#log = new Log(list, CHAT_LIMIT)
  }

  /**
   * @param {string} name
   * @param {string} text
   * @param {boolean} own
   */
  said (name, text, own) {
    const line = element('li', own ? 'said said-own' : 'said')
    line.append(element('span', 'said-name', own ? 'You' : name), element('span', 'said-text', text))
    this.#log.append(line)
  }

  /** @param {string} text */
  news (text) {
    this.#log.append(element('li', 'news', text))
  }
}

/** Everything that went over the socket. */
export class Events {
  #log
  #last = { key: '', count: 0, badge: null }

  /** @param {HTMLElement} list */
  constructor (list) {
    this.#log = new Log(list, EVENT_LIMIT)
  }

  /**
   * Equal ones that follow each other, as candidates do, become one line with a number.
   * @param {'in' | 'out' | 'here'} direction
   * @param {string} type
   * @param {string} detail
   */
  add (direction, type, detail) {
    const key = [direction, type, detail].join('\n')
    if (key === this.#last.key) {
      this.#last.badge.textContent = `\u00d7${++this.#last.count}`
      return
    }
    const [arrow, meaning] = ARROWS[direction]
    const line = element('li', 'event')
    line.dataset.direction = direction
    line.dataset.type = type
    const sign = element('span', 'event-arrow', arrow)
    sign.title = meaning
    sign.setAttribute('role', 'img')
    sign.setAttribute('aria-label', meaning)
    const badge = element('span', 'event-count')
    const words = element('span', 'event-words')
    words.append(element('span', 'event-type', type), ' ', element('span', 'event-detail', detail), ' ', badge)
    line.append(element('time', 'event-time', clock.format(new Date())), sign, words)
    this.#last = { key, count: 1, badge }
    this.#log.append(line)
  }

  /** Empties the log. */
  clear () {
    this.#last = { key: '', count: 0, badge: null }
    this.#log.clear()
  }
}
