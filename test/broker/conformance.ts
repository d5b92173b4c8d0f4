/** What src/broker/broker.ts promises, asked of every implementation. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import fc from 'fast-check'
import { INBOX_QUEUE_BYTES, type Broker } from '../../src/broker/broker.ts'
import type { LobbyEvent } from '../../src/broker/lobby-event.ts'

/** Where brokers of one cluster meet. */
export interface BrokerKit {
  /** A broker that nobody has opened yet. */
  make (nonce: string): Promise<Broker>
  /** Announces in the lobby, as presence does. */
  announce (event: LobbyEvent): Promise<void>
}

/** What one instance got, and a way to wait for more of it. */
export class Receiver {
  readonly records: string[] = []
  readonly events: LobbyEvent[] = []
  interruptions = 0
  restorations = 0
  misses = 0
  /** A handler's fault, when there is one: called with each record first. */
  fault: (record: string) => void = () => {}
  #wake: () => void = () => {}

  readonly handlers = {
    onRecord: (record: Buffer): void => {
      const text = record.toString()
      this.records.push(text)
      this.#wake()
      this.fault(text)
    },
    onLobby: (event: LobbyEvent): void => { this.events.push(event); this.#wake() },
    onInterrupted: (): void => { this.interruptions++ },
    onRestored: (): void => { this.restorations++; this.#wake() },
    onMissed: (): void => { this.misses++; this.#wake() }
  }

  /** Resolves once a record or an event has come that satisfies. */
  async until (isEnough: () => boolean): Promise<void> {
    while (!isEnough()) await new Promise<void>(resolve => { this.#wake = resolve })
  }
}

export async function open (broker: Broker): Promise<Receiver> {
  const receiver = new Receiver()
  await broker.open(receiver.handlers)
  return receiver
}

const END = 'end'

/** Sends one last record and waits for it: all that was sent before, to the same receiver, has arrived then. */
export async function fence (sender: Broker, to: string, receiver: Receiver): Promise<void> {
  const mark = `${END}${Math.random()}`
  assert.equal(sender.send(to, Buffer.from(mark)), true)
  await receiver.until(() => receiver.records.includes(mark))
  receiver.records.splice(receiver.records.indexOf(mark), 1)
}

const created = (room: string): LobbyEvent => ({ type: 'room_created', room, epoch: `epoch of ${room}` })

export function testBroker (name: string, openKit: (t: TestContext) => Promise<BrokerKit>): void {
  test(`${name}: many records of one turn arrive once each and in order`, async t => {
    const kit = await openKit(t)
    const [a, b] = [await kit.make('a'), await kit.make('b')]
    await open(a)
    const inbox = await open(b)
    const sent = Array.from({ length: 500 }, (_, i) => `record ${i} ${'x'.repeat(i)}`)
    for (const record of sent) assert.equal(a.send('b', Buffer.from(record)), true)
    await fence(a, 'b', inbox)
    assert.deepEqual(inbox.records, sent)
  })

  test(`${name}: records of many turns and senders keep the order of each sender at each receiver`, async t => {
    const kit = await openKit(t)
    const nonces = ['a', 'b', 'c']
    const brokers = await Promise.all(nonces.map(async nonce => await kit.make(nonce)))
    const inboxes = await Promise.all(brokers.map(open))
    for (let turn = 0; turn < 40; turn++) {
      for (const broker of brokers) {
        for (const to of nonces) {
          for (let i = 0; i < turn % 4; i++) broker.send(to, Buffer.from(`${broker.nonce}>${to} ${turn}.${i}`))
        }
      }
      await new Promise(resolve => { setImmediate(resolve) })
    }
    for (const [i, inbox] of inboxes.entries()) {
      const to = nonces[i] ?? ''
      for (const broker of brokers) await fence(broker, to, inbox)
      for (const from of nonces) {
        const expected = Array.from({ length: 40 }, (_, turn) => Array.from({ length: turn % 4 }, (_, n) => `${from}>${to} ${turn}.${n}`)).flat()
        assert.deepEqual(inbox.records.filter(record => record.startsWith(from)), expected)
      }
      assert.ok(inbox.records.every(record => record.includes(`>${to} `)), 'nobody else\'s')
    }
  })

  test(`${name}: any bytes arrive as they were, empty records too`, async t => {
    const kit = await openKit(t)
    const [a, b] = [await kit.make('a'), await kit.make('b')]
    await open(a)
    const got: Buffer[] = []
    let wake = (): void => {}
    await b.open({ onRecord: record => { got.push(record); wake() }, onLobby: () => {}, onInterrupted: () => {}, onRestored: () => {}, onMissed: () => {} })
    await fc.assert(fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), async records => {
      got.length = 0
      for (const record of records) a.send('b', Buffer.from(record))
      while (got.length < records.length) await new Promise<void>(resolve => { wake = resolve })
      assert.deepEqual(got.map(record => [...record]), records.map(record => [...record]))
    }), { numRuns: 60 })
  })

  test(`${name}: a record may be sent to oneself`, async t => {
    const kit = await openKit(t)
    const a = await kit.make('a')
    const inbox = await open(a)
    await fence(a, 'a', inbox)
    assert.deepEqual(inbox.records, [])
  })

  test(`${name}: what is sent to an instance that is not there is lost and harms nobody`, async t => {
    const kit = await openKit(t)
    const [a, b] = [await kit.make('a'), await kit.make('b')]
    await open(a)
    const inbox = await open(b)
    a.send('nobody', Buffer.from('lost'))
    a.send('b', Buffer.from('kept'))
    await fence(a, 'b', inbox)
    assert.deepEqual(inbox.records, ['kept'])
  })

  test(`${name}: what waits for one inbox is bounded, and other inboxes do not suffer`, async t => {
    const kit = await openKit(t)
    const [a, b, c] = [await kit.make('a'), await kit.make('b'), await kit.make('c')]
    await open(a)
    const [full, other] = [await open(b), await open(c)]
    const megabyte = Buffer.alloc(1024 * 1024, 'x')
    let taken = 0
    while (taken < 20 && a.send('b', megabyte)) taken++
    assert.ok(taken >= 7 && taken * megabyte.length <= INBOX_QUEUE_BYTES, `${taken} MiB were taken`)
    assert.equal(a.send('c', megabyte), true)
    await full.until(() => full.records.length === taken)
    await fence(a, 'c', other)
    await fence(a, 'b', full) // there is room again once it was taken
    assert.equal(full.records.length, taken)
    assert.equal(other.records.length, 1)
  })

  test(`${name}: what is vital still finds room when messages have filled the queue`, async t => {
    const kit = await openKit(t)
    const [a, b] = [await kit.make('a'), await kit.make('b')]
    await open(a)
    const inbox = await open(b)
    const megabyte = Buffer.alloc(1024 * 1024, 'x')
    let taken = 0
    while (taken < 20 && a.send('b', megabyte)) taken++
    assert.equal(a.send('b', megabyte), false)
    assert.equal(a.send('b', Buffer.from('vital'), true), true)
    await inbox.until(() => inbox.records.includes('vital'))
    assert.equal(inbox.records.length, taken + 1)
  })

  test(`${name}: the lobby is heard while it is switched on, and each announcement once`, async t => {
    const kit = await openKit(t)
    const [a, b] = [await kit.make('a'), await kit.make('b')]
    const [watcher, control] = [await open(a), await open(b)]
    await b.hearLobby(true)
    const announce = async (room: string): Promise<void> => {
      await kit.announce(created(room))
      await control.until(() => control.events.some(event => event.room === room))
    }
    await announce('before')
    await a.hearLobby(true)
    await announce('one')
    await announce('two')
    await watcher.until(() => watcher.events.length >= 2)
    await a.hearLobby(false)
    await fence(b, 'a', watcher) // by the connection that unsubscribed: it has, by now
    await announce('after')
    await a.hearLobby(true)
    await announce('three')
    await watcher.until(() => watcher.events.some(event => event.room === 'three'))
    assert.deepEqual(watcher.events, [created('one'), created('two'), created('three')])
    assert.deepEqual(control.events.map(({ room }) => room), ['before', 'one', 'two', 'after', 'three'])
  })

  test(`${name}: announcements arrive in order and with all they say`, async t => {
    const kit = await openKit(t)
    const a = await kit.make('a')
    const watcher = await open(a)
    await a.hearLobby(true)
    const events: LobbyEvent[] = [
      created('r'),
      { type: 'room_disbanded', room: 'r', epoch: 'e', reason: 'last_member_left' },
      { type: 'room_disbanded', room: 's:@.-_', epoch: 'f', reason: 'user_requested' }
    ]
    for (const event of events) await kit.announce(event)
    await watcher.until(() => watcher.events.length === events.length)
    assert.deepEqual(watcher.events, events)
  })

  test(`${name}: a handler that throws loses the record it was given, and no other`, async t => {
    const kit = await openKit(t)
    const [a, b] = [await kit.make('a'), await kit.make('b')]
    await open(a)
    const inbox = await open(b)
    inbox.fault = record => { if (record.startsWith('bad')) throw new Error('a fault of the handler') }
    for (const record of ['1', 'bad 2', '3', 'bad 4', '5']) a.send('b', Buffer.from(record))
    await fence(a, 'b', inbox)
    assert.deepEqual(inbox.records, ['1', 'bad 2', '3', 'bad 4', '5'])
  })

  test(`${name}: closing delivers what was queued`, async t => {
    const kit = await openKit(t)
    const [a, b] = [await kit.make('a'), await kit.make('b')]
    await open(a)
    const inbox = await open(b)
    a.send('b', Buffer.from('goodbye'))
    await a.close()
    await inbox.until(() => inbox.records.length === 1)
    assert.deepEqual(inbox.records, ['goodbye'])
  })

  test(`${name}: nothing is handed over after close`, async t => {
    const kit = await openKit(t)
    const [a, b] = [await kit.make('a'), await kit.make('b')]
    await open(a)
    const [gone, control] = [await open(b), new Receiver()]
    const c = await kit.make('c')
    await c.open(control.handlers)
    await Promise.all([b.hearLobby(true), c.hearLobby(true)])
    a.send('b', Buffer.from('before'))
    await fence(a, 'b', gone)
    await b.close()
    a.send('b', Buffer.from('after'))
    await kit.announce(created('r'))
    await fence(a, 'c', control)
    await control.until(() => control.events.length === 1)
    assert.deepEqual(gone.records, ['before'])
    assert.deepEqual(gone.events, [])
  })
}
