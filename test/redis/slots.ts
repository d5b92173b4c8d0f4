import assert from 'node:assert/strict'
import type { ClusterNode, RedisCluster } from '../harness/redis-cluster.ts'
import { until } from '../harness/until.ts'

const PREFIX = 'turnip:development:'
const LEASES = `${PREFIX}{cluster}:instances`

/** The slot that a room is in. */
export async function slotOfRoom (cluster: RedisCluster, room: string): Promise<number> {
  return await cluster.slotOf(`${PREFIX}room:{${room}}`)
}

/** @returns the name of a room that a master holds */
export async function roomOn (cluster: RedisCluster, { id }: ClusterNode, name: string): Promise<string> {
  for (let i = 0; ; i++) {
    const room = `${name}-${i}`
    if ((await cluster.ownerOf(await slotOfRoom(cluster, room))).id === id) return room
  }
}

/** The inboxes of the instances. */
export async function inboxes (cluster: RedisCluster): Promise<string[]> {
  const channels = await Promise.all(cluster.masters.map(async ({ redis }) => await redis.pubsub('SHARDCHANNELS') as string[]))
  return channels.flat()
}

/** Has one master hold what all rooms need: the leases and the inboxes. */
export async function gatherOn (cluster: RedisCluster, to: ClusterNode): Promise<void> {
  for (const name of [LEASES, ...await inboxes(cluster)]) {
    const slot = await cluster.slotOf(name)
    if (await cluster.ownerOf(slot) !== to) await cluster.move(slot, to)
  }
  await until('the inboxes are heard again', async () => (await to.redis.pubsub('SHARDCHANNELS') as string[]).length === 2)
}

export function mastersOf (cluster: RedisCluster): [ClusterNode, ClusterNode, ClusterNode] {
  const [first, second, third] = cluster.masters
  assert.ok(first && second && third)
  return [first, second, third]
}
