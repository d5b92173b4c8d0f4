/** Runs in the page: media without a camera, and ways to wait for it. */
import type { Peer } from '../../../src/client/index.ts'

/** Asks again and again; nothing here takes longer than a busy machine does. */
export async function until (what: string, isTrue: () => boolean, limitMs = 30_000): Promise<void> {
  const deadline = performance.now() + limitMs
  while (!isTrue()) {
    if (performance.now() > deadline) throw new Error(`it never came to this: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

/** A picture that moves, without a camera. */
export function canvasStream (): MediaStream {
  const canvas = document.createElement('canvas')
  const context = canvas.getContext('2d')
  let hue = 0
  const timer = setInterval(() => {
    if (context === null) return clearInterval(timer)
    context.fillStyle = `hsl(${hue += 20} 80% 50%)`
    context.fillRect(0, 0, canvas.width, canvas.height)
  }, 50)
  return canvas.captureStream(20)
}

/** Waits until a picture of a peer's moves. */
export async function moves (peer: () => Peer): Promise<void> {
  await until('a stream comes', () => peer().stream !== undefined)
  const video = document.createElement('video')
  video.muted = true
  video.srcObject = peer().stream ?? null
  let isDone = false
  void (async () => {
    await video.play()
    const times = new Set<number>()
    while (times.size < 3) await new Promise<void>(resolve => video.requestVideoFrameCallback((_now, { mediaTime }) => { times.add(mediaTime); resolve() }))
    isDone = true
  })()
  await until('the picture moves', () => isDone)
  video.srcObject = null
}
