import assert from 'node:assert/strict'
import type { ServerMessage } from '../../../src/protocol/messages.ts'
import type { Client } from '../../harness/client.ts'
import { heardUntil, leaveOf, type Play } from '../scene.ts'
import { View, type Numbered } from '../view.ts'

const MESSAGES = 500

/** The numbers that one sender's data carried, in the order they came. */
function numbersFrom (sender: Client, frames: ServerMessage[]): number[] {
  return frames.flatMap(frame => frame.type === 'data' && frame.from.connection_id === sender.id ? [(frame.data as Numbered).n] : [])
}

const upTo = (length: number): number[] => Array.from({ length }, (_, n) => n)

export function orderCases (play: Play): void {
  play('What one sender sends reaches each receiver in the order sent, each message once, while others come and go', async scene => {
    const room = scene.room()
    const [sender, near, far] = [await scene.first('sender'), await scene.first('near'), await scene.second('far')]
    await scene.gather(room, sender, near, far)
    const sent = new AbortController()
    const visitors = [await scene.first('visitor'), await scene.second('visitor')]
    const visits = visitors.map(async visitor => {
      while (!sent.signal.aborted) {
        await visitor.join(room)
        visitor.send({ type: 'leave' })
        await visitor.next('left')
      }
    })
    for (let n = 0; n < MESSAGES; n++) {
      sender.send({ type: 'data', data: { n } })
      if (n % 25 === 24) await sender.fence()
    }
    sent.abort()
    await Promise.all(visits)
    for (const receiver of [near, far]) {
      await heardLast(receiver, sender, MESSAGES)
      const view = new View(receiver.info)
      for (const frame of receiver.frames) view.apply(frame)
      assert.deepEqual(numbersFrom(sender, receiver.frames), upTo(MESSAGES + 1))
    }
  })

  play("A member's user_joined comes before its first data, its user_left after its last", async scene => {
    const room = scene.room()
    const receivers = [await scene.first('near'), await scene.second('far')]
    await scene.gather(room, ...receivers)
    for (let round = 0; round < 30; round++) {
      const ana = await (round % 2 === 0 ? scene.first('ana') : scene.second('ana'))
      ana.together(() => {
        ana.send({ type: 'join', room })
        for (let n = 0; n < 3; n++) ana.send({ type: 'data', data: { n } })
        ana.send({ type: 'leave' })
      })
      await ana.next('left')
      for (const receiver of receivers) {
        const types = (await leaveOf(receiver, ana)).map(frame => frame.type)
        assert.deepEqual(types, ['ready', 'user_joined', 'data', 'data', 'data', 'user_left'])
      }
    }
  })

  play('What comes right behind a join is carried out after it, in order', async scene => {
    const [room, other] = [scene.room(), scene.room('other')]
    const receivers = [await scene.first('near'), await scene.second('far')]
    await scene.gather(room, ...receivers)
    const ana = await scene.first('ana')
    for (const from of [undefined, other]) {
      if (from !== undefined) await ana.join(from)
      ana.together(() => {
        ana.send({ type: 'join', room, id: 'join' })
        for (let n = 0; n < 20; n++) ana.send({ type: 'data', data: { n } })
        ana.send({ type: 'ping', id: 'last' })
      })
      const answers = await ana.upTo(frame => frame.type === 'pong' && frame.id === 'last')
      assert.deepEqual(answers.map(frame => frame.type), from === undefined ? ['joined', 'pong'] : ['left', 'room_disbanded', 'joined', 'pong'])
      for (const receiver of receivers) {
        assert.deepEqual(numbersFrom(ana, await heardUntil(receiver, ana)), upTo(20))
      }
      ana.send({ type: 'leave' })
      for (const receiver of receivers) await leaveOf(receiver, ana)
      await ana.fence()
    }
  })

  play('What comes right behind a join that fails is judged by where the client still is', async scene => {
    const [room, closed] = [scene.room(), scene.room('closed')]
    const [ana, ben] = [await scene.first('ana', { rooms: [room] }), await scene.second('ben')]
    await scene.gather(room, ana, ben)
    ana.together(() => {
      ana.send({ type: 'join', room: closed })
      ana.send({ type: 'data', data: { n: 0 } })
      ana.send({ type: 'leave' })
      ana.send({ type: 'data', data: { n: 1 } })
      ana.send({ type: 'join', room })
      ana.send({ type: 'data', data: { n: 2 } })
    })
    const answers = (await ana.fence()).map(frame => frame.type === 'error' ? frame.code : frame.type)
    assert.deepEqual(answers, ['room_forbidden', 'left', 'not_in_room', 'joined'])
    const heard = await heardUntil(ben, ana)
    assert.deepEqual(heard.map(frame => frame.type), ['data', 'user_left', 'ready', 'user_joined', 'data'])
    assert.deepEqual(numbersFrom(ana, heard), [0, 2])
  })
}

/** Has the sender say one thing more and waits until it has come. */
async function heardLast (receiver: Client, sender: Client, n: number): Promise<void> {
  sender.send({ type: 'data', to: receiver.id, data: { n } })
  await receiver.upTo(frame => frame.type === 'data' && (frame.data as Numbered).n === n)
}
