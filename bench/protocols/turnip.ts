import { tokenFor } from '../../test/harness/token.ts'
import type { Protocol } from './protocol.ts'

/** Turnip: a token of its own for each client, a join that is answered, and payloads under `data`. */
export const turnip: Protocol = {
  path: ({ id }) => `/ws?token=${tokenFor(id)}`,
  enter ({ id, room }, frame, say) {
    if (frame === undefined) say(JSON.stringify({ type: 'join', room }))
    else if (frame.includes('"type":"error"')) throw new Error(`${id} was not let into ${room}: ${frame.toString()}`)
    return frame?.includes('"type":"joined"') ?? false
  },
  wrap: payload => `{"type":"data","data":${payload}}`,
  isMessage: frame => frame.includes('"type":"data"', 0, 'latin1') // the keys may come in any order
}

/** The same, for clients that ask for a session, as those of turnip/client do. */
export const sessions: Protocol = { ...turnip, path: member => `${turnip.path(member)}&resume=true` }
