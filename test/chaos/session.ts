import type { Connection } from './connection.ts'
import type { View } from './view.ts'

/** One connection of a client, from its welcome to its end, and what it knows. */
export interface Session { readonly connection: Connection, readonly view: View }

/** Tells that a check has failed. The first one ends the run. */
export type Fail = (what: string, ...of: Session[]) => void

/** All sessions that are open, or may go on, by connection_id. */
export type Sessions = Map<string, Session>
