/** What was found, as tables of Markdown: for the terminal, and between the markers of docs/scaling.md. */
import { BUSY_AT_MOST, CLIENTS_PER_INSTANCE, leaseUs, MAX_CLIENTS, standingOf, type InstanceCosts, type Needs } from './capacity.ts'
import type { RedisCosts } from './redis-costs.ts'
import type { Run } from './run.ts'
import { beatsOf, burstsOf, type Standing } from './standing.ts'
import { callRate, type Workload } from './workload.ts'

type Cell = string | number

function table (head: readonly string[], rows: ReadonlyArray<readonly Cell[]>): string {
  return [head, head.map(() => '---'), ...rows].map(row => `| ${row.join(' | ')} |`).join('\n')
}

/** Three digits that count, with commas between thousands. */
export function figure (value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (value === 0) return '0'
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  return value >= 1000 ? Math.round(Number(value.toPrecision(3))).toLocaleString('en-US') : String(Number(value.toFixed(digits)))
}

export function bytes (value: number): string {
  if (!Number.isFinite(value)) return '–'
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, value)) / 3)))
  return `${figure(value / 1000 ** power)} ${units[power] ?? ''}`
}

const NOT_MEASURED = 'not measured'

function measured (value: number | undefined, show: (value: number) => string): string {
  return value === undefined ? NOT_MEASURED : show(value)
}

/** Through each part, at a rate of calls. */
export function partsTable (workload: Workload, run: Run): string {
  const perSecond = callRate(workload) / run.calls
  const row = (part: string, count: number, sum: number, among = 1): Cell[] => [part, figure(count / run.calls), bytes(sum / run.calls), figure(count * perSecond / among), bytes(sum * perSecond / among)]
  const { instances } = workload
  const { fromClients, toClients, pushed, redis, flows } = run
  return table(['part', 'a call', 'bytes a call', 'a second', 'bytes a second'], [
    row('clients to instances, frames', fromClients.frames, fromClients.bytes),
    row('instances to clients, frames', toClients.frames, toClients.bytes),
    row('– one instance, both', fromClients.frames + toClients.frames, fromClients.bytes + toClients.bytes, instances),
    row('instances to Redis, commands', redis.commands, redis.bytesIn),
    ...[...flows].filter(([name]) => name !== 'lobby').map(([name, flow]) => row(`– ${name === 'publish' ? 'PUBLISH to an inbox' : name}`, flow.commands, flow.bytesIn)),
    row('Redis to instances, answers', redis.commands, redis.bytesOut),
    row('Redis to inboxes, batches', pushed.inbox.messages, pushed.inbox.bytes),
    row('– one inbox', pushed.inbox.messages, pushed.inbox.bytes, instances),
    row('announced in the lobby, which nobody hears', flows.get('lobby')?.commands ?? 0, 0)
  ])
}

/** The same calls over more and more instances. */
export async function growthTable (runs: ReadonlyArray<{ workload: Workload, run: Run }>): Promise<string> {
  const rows = await Promise.all(runs.map(async ({ workload, run }) => {
    const beats = await beatsOf(standingOf(workload, run, 1))
    const beat = (operation: string): string => figure(beats.find(one => one.operation === operation)?.perSecond ?? 0)
    return [
      figure(workload.instances), workload.sticky === 1 ? 'sticky by room' : 'any', figure((run.flows.get('publish')?.commands ?? 0) / run.messages), figure(run.redis.commands / run.calls),
      bytes((run.redis.bytesIn + run.redis.bytesOut + run.pushed.inbox.bytes) / run.calls), figure(run.toClients.frames / run.calls), 1, beat('lease'), beat('ping'), beat('position')
    ]
  }))
  return table(['instances', 'members come to', 'PUBLISH a message', 'Redis commands a call', 'Redis bytes a call', 'frames to clients a call', 'inboxes an instance hears', 'leases renewed/s', 'probes/s', 'positions asked/s'], rows)
}

export async function beatsTable (standings: readonly Standing[]): Promise<string> {
  const all = await Promise.all(standings.map(beatsOf))
  const longest = all.reduce((a, b) => b.length > a.length ? b : a, [])
  return table(['by the clock', 'in', ...standings.map(({ instances, shards, clients }) => `${figure(clients)} clients, ${figure(instances)} instances, ${shards === 1 ? 'one Redis' : `${shards} shards`}`), 'grows with'],
    longest.map(({ what, code, growsWith }) => [what, `\`${code}\``, ...all.map(beats => {
      const found = beats.find(one => one.what === what)
      return found === undefined ? '–' : `${figure(found.perSecond)}/s${Number.isFinite(found.bytesPerSecond) ? `, ${bytes(found.bytesPerSecond)}/s` : ''}`
    }), growsWith]))
}

