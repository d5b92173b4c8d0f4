import { after, before } from 'node:test'
import type { Cluster } from './cluster.ts'
import { closingCases } from './cases/closing.ts'
import { dataCases } from './cases/data.ts'
import { errorCases } from './cases/errors.ts'
import { openingCases } from './cases/opening.ts'
import { orderCases } from './cases/order.ts'
import { roomCases } from './cases/rooms.ts'
import { tokenCases } from './cases/tokens.ts'
import { watchingCases } from './cases/watching.ts'
import { playOn } from './scene.ts'

/**
 * What the protocol promises, played by clients of real servers. To be called inside `describe`.
 * @param setup starts the servers; they are stopped after the last case
 */
export function protocolCases (setup: () => Promise<Cluster>): void {
  let cluster: Cluster | undefined
  before(async () => { cluster = await setup() })
  after(async () => { await cluster?.stop() })

  const play = playOn(() => {
    if (cluster === undefined) throw new Error('the servers have not started')
    return cluster
  })
  openingCases(play)
  roomCases(play)
  dataCases(play)
  watchingCases(play)
  tokenCases(play)
  errorCases(play)
  orderCases(play)
  closingCases(play)
}
