/**
 * This instance's place in the cluster: its lease, what it does when the lease lapses or the store loses its memory, and
 * the members of dead instances that it takes out of their rooms.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Eviction, Leases, Renewal } from '../presence/leases.ts'
import type { Hub } from './hub.ts'
import type { Reconciler } from './reconciler.ts'

/** A lease is renewed so many times in the time it runs. */
export const RENEWALS = 3
/** ... and some of them so much sooner, at most, as chance will have it: instances that came into step must fall out of it. */
export const EARLIER = 0.2
/** How soon a renewal that failed is tried again, ms, at most. */
const RETRY_MS = 500
/** While others are awaited to put their members back, how often it is looked, ms. */
export const REBUILD_PAUSE_MS = 200
/** ... and how much longer for each instance: all look at the same key. */
export const REBUILD_PAUSE_PER_INSTANCE_MS = 0.2
/** How long after the end of somebody's lease it is looked at, ms at most: instances do not all come in step. */
export const JITTER_MS = 100
/** ... and how much longer for each instance: one of them is enough, and all look at the same key. */
export const JITTER_PER_INSTANCE_MS = 0.5
/** Rooms of a dead instance that are visited at a time. */
export const REAP_BATCH = 50

export interface TenureOptions {
  readonly leases: Leases
  readonly reconciler: Reconciler
  readonly hub: Hub
  readonly log: { info (context: object, message: string): void, warn (context: object, message: string): void }
  /** Called for every room that a dead instance's members were taken out of. */
  readonly onEvicted: (room: string, eviction: Eviction) => void
  /** The store has gone away, or is back and all rooms are right again. */
  readonly onReach: (isUp: boolean) => void
}

export class Tenure {
  /** Leases that ran at the last renewal, this one too. */
  instances = 0
  /** Members of dead instances that were taken out. */
  reaped = 0
  readonly #options: TenureOptions
  readonly #leaseMs: number
  /** Until when the lease surely runs, and since when it has run without a break; by this process' own clock, ms. */
  #heldUntil = -Infinity
  #unbrokenSince = Infinity
  #renewedAt: number | undefined
  /** The last renewal was answered within the time between two of them. */
  #isSteady = false
  /** The connection was lost and the lease was not renewed since: the store may have forgotten everything. */
  #isUnsure = false
  #isDeaf = false
  #isUp = true
  /** Losses of memory that are being made good. */
  #rebuilds = 0
  #restored = 0
  #hasRestored = false
  #timer: NodeJS.Timeout | undefined
  #reachTimer: NodeJS.Timeout | undefined
  #renewing: Promise<boolean> | undefined
  #recovering: Promise<void> = Promise.resolve()
  #reaping = false
  #stopped = false

  constructor (options: TenureOptions) {
    this.#options = options
    this.#leaseMs = options.leases.leaseMs
  }

