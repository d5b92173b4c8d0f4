/** How many bytes commands, replies and messages of Redis take on the wire (RESP2; RESP3 takes as many for all of these). */

/** What a script or a command answers. */
export type Reply = null | string | number | Reply[]

export function commandBytes (words: ReadonlyArray<string | number | Buffer>): number {
  return words.reduce<number>((sum, word) => sum + bulk(Buffer.isBuffer(word) ? word.length : Buffer.byteLength(String(word))), head(words.length))
}

export function replyBytes (reply: Reply): number {
  if (reply === null) return 5 // $-1
  if (typeof reply === 'number') return 3 + String(reply).length
  if (typeof reply === 'string') return bulk(Buffer.byteLength(reply))
  return reply.reduce<number>((sum, one) => sum + replyBytes(one), head(reply.length))
}

/** A message of pub/sub, as its subscriber gets it. */
export function pushBytes (channel: string, message: Buffer): number {
  return commandBytes(['message', channel, message])
}

/** `$12` or `*12`, and the end of the line. */
function head (count: number): number { return 3 + String(count).length }

function bulk (length: number): number { return head(length) + length + 2 }
