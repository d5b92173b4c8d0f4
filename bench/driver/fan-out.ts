import type { Connection } from './connection.ts'
import type { Meter } from './meter.ts'

/** How many messages of one sender may be on their way, on average over its receivers. */
const WINDOW = 8

/** Answers a function that has the first member of a room say something to all others, so many times. */
export function createFanOut (room: readonly Connection[], payload: string, meter: Meter): (messages: number) => Promise<void> {
  const [speaker, ...listeners] = room
  const [first] = listeners
  if (speaker === undefined || first === undefined) throw new Error('a room to speak in has two members or more')
  const frame = speaker.frameFor(payload, first)
  return async messages => {
    const sentAt: number[] = []
    let arrived = 0
    await new Promise<void>(resolve => {
      const speak = (): void => {
        while (sentAt.length < messages && sentAt.length < arrived / listeners.length + WINDOW) {
          sentAt.push(performance.now())
          speaker.send(frame)
        }
      }
      for (const listener of listeners) {
        let received = 0
        listener.onMessage = () => {
          meter.arrived(sentAt[received++] ?? NaN)
          arrived++
          if (arrived === messages * listeners.length) resolve()
          else speak()
        }
      }
      speak()
    })
  }
}
