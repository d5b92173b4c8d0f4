import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** What an application's bundler makes of an import of the library, and which of our files are in it. */
async function bundled (contents: string): Promise<{ gzipped: number, files: string[] }> {
  const { outputFiles: [output], metafile } = await build({
    stdin: { contents, resolveDir: ROOT }, bundle: true, minify: true, format: 'esm', target: 'es2023', write: false, metafile: true, logLevel: 'silent'
  })
  assert.ok(output)
  return { gzipped: gzipSync(output.contents, { level: 9 }).length, files: Object.keys(metafile.inputs) }
}

test('the library is less than 12 kB, minified and gzipped, and brings nothing else along', async t => {
  const all = await bundled("export * from './src/client/index.ts'")
  const signaling = await bundled("export { SignalingClient } from './src/client/index.ts'")
  t.diagnostic(`all of it: ${all.gzipped} bytes; SignalingClient alone: ${signaling.gzipped}`)
  assert.ok(all.gzipped < 12_000, `${all.gzipped} bytes`)
  assert.deepEqual(all.files.filter(file => !/^src\/client\/|^src\/protocol\/codes\.ts$|^<stdin>$/.test(file)), [])
})
