/** What a client can ask for: one small step a message. */
import { signalType } from '../protocol/decode.ts'
import { frameOf, type Frame } from '../protocol/frame.ts'
import type { ClientMessage, ClientMessageOf, RequestId } from '../protocol/messages.ts'
import { Refusal } from '../protocol/refusal.ts'
import type { Identity } from '../rooms/identity.ts'
import { checkRefresh, type Peer } from '../rooms/peer.ts'
import type { RoomService } from '../rooms/room-service.ts'
import type { CallReports } from './call-reports.ts'
import type { Session } from './session.ts'
import type { Traffic } from './traffic.ts'

/** Who asks. */
export interface Asker extends Peer {
  identity: Identity
  readonly session: Session | undefined
  /** Until all that was said to it at another instance has come. */
  readonly arrival: Promise<void> | undefined
  /** @param again as it is sent once more where it did not arrive */
  send (frame: Frame, again?: Frame): void
}

/** What asks are carried out with. */
export interface CommandContext {
  readonly rooms: RoomService
  /** Rejects with a Refusal that has a token failure's code. */
  readonly verify: (token: string | undefined) => Promise<Identity>
  readonly traffic: Traffic
  readonly reports: Pick<CallReports, 'take'>
}

/**
 * @param text the message as the client wrote it
 * @returns work that takes a while; undefined when all is done. Throws or rejects with a Refusal, or with a bug
 */
export function carryOut (asker: Asker, message: ClientMessage, text: Buffer, { rooms, verify, traffic, reports }: CommandContext): Promise<void> | undefined {
  const { id } = message
  switch (message.type) {
    case 'data':
      rooms.relay(asker, message, text)
      traffic.countSignal(signalType(message.data))
      return undefined
    case 'join': return settled(asker, () => rooms.join(asker, message))
    case 'leave': return settled(asker, () => rooms.leave(asker, id))
    case 'disband_room': return settled(asker, () => rooms.disband(asker, id))
    case 'watch': return rooms.watch(asker, true).then(() => { asker.send(frameOf({ type: 'watching', ...repeated(id) })) })
    case 'unwatch': return rooms.watch(asker, false).then(() => { asker.send(frameOf({ type: 'unwatched', ...repeated(id) })) })
    case 'refresh': return refresh(asker, message, verify)
    case 'ping': return pong(asker, message)
    case 'report': return reports.take(asker, message)
  }
}

/** What a client is told of a request that was not carried out. What is our fault stands in the log. */
export function refusalFrame (
  error: unknown, id: RequestId | undefined, { id: connectionId, identity }: Peer, log: { debug (context: object, message: string): void, error (context: object, message: string): void }
): Frame {
  const refusal = error instanceof Refusal ? error : new Refusal('internal', undefined, { cause: error })
  const { code, message, data, cause } = refusal
  const context = { err: cause, code, connection_id: connectionId, user_id: identity.userId }
  if (code === 'internal') log.error(context, 'a request failed')
  else if (cause !== undefined) log.debug(context, 'a request was refused')
  return frameOf({ type: 'error', error: message, code, ...(data && { data }), ...repeated(id) })
}

/** Goes where its client wants it, once that has heard all that it missed of where it was. */
function settled ({ arrival }: Asker, go: () => Promise<void>): Promise<void> {
  return arrival?.then(go) ?? go()
}

/** Goes on under another token of the same user. What the room was told of the user (the name) stays as it is. */
async function refresh (asker: Asker, { token, id }: ClientMessageOf<'refresh'>, verify: CommandContext['verify']): Promise<void> {
  const next = await verify(token)
  checkRefresh(asker, next)
  asker.identity = { ...next, username: asker.identity.username }
  asker.send(frameOf({ type: 'refreshed', data: { expires_at: next.expiresAt ?? null }, ...repeated(id) }))
}

/** Both sides tell what they have of a session, so that the other need not keep it. */
function pong (asker: Asker, { id, seen }: ClientMessageOf<'ping'>): undefined {
  const { session } = asker
  if (seen !== undefined) session?.saw(seen)
  const plain = frameOf({ type: 'pong', ...repeated(id) })
  if (session === undefined) asker.send(plain)
  else asker.send(frameOf({ type: 'pong', received: session.received, ...repeated(id) }), plain) // the next session counts anew
}

function repeated (id: RequestId | undefined): { id?: RequestId } {
  return id === undefined ? {} : { id }
}
