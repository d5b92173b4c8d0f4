import type { Redis } from 'ioredis'

/** Breaks a connection off and has it made anew. `disconnect` alone waits for the other side, which may never answer. */
export function cut (client: Redis): void {
  const { stream } = client
  client.disconnect(true)
  stream.destroy()
}
