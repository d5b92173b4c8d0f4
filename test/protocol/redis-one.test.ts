import { describe } from 'node:test'
import { protocolCases } from './cases.ts'
import { onRedis } from './cluster.ts'

void describe('The protocol on one instance, with rooms in Redis', () => {
  protocolCases(() => onRedis(1))
})
