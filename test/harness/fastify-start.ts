import { fileURLToPath } from 'node:url'
import { grandchildDiesToo } from './die-with-parent.ts'
import { launch, STOP_LIMIT_MS, type TurnipProcess, type TurnipProcessOptions } from './turnip-process.ts'

const START = fileURLToPath(new URL('../../scripts/start.js', import.meta.url))

/** What `npm start` runs: the built app under `fastify start`. The signals of `stop` go to the script, as npm's would. */
export async function startWithFastify (options: Omit<TurnipProcessOptions, 'built'> = {}): Promise<TurnipProcess> {
  let pid: number | undefined
  const script = await launch([START], line => {
    const found = parseListeningLine(line)
    pid ??= found?.pid
    return found
  }, options)
  if (pid === undefined) throw new Error('fastify start listens, but has not said its process id')
  const server = pid
  grandchildDiesToo(server, script.exited)
  return {
    ...script,
    pid: server,
    stop: async (signal = 'SIGTERM', limitMs = STOP_LIMIT_MS) => {
      const limit = setTimeout(() => { process.kill(server, 'SIGKILL') }, limitMs)
      try {
        return await script.stop(signal, limitMs)
      } finally {
        clearTimeout(limit)
      }
    },
    signal: signal => { process.kill(server, signal) }
  }
}

/** Fastify's own line, as JSON: `{"pid":1,"msg":"Server listening at http://127.0.0.1:3000"}`. */
function parseListeningLine (line: string): { url: string, pid: number } | undefined {
  if (!line.startsWith('{')) return undefined
  const { pid, msg } = JSON.parse(line) as { pid?: unknown, msg?: unknown }
  if (typeof pid !== 'number' || typeof msg !== 'string') return undefined
  const url = /^Server listening at (http:\/\/\S+)$/.exec(msg)?.[1]
  return url === undefined ? undefined : { url, pid }
}
