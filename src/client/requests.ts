/** Requests whose answer somebody waits for. */
import type { ClientMessage, RequestId } from '../protocol/messages.ts'
import { SignalingError } from './signaling-error.ts'

type AnyRequest = Exclude<ClientMessage, { type: 'data' | 'ping' | 'report' }>
type WithoutId<T> = T extends AnyRequest ? Omit<T, 'id'> : never
export type NewRequest = WithoutId<AnyRequest>
export type RequestFrame = AnyRequest & { id: number }

interface Request { frame: RequestFrame, resolve: () => void, reject: (error: SignalingError) => void }

/** Why a request was not done. */
export type Refusal = Pick<SignalingError, 'code' | 'message'> & { status?: number | undefined }

export class Requests {
  readonly #underWay = new Map<RequestId, Request>()
  #ids = 0

  nextId (): number { return ++this.#ids }

  /** In the order they were made. */
  get frames (): RequestFrame[] { return [...this.#underWay.values()].map(({ frame }) => frame) }

  has (type: RequestFrame['type']): boolean { return this.frames.some(frame => frame.type === type) }

  /** @param send gets the frame with its id; resolves or rejects when `settle` is told of that id */
  async add (request: NewRequest, send: (frame: RequestFrame) => void): Promise<void> {
    const id = this.nextId()
    const frame = { ...request, id } as RequestFrame
    await new Promise<void>((resolve, reject) => {
      this.#underWay.set(id, { frame, resolve, reject })
      send(frame)
    })
  }

  /** The answer has come. @param refusal why not, where it was refused. @returns whether anybody waited for it */
  settle (id: RequestId, refusal?: Refusal): boolean {
    const request = this.#underWay.get(id)
    if (request === undefined) return false
    this.#underWay.delete(id)
    if (refusal === undefined) request.resolve()
    else request.reject(new SignalingError(refusal.code, refusal.message, { request: request.frame.type, status: refusal.status }))
    return true
  }
}
