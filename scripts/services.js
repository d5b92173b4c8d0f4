/**
 * Finds the programs that the tests run beside Turnip: a Redis server, Chromium, coturn, and faketime, which gives a
 * process a clock that is wrong. The install step and the tests look in the same places through this file, so what the
 * one accepts, the other finds.
 */
import { spawnSync } from 'node:child_process'
import { accessSync, closeSync, constants, existsSync, openSync, readSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** The oldest Redis that Turnip supports. */
export const MINIMUM_REDIS_VERSION = '6.2'

const CHROMIUM_NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

// macOS keeps applications off the PATH.
const CHROMIUM_APPLICATIONS = [
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'
]

const SNAP_CHROMIUM = '/snap/bin/chromium'

/**
 * @param {string} path
 * @returns {boolean}
 */
export function isExecutable (path) {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/**
 * All executables of this name on the PATH, in its order.
 *
 * @param {string} name
 * @returns {string[]}
 */
export function findOnPath (name) {
  const directories = (process.env.PATH ?? '').split(delimiter).filter(directory => directory !== '')
  return [...new Set(directories)].map(directory => join(directory, name)).filter(isExecutable)
}

/**
 * @param {string} path of a redis-server
 * @returns {string | undefined} undefined when it does not run or tells no version
 */
export function redisVersion (path) {
  const { stdout } = spawnSync(path, ['--version'], { encoding: 'utf8' })
  return /\bv=(\d+\.\d+\.\d+)/.exec(stdout ?? '')?.[1]
}

/**
 * @param {string} version
 * @returns {boolean}
 */
export function isNewEnough (version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [neededMajor = 0, neededMinor = 0] = MINIMUM_REDIS_VERSION.split('.').map(Number)
  return major > neededMajor || (major === neededMajor && minor >= neededMinor)
}

/**
 * The first redis-server on the PATH that is new enough; a newer one may stand behind the distribution's.
 *
 * @returns {string | undefined}
 */
export function findRedisServer () {
  return findOnPath('redis-server').find(path => {
    const version = redisVersion(path)
    return version !== undefined && isNewEnough(version)
  })
}

/**
 * Ubuntu's chromium-browser package is a shell script that only says "install the snap". Starting every candidate to
 * see would cost 200 ms a test run, so the script is read instead.
 *
 * @param {string} path
 * @returns {boolean}
 */
export function isSnapStub (path) {
  const head = readHead(path)
  return head.startsWith('#!') && head.includes(SNAP_CHROMIUM) && !existsSync(SNAP_CHROMIUM)
}

/**
 * @param {string} path
 * @returns {string} its first 4 KiB, where a script says what it starts; empty when it may be run but not read
 */
function readHead (path) {
  const head = Buffer.alloc(4096)
  let file
  try {
    file = openSync(path, 'r')
    return head.toString('latin1', 0, readSync(file, head))
  } catch {
    return ''
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

/**
 * CHROMIUM_PATH, when it is set, is the only candidate: who names a browser does not want the tests to run in another.
 *
 * @returns {string | undefined}
 */
export function findChromium () {
  const chosen = process.env.CHROMIUM_PATH
  const candidates = chosen
    ? [chosen].filter(isExecutable)
    : [...CHROMIUM_NAMES.flatMap(findOnPath), ...CHROMIUM_APPLICATIONS.filter(isExecutable)]
  return candidates.find(path => !isSnapStub(path))
}

/**
 * The wrapper that tells where its library is.
 *
 * @returns {string | undefined}
 */
export function findFaketime () {
  return findOnPath('faketime')[0]
}

/**
 * coturn's TURN server.
 *
 * @returns {string | undefined}
 */
export function findTurnServer () {
  return findOnPath('turnserver')[0]
}
