import assert from 'node:assert/strict'
import { afterEach, beforeEach, mock, test } from 'node:test'
import fc from 'fast-check'
import { PairLink, type LinkedSignal, type Signal } from '../../../src/client/mesh/pair-link.ts'

const MINUTES = 3 * 60_000

beforeEach(() => { mock.timers.enable({ apis: ['setTimeout'] }) })
afterEach(() => { mock.timers.reset() })

let births = 0

/** One side of a pair, and the links it has had: a renewed one takes the place of the one before. */
class Side {
  readonly leading: boolean
  readonly #wire: LinkedSignal[]
  link!: PairLink
  /** What the link of now was given, and what it delivered. */
  sent: string[] = []
  got: string[] = []
  links = 0
  /** Calls that were taken, by whichever link. */
  readonly taken: string[] = []
  #calling = false

  constructor (leading: boolean, wire: LinkedSignal[], calling: boolean) {
    this.leading = leading
    this.#wire = wire
    this.begin(calling)
  }

  begin (calling: boolean): void {
    this.links++
    this.link?.close()
    this.sent = []
    this.got = []
    const { leading } = this
    this.#calling = calling
    this.link = new PairLink({
      leading,
      calling,
      birth: ++births,
      taken: this.link?.taken ?? 0,
      transmit: signal => { this.#wire.push(signal) },
      deliver: signal => {
        this.got.push(textOf(signal))
        if (signal.type !== 'offer') return
        this.taken.push(signal.sdp)
        this.say('answer')
      },
      renew: signal => {
        this.begin(false)
        this.link.receive(signal)
        if (leading) this.call()
      }
    })
    if (calling) this.say('offer')
  }

  /** As a pair does when the other side had its time. */
  call (): void {
    if (this.link.heard || this.#calling) return
    this.#calling = true
    this.link.call()
    this.say('offer')
  }

  say (type: 'offer' | 'answer' | 'candidate'): void {
    // as a pair does: nothing is said before the first offer
    if (this.got.length === 0 && !this.#calling) return
    const text = `${this.leading ? 'l' : 'f'}${this.links}:${this.sent.length}`
    this.sent.push(text)
    this.link.send(type === 'candidate' ? { type, candidate: { candidate: text } } : { type, sdp: text })
  }
}

function textOf (signal: Signal): string {
  if (signal.type === 'candidate') return signal.candidate.candidate ?? ''
  return 'sdp' in signal ? signal.sdp : signal.type
}

/** Both sides, and what is on its way between them. */
class Scene {
  readonly toFollowing: LinkedSignal[] = []
  readonly toLeading: LinkedSignal[] = []
  readonly leading: Side
  readonly following: Side

  constructor ({ leading = true, following = false } = {}) {
    this.leading = new Side(true, this.toFollowing, leading)
    this.following = new Side(false, this.toLeading, following)
  }

  /** @param at which of those on the way */
  arrive (to: Side, at = 0): boolean {
    const wire = to === this.following ? this.toFollowing : this.toLeading
    const [signal] = wire.splice(at % Math.max(1, wire.length), 1)
    if (signal === undefined) return false
    to.link.receive(structuredClone(signal))
    return true
  }

  /** Everything arrives, for as long as anything is said; a side that hears nothing calls in the end. */
  quiet (): void {
    let count = 0
    for (const patient of [undefined, this.leading, this.following]) {
      patient?.call()
      do {
        while (count < 1_000 && (this.arrive(this.following) || this.arrive(this.leading))) count++
        mock.timers.tick(3_000)
      } while (count < 1_000 && this.toFollowing.length + this.toLeading.length > 0)
    }
    assert.ok(count < 1_000, 'they come to rest')
  }

  end (): void {
    this.leading.link.close()
    this.following.link.close()
  }
}

const side = fc.constantFrom('leading', 'following')
const place = fc.nat(20)

/** What may happen to a pair's signals; the arguments of what needs none are not used. */
const steps = (...names: string[]): fc.Arbitrary<Array<[string, 'leading' | 'following', number]>> =>
  fc.array(fc.tuple(fc.constantFrom(...names), side as fc.Arbitrary<'leading' | 'following'>, place), { maxLength: 60, size: 'max' })

function take (scene: Scene, step: string, name: 'leading' | 'following', at: number): void {
  const wire = name === 'following' ? scene.toFollowing : scene.toLeading
  const copied = wire[at % Math.max(1, wire.length)]
  if (step === 'say') scene[name].say('candidate')
  else if (step === 'arrive') scene.arrive(scene[name])
  else if (step === 'overtake') scene.arrive(scene[name], at)
  else if (step === 'lose') wire.splice(at % Math.max(1, wire.length), 1)
  else if (step === 'lose all') wire.length = 0
  else if (step === 'twice' && copied !== undefined) wire.push(copied)
  else if (step === 'wait') mock.timers.tick(at * 400)
  else if (step === 'back') scene[name].link.resend()
  else if (step === 'anew') scene[name].begin(at > 10)
  else if (step === 'call') scene[name].call()
}

/** Who calls: one of them as a rule, both or none when they do not agree who was here first. */
const calls = fc.constantFrom({ leading: true }, { leading: false, following: true }, { following: true }, { leading: false })

/** Both sides have all that the other one said, and nothing else. */
function agree ({ leading, following }: Scene): void {
  assert.notEqual(leading.sent.length, 0, 'something was said')
  assert.notEqual(following.sent.length, 0, 'something was answered')
  assert.deepEqual(following.got, leading.sent)
  assert.deepEqual(leading.got, following.sent)
}

test('whatever is lost, doubled or overtaken, every signal arrives once and in the order sent', () => {
  fc.assert(fc.property(calls, steps('say', 'arrive', 'overtake', 'lose', 'lose all', 'twice', 'wait', 'back'), (calls, all) => {
    const scene = new Scene(calls)
    for (const [step, name, at] of all) take(scene, step, name, at)
    scene.leading.link.resend()
    scene.following.link.resend()
    scene.quiet()
    scene.end()
    agree(scene)
    const yields = calls.leading !== false && calls.following === true
    assert.deepEqual([scene.leading.links, scene.following.links], [1, yields ? 2 : 1], 'nobody begins anew but who calls in vain')
  }), { numRuns: 1_000 })
})

test('sides that begin anew at any time end up in one life, of which nothing is missing', () => {
  fc.assert(fc.property(calls, steps('say', 'arrive', 'overtake', 'lose', 'lose all', 'twice', 'wait', 'back', 'anew', 'call'), (calls, all) => {
    const scene = new Scene(calls)
    for (const [step, name, at] of all) take(scene, step, name, at)
    const links = scene.leading.links + scene.following.links
    scene.leading.link.resend()
    scene.following.link.resend()
    scene.quiet()
    scene.end()
    agree(scene)
    const times = all.filter(([step]) => step === 'anew').length
    const more = scene.leading.links + scene.following.links - links
    assert.ok(more <= 2 * times + 3, `${more} new connections`)
    for (const { taken } of [scene.leading, scene.following]) assert.equal(new Set(taken).size, taken.length, 'a call was taken by two connections')
  }), { numRuns: 1_000 })
})

test('a gap is filled at once, and asked for once', () => {
  const scene = new Scene()
  scene.quiet()
  for (let i = 0; i < 5; i++) scene.leading.say('candidate')
  scene.toFollowing.shift()
  while (scene.arrive(scene.following) || scene.arrive(scene.leading));
  assert.deepEqual(scene.following.got, scene.leading.sent)
  scene.end()
})

test('a pair at rest says nothing', () => {
  const scene = new Scene()
  for (let i = 0; i < 5; i++) scene.leading.say('candidate')
  scene.quiet()
  mock.timers.tick(MINUTES)
  assert.deepEqual([scene.toFollowing, scene.toLeading], [[], []])
  scene.end()
})

test('a member that never answers is left alone after a while, and is told again when it is back', () => {
  const scene = new Scene()
  for (let minutes = 0; minutes < 10; minutes++) mock.timers.tick(60_000)
  const { length } = scene.toFollowing
  assert.ok(length >= 4 && length <= 8, `said ${length} times`)
  mock.timers.tick(MINUTES)
  assert.equal(scene.toFollowing.length, length)
  scene.leading.link.resend()
  assert.equal(scene.toFollowing.length, length + 1)
  scene.end()
})

test('a client without numbers gets each signal once, and nothing that it does not know', () => {
  for (const leading of [true, false]) {
    const wire: LinkedSignal[] = []
    const side = new Side(leading, wire, true)
    const given = wire.length
    side.link.receive({ type: 'answer', sdp: 'hers' })
    side.link.receive({ type: 'candidate', candidate: { candidate: 'hers too' } })
    side.say('candidate')
    side.link.resend()
    side.link.bye()
    mock.timers.tick(MINUTES)
    assert.deepEqual(side.got, ['hers', 'hers too'])
    assert.deepEqual(wire.slice(given).map(({ type, link }) => [type, link]), [['candidate', undefined]])
    side.link.close()
  }
})

test('a closed link leaves no timer behind', () => {
  const scene = new Scene()
  scene.arrive(scene.following)
  scene.end()
  const before = scene.toFollowing.length + scene.toLeading.length
  mock.timers.tick(MINUTES)
  assert.equal(scene.toFollowing.length + scene.toLeading.length, before)
})
