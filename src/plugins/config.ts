import { randomBytes } from 'node:crypto'
import fastifyEnv from '@fastify/env'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { configOf, environmentSchema, givenOf, settingErrorOf, variablesOf, type Config } from '../config.ts'

declare module 'fastify' {
  interface FastifyInstance {
    turnipConfig: Config
    /** This instance's unique name: two processes with one INSTANCE_ID are two instances. */
    turnipNonce: string
  }
}

/**
 * Settings as an embedding application gives them, or the environment that they are read from. Never both. Numbers,
 * booleans and lists may be given as the words of the environment; what is one of a few words stays one of them.
 */
export type ConfigSource = Partial<{ [name in keyof Config]: Config[name] | (Config[name] extends string ? never : string) }> & {
  /** Variables to read the settings from, instead of options. Only the entry points of a process of its own pass it. */
  env?: Readonly<Record<string, unknown>>
}

/**
 * Reads the settings with @fastify/env, in a scope of its own: its decorators are not the host's business.
 * @throws SettingError with one line that says which setting is wrong and what it takes
 */
export async function loadConfig (host: FastifyInstance, { env, ...options }: ConfigSource): Promise<Config> {
  const naming = env === undefined ? 'option' : 'variable'
  const given = givenOf(env ?? variablesOf(options))
  let variables: Record<string, unknown> = {}
  try {
    await host.register(async scope => {
      await scope.register(fastifyEnv, { confKey: 'turnipVariables', schema: environmentSchema(), data: given, env: false, dotenv: false })
      variables = scope.getDecorator('turnipVariables')
    })
  } catch (error) {
    throw settingErrorOf(error, given, naming)
  }
  return configOf(variables, given, naming)
}

/** Decorates `turnipConfig` and `turnipNonce`. */
export default fp<{ config: Config }>(async (fastify, { config }) => {
  fastify.decorate('turnipConfig', config)
  fastify.decorate('turnipNonce', `${config.instanceId}:${randomBytes(8).toString('hex')}`)
}, { name: 'turnip-config' })
