import { describe } from 'node:test'
import { startTurnip } from '../harness/turnip-process.ts'
import { protocolCases } from './cases.ts'
import { alone } from './cluster.ts'

void describe('The protocol on one instance, with rooms in memory', () => {
  protocolCases(() => alone(startTurnip))
})
