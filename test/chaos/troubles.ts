import { faultTraits, INSTANCES, type PlannedFault } from './plan.ts'

/** Time on the harness' own clock, ms. */
export function now (): number { return performance.now() }

/** A fault that struck: from when until the cluster was seen to be whole again. */
interface Trouble {
  readonly fault: PlannedFault
  readonly from: number
  until: number
}

/**
 * What was the matter when. It decides what may be demanded: the checks ask here before they call something a failure.
 * A trouble begins when its fault strikes and ends when, after the healing, every view was the same as Redis'.
 */
export class Troubles {
  readonly #all: Trouble[] = []

  begin (fault: PlannedFault): void {
    this.#all.push({ fault, from: now(), until: Infinity })
  }

  /** All agree: what was the matter is over. */
  end (): void {
    for (const trouble of this.#all) trouble.until = Math.min(trouble.until, now())
  }

  /** Whether the process of an instance was killed, frozen or on its way down. */
  ofProcess (instance: number, from: number, until = now()): boolean {
    return this.#some(instance, from, until, ({ kind }) => faultTraits[kind].scope === 'process')
  }

  /** Whether what a process held may be lost: one on its way down hands it over. */
  ofDeath (instance: number, from: number, until = now()): boolean {
    return this.#some(instance, from, until, ({ kind }) => faultTraits[kind].scope === 'process' && kind !== 'drain')
  }

  /** As `ofAny`, but for who goes on: a drain takes nothing from them. */
  ofLoss (instance: number, from: number, until = now()): boolean {
    return this.#some(instance, from, until, ({ kind }) => faultTraits[kind].scope !== 'none' && kind !== 'drain')
  }

  /** Whether an instance was killed, and nothing else was the matter with it. */
  isKilled (instance: number, from: number, until = now()): boolean {
    return this.#some(instance, from, until, ({ kind }) => kind === 'kill') && !this.#some(instance, from, until, ({ kind }) => kind !== 'kill' && faultTraits[kind].scope !== 'none')
  }

  /** Whether an instance could not do all that needs Redis. */
  ofAny (instance: number, from: number, until = now()): boolean {
    return this.#some(instance, from, until, ({ kind }) => faultTraits[kind].scope !== 'none')
  }

  /** Whether what is said in the lobby may have been lost on its way to an instance. A frozen one hears it when it wakes. */
  ofLobby (instance: number, from: number, until = now()): boolean {
    return this.#some(instance, from, until, ({ kind }) => kind !== 'freeze-shortly' && faultTraits[kind].scope !== 'none')
  }

  /** Whether the members of an instance that stayed may have been taken for gone. */
  ofLease (instance: number, from: number, until = now()): boolean {
    return this.#some(instance, from, until, ({ kind }) => faultTraits[kind].reaps && kind !== 'drain')
  }

  /** Whether a change may have been lost on its way to an instance: where it was sent, in Redis, or where it was to be heard. */
  ofChanges (instance: number, from: number, until = now()): boolean {
    return this.ofAny(instance, from, until) ||
      instances.some(other => this.#some(other, from, until, ({ kind }) => ['process', 'link'].includes(faultTraits[kind].scope)))
  }

  #some (instance: number, from: number, until: number, isIt: (fault: PlannedFault) => boolean): boolean {
    return this.#all.some(({ fault, ...trouble }) =>
      (fault.instance === instance || faultTraits[fault.kind].scope === 'redis') && trouble.from < until && trouble.until > from && isIt(fault))
  }
}

/** Every instance. */
export const instances: readonly number[] = Array.from({ length: INSTANCES }, (_, index) => index)
