import { MemoryBroker, MemoryExchange } from '../../src/broker/memory-broker.ts'
import { testBroker } from './conformance.ts'

testBroker('broker in memory', async t => {
  const exchange = new MemoryExchange()
  return {
    make: async nonce => {
      const broker = new MemoryBroker(nonce, exchange, { error: () => {} })
      t.after(async () => { await broker.close() })
      return broker
    },
    announce: async event => { exchange.announce(event) }
  }
})