  /** The lease has ended, as far as this instance knows: it lets nobody in, as others may be reaping its members. */
  get isFenced (): boolean { return performance.now() >= this.#heldUntil }

  /** Whether the store answers, as clients were told last. */
  get isReached (): boolean { return this.#isUp }

  /** Whether the store is known to remember what it was told. Otherwise a leave that it answers may have meant nothing to it. */
  get trustsStore (): boolean { return !this.#isUnsure && this.#rebuilds === 0 }

  /** Whether joins and disbands may be asked of the store. */
  get admits (): boolean { return !this.isFenced && this.trustsStore }

  /** Since the last renewal, ms; undefined before the first. */
  get ageMs (): number | undefined { return this.#renewedAt === undefined ? undefined : Math.round(performance.now() - this.#renewedAt) }

  /** Takes up the lease. @returns whether it is held; it goes on trying */
  async start (): Promise<boolean> {
    return await this.#renew()
  }

  /** The connection to the store was lost. */
  disconnected (): void {
    this.#isUnsure = true
    this.#reach(false)
  }

  /** The connection to the store is there again: whatever was asked of it before is in doubt. */
  async reconnected (): Promise<void> {
    if (this.#renewedAt !== undefined) await this.#renew()
  }

  /** The connection to a part of the store was lost: that part may have forgotten everything. */
  async partLost (): Promise<void> {
    this.#isUnsure = true
    await this.reconnected()
  }

  /** Other instances cannot reach this one, or can again. */
  deaf (isDeaf: boolean): void {
    this.#isDeaf = isDeaf
    if (isDeaf) this.#reach(false)
    else this.#recover(async () => {})
  }

  /** Ends the renewals. @param isEmpty whether no member of this instance is left in the store: then the lease is given up */
  async stop (isEmpty: boolean): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    clearTimeout(this.#reachTimer)
    await this.#renewing
    if (!isEmpty) return
    await this.#options.leases.resign().catch((error: unknown) => {
      this.#options.log.warn({ err: error }, 'the lease could not be given up; it runs out by itself')
    })
  }

  async #renew (): Promise<boolean> {
    while (this.#renewing !== undefined) await this.#renewing
    if (this.#stopped) return false
    this.#renewing = this.#renewOnce()
    try {
      return await this.#renewing
    } finally {
      this.#renewing = undefined
    }
  }

  async #renewOnce (): Promise<boolean> {
    const { leases, log } = this.#options
    clearTimeout(this.#timer)
    const sentAt = performance.now()
    // A store that was frozen finds leases ended whose renewals wait to be read: those get the time of a renewal.
    const mayReap = this.#isSteady && sentAt - this.#unbrokenSince >= this.#leaseMs && this.trustsStore && !this.#reaping
    this.#isSteady = false
    try {
      const renewal = await leases.renew(this.#hasRestored, mayReap)
      this.#isSteady = performance.now() - sentAt < this.#leaseMs / RENEWALS
      if (this.#renewedAt !== undefined && sentAt >= this.#heldUntil) log.warn({ since: renewal.since }, 'the lease had ended; it is held again')
      this.#heldUntil = sentAt + this.#leaseMs
      this.#renewedAt = performance.now()
      this.#follow(renewal)
      // Whose lease ended before this one may reap is found as soon as it may.
      const mayReapInMs = this.#unbrokenSince + this.#leaseMs - performance.now()
      const jitterMs = JITTER_MS + JITTER_PER_INSTANCE_MS * renewal.instances
      this.#schedule(Math.min(this.#leaseMs / RENEWALS * (1 - Math.random() * EARLIER), renewal.nextEndMs + Math.random() * jitterMs, mayReapInMs > 0 ? mayReapInMs + 1 : Infinity))
      return true
    } catch (error) {
      if (this.#isUp) log.warn({ err: error }, 'the lease could not be renewed; it is tried again')
      this.#reach(false)
      this.#schedule(Math.min(RETRY_MS, this.#leaseMs / RENEWALS))
      return false
    }
  }

  #follow ({ since, instances, restored, reap }: Renewal): void {
    const { reconciler } = this.#options
    const wasUnsure = this.#isUnsure
    const former = this.instances
    this.#isUnsure = false
    this.instances = instances
    this.#restored = restored
    if (since !== 'kept' || this.#unbrokenSince === Infinity) this.#unbrokenSince = performance.now()
    if (since === 'forgotten') {
      this.#rebuilds++
      this.#hasRestored = false
      reconciler.isRebuilding = true
      this.#recover(async () => { await this.#rebuild(former) })
    } else if (since === 'lapsed' || wasUnsure) {
      this.#doubtAll(since === 'lapsed' ? 'lapsed' : 'reconnect')
    } else if (!this.#isUp) {
      this.#recover(async () => {})
    }
    if (reap.length > 0 && this.#isSteady) void this.#reap(reap)
  }

  /** Recoveries run one after the other. When the last is done and every room was asked for, the store is said to be back. */
  #recover (work: () => Promise<void>): void {
    this.#recovering = this.#recovering.then(work).then(() => { this.#reachAgain() }).catch((error: unknown) => {
      this.#options.log.warn({ err: error }, 'a recovery failed')
    })
  }

  #reachAgain (): void {
    if (this.#isDeaf || !this.admits || this.#stopped) return
    clearTimeout(this.#reachTimer) // every recovery asks
    if (!this.#options.reconciler.isRecovering) this.#reach(true)
    else this.#reachTimer = setTimeout(() => { this.#reachAgain() }, RETRY_MS).unref()
  }

  /** From this turn on, so that no join gets ahead of it. */
  #doubtAll (cause: 'lapsed' | 'reconnect'): void {
    const { reconciler, hub } = this.#options
    const asked = reconciler.doubtAll(hub.rosters.map(({ room }) => room), cause)
    this.#recover(async () => { await asked })
  }

  /** @param former how many instances there were: they, too, put their members back */
  async #rebuild (former: number): Promise<void> {
    const { reconciler, hub, log } = this.#options
    const until = performance.now() + this.#leaseMs
    // The last renewal knows nothing of an instance that has started since; rosters do, once it has a member of theirs.
    const others = new Set(hub.rosters.flatMap(roster => [...roster.instances]))
    const awaited = Math.max(former, others.size + 1)
    log.warn({ instances: awaited }, 'the store has lost its memory: every instance puts its members back')
    await reconciler.doubtAll(hub.rosters.map(({ room }) => room), 'forgotten')
    while (!this.#stopped && performance.now() < until) {
      // Ends are announced when all are back: one that does not hear yet would miss them.
      this.#hasRestored = !this.#isDeaf
      await this.#renew()
      if (this.#restored >= awaited) break
      await delay(REBUILD_PAUSE_MS + REBUILD_PAUSE_PER_INSTANCE_MS * awaited, undefined, { ref: false })
    }
    this.#hasRestored = true
    if (--this.#rebuilds > 0) return // once more, as it was lost again meanwhile
    reconciler.isRebuilding = false
    await reconciler.settleAll()
  }

  async #reap (holders: readonly string[]): Promise<void> {
    const { leases, log, onEvicted } = this.#options
    this.#reaping = true
    try {
      for (const holder of holders) {
        const rooms = await leases.roomsOf(holder)
        let members = 0
        for (let at = 0; at < rooms.length; at += REAP_BATCH) {
          if (this.isFenced) return // others may be reaping us
          await Promise.all(rooms.slice(at, at + REAP_BATCH).map(async room => {
            const eviction = await leases.evict(room, holder)
            if (eviction === undefined) return
            members += eviction.changes.length
            onEvicted(room, eviction)
          }))
        }
        await leases.forget(holder)
        this.reaped += members
        log.info({ holder, rooms: rooms.length, members }, 'the lease of an instance had ended: its members have left')
      }
    } catch (error) {
      log.warn({ err: error }, 'the members of a dead instance could not be taken out; another instance, or this one, tries again')
    } finally {
      this.#reaping = false
    }
  }

  #reach (isUp: boolean): void {
    if (isUp === this.#isUp || this.#stopped) return
    this.#isUp = isUp
    this.#options.onReach(isUp)
  }

  #schedule (ms: number): void {
    clearTimeout(this.#timer)
    if (!this.#stopped) this.#timer = setTimeout(() => { void this.#renew() }, ms).unref()
  }
}
