/** What a page learns of itself and of its network. Elsewhere nothing of it happens. */

export interface PageListener {
  online: () => void
  offline: () => void
  /** Somebody looks at it again: timers slept in the meantime. */
  shown: () => void
  /** It goes, or is put aside in the back/forward cache, where no socket lives. */
  hidden: () => void
  /** It was put aside, and is back. */
  restored: () => void
}

/** @returns what ends it */
export function watchPage (on: PageListener): () => void {
  const controller = new AbortController()
  const { signal } = controller
  const scope = globalThis as Partial<Pick<Window, 'addEventListener' | 'document'>>
  scope.addEventListener?.('online', on.online, { signal })
  scope.addEventListener?.('offline', on.offline, { signal })
  scope.addEventListener?.('pagehide', on.hidden, { signal })
  scope.addEventListener?.('pageshow', event => { if (event.persisted) on.restored() }, { signal })
  scope.document?.addEventListener('visibilitychange', () => { if (!document.hidden) on.shown() }, { signal })
  return () => { controller.abort() }
}
