import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { describe } from 'node:test'
import { startWithFastify } from '../harness/fastify-start.ts'
import { protocolCases } from './cases.ts'
import { alone } from './cluster.ts'

void describe('The protocol on the built app, as npm start runs it', () => {
  protocolCases(async () => {
    assert.ok(existsSync(new URL('../../dist/app.js', import.meta.url)), 'dist/app.js is missing: run "npm run build" first')
    return await alone(startWithFastify)
  })
})
