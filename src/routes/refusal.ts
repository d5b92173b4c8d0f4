import { STATUS_CODES } from 'node:http'
import type { FastifyReply } from 'fastify'
import { HttpRefusal } from '../errors.ts'

/** Answers a refusal as the protocol has it: `{statusCode, error, message, code}`. Other errors go the usual way. */
export function sendRefusal (error: unknown, _request: unknown, reply: FastifyReply): void {
  if (!(error instanceof HttpRefusal)) {
    void reply.send(error)
    return
  }
  const { statusCode, code, message, headers } = error
  void reply.code(statusCode).headers(headers).send({ statusCode, error: STATUS_CODES[statusCode], message, code })
}
