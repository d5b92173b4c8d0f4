import type { FastifyInstance } from 'fastify'
import { Type, type Static } from 'typebox'
import { HttpRefusal } from '../errors.ts'
import { MAX_TOKEN_BYTES } from '../protocol/codes.ts'

const Body = Type.Object({
  username: Type.String({ minLength: 1, maxLength: 256 }),
  user_id: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
  email: Type.Optional(Type.String({ maxLength: 256 })),
  role: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
  rooms: Type.Optional(Type.Array(Type.String({ pattern: '^(\\*|[A-Za-z0-9_\\-.:@]{1,128}\\*?)$' }), { maxItems: 256 }))
})

/** POST /generate-token: a token for anybody who asks. Development only: in production your own application signs them. */
export default async function token (fastify: FastifyInstance): Promise<void> {
  const { turnipAuth: { sign }, turnipLimits: limits } = fastify
  if (sign === undefined) return
  fastify.post<{ Body: Static<typeof Body> }>('/generate-token', { schema: { body: Body }, onRequest: async request => { await limits.tokenAsked(request) } }, async ({ body }) => {
    const { username, user_id = username, email, role = 'user', rooms } = body
    const token = sign({ user_id, username, ...(email !== undefined && { email }), role, ...(rooms !== undefined && { rooms }) })
    if (token.length > MAX_TOKEN_BYTES) {
      throw new HttpRefusal(400, 'invalid_claims', `The token would be longer than ${MAX_TOKEN_BYTES} bytes, which opens nothing: name fewer rooms`)
    }
    return { token }
  })
}
