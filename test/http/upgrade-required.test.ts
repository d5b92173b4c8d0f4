/** What a plain request to the address of the WebSocket gets. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import test from 'node:test'
import { startTurnip } from '../harness/turnip-process.ts'
import { tokenFor } from '../harness/token.ts'

void test('an answer that asks for an upgrade says that its socket ends, so that no later request is lost with it', async t => {
  const { url, stop } = await startTurnip()
  t.after(async () => { await stop() })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => { agent.destroy() })
  for (let n = 1; n <= 102; n++) { // a socket serves 100 requests
    const [response] = await once(get(`${url}/ws?token=${tokenFor('ana')}`, { agent }), 'response') as [IncomingMessage]
    response.resume()
    assert.equal(response.statusCode, 426)
    assert.equal(response.headers.connection, 'upgrade, close')
    await once(response, 'end')
  }
})
