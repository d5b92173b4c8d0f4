import { describe } from 'node:test'
import { protocolCases } from './cases.ts'
import { onRedis } from './cluster.ts'

void describe('The protocol on two instances that share a Redis', () => {
  protocolCases(() => onRedis(2))
})
