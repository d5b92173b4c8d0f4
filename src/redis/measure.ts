/** Runs one Redis operation and keeps the figures of it: how often, how long, how it ended. Hands on what it gives or throws. */
export type Measure = <T>(operation: string, run: () => Promise<T>) => Promise<T>
