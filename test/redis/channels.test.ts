import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Cluster, Redis } from 'ioredis'
import { createChannels } from '../../src/redis/channels.ts'

// A real Cluster turns two messages round only when a slot moves between them.
void test('What goes to one inbox of a Cluster goes one after the other, what goes to another does not wait, and a failure holds up nothing that comes later', async () => {
  const underWay: Array<{ sent: string, answer: (receivers: number) => void, fail: (error: Error) => void }> = []
  const commands = {
    isCluster: true,
    nodes: () => [],
    spublish: async (inbox: string, bytes: Buffer) => await new Promise<number>((resolve, reject) => { underWay.push({ sent: `${inbox} ${bytes.toString()}`, answer: resolve, fail: reject }) })
  }
  const channels = createChannels({ commands: commands as unknown as Cluster, subscriber: {} as unknown as Redis }, 'lobby')
  const first = channels.publish('one', Buffer.from('1'))
  const second = channels.publish('one', Buffer.from('22'))
  const other = channels.publish('two', Buffer.from('3'))
  const turn = async (): Promise<string[]> => {
    await new Promise(resolve => { setImmediate(resolve) })
    return underWay.map(({ sent }) => sent)
  }
  assert.deepEqual(await turn(), ['one 1', 'two 3'])
  assert.equal(channels.backlog, 4)
  underWay[0]?.answer(1)
  assert.equal(await first, 1)
  assert.deepEqual(await turn(), ['one 1', 'two 3', 'one 22'])
  underWay[2]?.fail(new Error('moved'))
  await assert.rejects(second)
  const third = channels.publish('one', Buffer.from('4'))
  assert.deepEqual((await turn()).at(-1), 'one 4')
  for (const { answer } of underWay) answer(1)
  assert.deepEqual(await Promise.all([third, other]), [1, 1])
  assert.equal(channels.backlog, 0)
})