export function burstsTable (standings: readonly Standing[], costs: RedisCosts | undefined): string {
  const all = standings.map(burstsOf)
  const shape = all.at(-1) ?? []
  return table(['when', 'then', 'in', ...standings.map(({ instances }) => `${figure(instances)} instances`), 'grows with'], shape.map(({ event, what, code, growsWith, operation }, i) => [
    event, what, `\`${code}\``, ...all.map((bursts, n) => {
      const { count = 0, withinMs } = bursts[i] ?? {}
      const us = costs && (operation === 'lease' ? leaseUs(costs, standings[n]?.instances ?? 0) : costs.us[operation])
      const busy = us === undefined || operation !== 'lease' ? '' : `, ${figure(count * us / 1000)} ms of Redis' thread${withinMs === undefined ? '' : ` in ${withinMs} ms`}`
      return `${figure(count)}${busy}`
    }), growsWith
  ]))
}

export function redisCostsTable (costs: RedisCosts | undefined): string {
  if (costs === undefined) return 'Not measured yet: `npm run simulate -- --measure`.'
  const { redis, node, cores, date, connections } = costs.measured
  return [
    `Measured on ${date} with Redis ${redis}, Node ${node.slice(1)} and ${cores} cores; ${connections} connections, each of which waits for one answer before it asks again (\`position\` and \`renew\` go out in batches, as they do in earnest).`, '',
    table(['command or script', 'µs of Redis\' CPU'], [...Object.entries(costs.us).map(([name, us]) => [name, figure(us)]), ...Object.entries(costs.leaseUs).map(([instances, us]) => [`lease renewed, among ${figure(Number(instances))}`, figure(us)])]), '',
    `A room of two on two instances takes ${figure(costs.roomBytes)} bytes of Redis' memory, with what its reapers need; what remembers its end for four leases, ${figure(costs.tombstoneBytes)} bytes.`
  ].join('\n')
}

export function instanceCostsTable (costs: InstanceCosts | undefined): string {
  if (costs === undefined) return 'Not measured yet: the benchmark leaves it in `bench/results.json`, and `npm run simulate -- --docs` takes it from there.'
  return table(['work of an instance', 'measured'], [
    ['a whole call of two', `${figure(costs.call_us)} µs of CPU`], ['a message on one instance', `${figure(costs.message_us)} µs`],
    ['a message between two instances, both of them', `${figure(costs.remote_message_us)} µs`], ['an idle connection', `${figure(costs.connection_kb)} KB`]
  ])
}

/** What so many clients need, a column each. */
export function needsTable (all: readonly Needs[]): string {
  const row = (name: string, of: (needs: Needs) => Cell): Cell[] => [name, ...all.map(of)]
  const cpu = (name: string) => (needs: Needs) => measured(needs.redisCpu?.[name], figure)
  return table(['', ...all.map(({ workload }) => `${figure(workload.clients)}, ${workload.sticky === 1 ? 'sticky' : 'any instance'}`)], [
    row(`instances, of ${figure(CLIENTS_PER_INSTANCE)} clients`, ({ workload }) => figure(workload.instances)),
    row('– cores busy, all together', ({ instanceCpu }) => measured(instanceCpu, figure)),
    row('– memory, all together', ({ instanceMemory }) => measured(instanceMemory, bytes)),
    row('calls begun/s', ({ standing }) => figure(standing.births)),
    row('messages between clients/s', ({ messagesPerSecond }) => figure(messagesPerSecond)),
    row('network to and from clients, B/s', ({ clientBytesPerSecond }) => bytes(clientBytesPerSecond)),
    row('network to and from Redis, B/s', ({ redisBytes }) => bytes(redisBytes)),
    row('Redis commands/s', ({ redisCommands }) => figure(redisCommands)),
    row('Redis, threads busy: joins and leaves', cpu('joins and leaves')),
    row('– messages and changes', cpu('messages and changes')),
    row('– positions of spread rooms', cpu('positions of spread rooms')),
    row('– renewals of rooms', cpu('renewals of rooms')),
    row('– leases and probes', cpu('leases and probes')),
    row(`Redis shards, each ${figure(100 * BUSY_AT_MOST)} % busy`, ({ shards }) => measured(shards, figure)),
    row('connections of one Redis', ({ redisConnections }) => `${figure(redisConnections)}${redisConnections > MAX_CLIENTS ? `, over \`maxclients\` ${figure(MAX_CLIENTS)}` : ''}`),
    row('Redis memory', ({ redisMemory }) => measured(redisMemory, bytes))
  ])
}

/** At which number of clients one thread of Redis has no time left, and what takes it. */
export function saturationTable (all: readonly Needs[]): string {
  const rows = all.map(({ workload, redisCpu }) => {
    const busy = redisCpu === undefined ? [] : Object.entries(redisCpu).sort(([, a], [, b]) => b - a)
    const total = busy.reduce((sum, [, cpu]) => sum + cpu, 0)
    if (total === 0) return [workload.sticky === 1 ? 'sticky by room' : 'any', NOT_MEASURED, NOT_MEASURED, NOT_MEASURED]
    return [workload.sticky === 1 ? 'sticky by room' : 'any', figure(workload.clients * BUSY_AT_MOST / total), figure(workload.clients / total), busy.slice(0, 3).map(([name, cpu]) => `${name} ${figure(100 * cpu / total)} %`).join(', ')]
  })
  return table(['members come to', `clients at ${figure(100 * BUSY_AT_MOST)} % of one thread`, 'clients at all of it', 'what takes it'], rows)
}
