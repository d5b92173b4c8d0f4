import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Files in PEM, until the test ends. */
export interface Certificates { readonly ca: string, readonly cert: string, readonly key: string }

/** A CA of one's own, and a certificate of it for a server on 127.0.0.1. Made anew each time: no key is kept anywhere. */
export async function makeCertificates (t: TestContext): Promise<Certificates> {
  const directory = await mkdtemp(join(tmpdir(), 'turnip-certificates-'))
  t.after(() => rm(directory, { recursive: true }))
  const openssl = async (...args: string[]): Promise<void> => { await run('openssl', args, { cwd: directory }) }
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  await openssl('req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', '/CN=A CA for one test')
  await openssl('req', ...newKey, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=127.0.0.1')
  await writeFile(join(directory, 'names'), 'subjectAltName=IP:127.0.0.1')
  await openssl('x509', '-req', '-in', 'server.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-out', 'server.crt', '-days', '2', '-extfile', 'names')
  return { ca: join(directory, 'ca.crt'), cert: join(directory, 'server.crt'), key: join(directory, 'server.key') }
}
