import { existsSync, mkdirSync, readFileSync, readdirSync, watch, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

/** An editor writes a file in several steps, ms. */
const SETTLE_MS = 50

const SOURCES = fileURLToPath(new URL('../src', import.meta.url))
const TARGET = fileURLToPath(new URL('../dist', import.meta.url))
const CONFIG = fileURLToPath(new URL('../src/client/tsconfig.build.json', import.meta.url))

/**
 * Makes dist/client for the demo page as `npm run build` does, and again whenever a source changes, without a look at
 * types: tsx runs the server without one too, and a start should not wait for the compiler.
 *
 * @returns {() => void} ends it
 */
export function keepClientTranspiled () {
  transpile()
  /** @type {NodeJS.Timeout | undefined} */
  let timer
  const watcher = watch(join(SOURCES, 'client'), { recursive: true }, () => {
    clearTimeout(timer)
    timer = setTimeout(transpile, SETTLE_MS)
  })
  return () => {
    clearTimeout(timer)
    watcher.close()
  }
}

function transpile () {
  const { options } = ts.parseJsonConfigFileContent(ts.readConfigFile(CONFIG, ts.sys.readFile).config, ts.sys, dirname(CONFIG))
  const compilerOptions = { ...options, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler } // one file alone does not tell that its package is of modules
  const files = readdirSync(join(SOURCES, 'client'), { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts'))
  for (const file of ['protocol/codes.ts', ...files.map(file => `client/${file}`)]) {
    const fileName = join(SOURCES, file)
    const { outputText, sourceMapText, diagnostics } = ts.transpileModule(readFileSync(fileName, 'utf8'), { compilerOptions, fileName, reportDiagnostics: true })
    if (diagnostics?.length) console.error(ts.formatDiagnostics(diagnostics, { getCanonicalFileName: name => name, getCurrentDirectory: ts.sys.getCurrentDirectory, getNewLine: () => '\n' }))
    const target = join(TARGET, file.replace(/ts$/, 'js'))
    mkdirSync(dirname(target), { recursive: true })
    write(target, outputText)
    if (sourceMapText !== undefined) write(`${target}.map`, sourceMapText)
  }
}

/**
 * A file that is what it should be is left alone: another server may be sending it.
 *
 * @param {string} target
 * @param {string} text
 */
function write (target, text) {
  if (!existsSync(target) || readFileSync(target, 'utf8') !== text) writeFileSync(target, text)
}
