/**
 * The step before the tests: they run against a real Redis server, a real TURN server and a real browser, with clocks
 * that are wrong, and no npm package carries what that takes.
 * On Debian and its kin this installs what is missing; elsewhere it says in one line what to install.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFlags } from './command-line.js'
import {
  MINIMUM_REDIS_VERSION, findChromium, findFaketime, findOnPath, findRedisServer, findTurnServer, isNewEnough, isSnapStub, redisVersion
} from './services.js'

const HELP = `Usage: node scripts/install-services.js [--verbose]

Looks for the programs that Turnip's tests need, and installs the missing ones with apt-get where there is one that may
be used (as root, or with a sudo that asks no password). Says nothing and changes nothing when all are there.

  redis-server   ${MINIMUM_REDIS_VERSION} or newer, on the PATH
  Chromium       chromium, chromium-browser or google-chrome on the PATH, or the path in CHROMIUM_PATH
  faketime       on the PATH
  coturn         its turnserver, on the PATH

  -v, --verbose  show what was found, and all that apt-get prints
  -h, --help     show this text
`

/** Packages that start a service when they are installed, each named like its service. */
const SERVICES = ['redis-server', 'coturn']

/** @typedef {{ redis: boolean, chromium: boolean, faketime: boolean, coturn: boolean }} Needs what is missing */

/** @type {Needs} */
const CHROMIUM_ALONE = { redis: false, chromium: true, faketime: false, coturn: false }

/** A failure that is told to the user in its one line, without a stack. */
class Unavailable extends Error {}

const options = readFlags(HELP, { verbose: { type: 'boolean', short: 'v' } })

try {
  installMissing()
} catch (error) {
  if (!(error instanceof Unavailable)) throw error
  console.error(error.message)
  process.exitCode = 1
}

function installMissing () {
  const needs = {
    redis: findRedisServer() === undefined, chromium: findChromium() === undefined, faketime: findFaketime() === undefined, coturn: findTurnServer() === undefined
  }

  if (needs.chromium && process.env.CHROMIUM_PATH) {
    throw new Unavailable(`CHROMIUM_PATH is "${process.env.CHROMIUM_PATH}", which cannot be run: set it to a Chromium's executable, or unset it`)
  }

  if (Object.values(needs).includes(true)) {
    const apt = aptGet()
    if (apt === undefined) throw new Unavailable(whatToInstall(needs))
    installWithApt(apt, needs)
  }

  if (options.verbose) {
    console.log(`redis-server: ${findRedisServer()}`)
    console.log(`Chromium: ${findChromium()}`)
    console.log(`faketime: ${findFaketime()}`)
    console.log(`turnserver: ${findTurnServer()}`)
  }
}

/**
 * The command that installs packages without a question, or undefined where there is none.
 *
 * @returns {string[] | undefined}
 */
function aptGet () {
  if (findOnPath('apt-get').length === 0) return undefined
  if (process.getuid?.() === 0) return []
  if (findOnPath('sudo').length > 0 && spawnSync('sudo', ['-n', 'true']).status === 0) return ['sudo', '-n']
  return undefined
}

/**
 * @param {string[]} asRoot what stands before a command to run it as root
 * @param {Needs} needs
 */
function installWithApt (asRoot, needs) {
  // RUNLEVEL=1 keeps invoke-rc.d from starting a System V service; under systemd, stopService makes up for it.
  const apt = [...asRoot, 'env', 'DEBIAN_FRONTEND=noninteractive', 'RUNLEVEL=1', 'apt-get', '-o', 'DPkg::Lock::Timeout=120']
  const packages = [
    ...needs.redis ? ['redis-server'] : [], ...needs.chromium ? ['chromium'] : [], ...needs.faketime ? ['faketime'] : [], ...needs.coturn ? ['coturn'] : []
  ]
  const names = inWords(packages)

  // The lists may be absent (a fresh container) or name versions that are gone. One broken source of many is no reason
  // to stop: the install below says whether it mattered.
  console.log('Updating the package lists (apt-get update)')
  const update = run([...apt, 'update'])

  if (needs.redis) checkRedisPackage()
  if (needs.chromium) checkChromiumPackage()

  const newServices = SERVICES.filter(service => packages.includes(service) && !isInstalled(service))
  console.log(`Installing ${names} (apt-get install)`)
  const install = run([...apt, 'install', '-y', '--no-install-recommends', ...packages])
  for (const service of newServices) stopService(asRoot, service)

  if (!install.ok) {
    if (!options.verbose) process.stderr.write(update.output + install.output)
    throw new Unavailable(`apt-get could not install ${names}: see its messages above`)
  }

  const missing = { redis: findRedisServer() === undefined, chromium: false, faketime: findFaketime() === undefined, coturn: findTurnServer() === undefined }
  if (Object.values(missing).includes(true)) throw new Unavailable(whatToInstall(missing))
  const chromium = needs.chromium ? findChromium() : undefined
  if (needs.chromium && (chromium === undefined || spawnSync(chromium, ['--version']).status !== 0)) {
    throw new Unavailable(`The chromium package is installed, but does not run. ${whatToInstall(CHROMIUM_ALONE)}`)
  }
}

function checkRedisPackage () {
  const version = /^Version: (?:\d+:)?(\S+)/m.exec(describePackage('redis-server'))?.[1]
  if (version !== undefined && isNewEnough(version)) return
  throw new Unavailable(version === undefined
    ? `apt-get knows no package redis-server: install redis-server ${MINIMUM_REDIS_VERSION} or newer by hand, and put it on the PATH`
    : `apt-get has redis-server ${version} only: install ${MINIMUM_REDIS_VERSION} or newer by hand, and put it on the PATH`)
}

function checkChromiumPackage () {
  const description = describePackage('chromium')
  const isReal = /^Version: /m.test(description) && !/^(?:Pre-)?Depends: .*\bsnapd\b/m.test(description)
  if (isReal) return
  throw new Unavailable(`apt-get has no Chromium here, or a stub for its snap. ${whatToInstall(CHROMIUM_ALONE)}`)
}

/**
 * @param {string} name
 * @returns {string} the fields of the version that apt-get would install; empty when there is none
 */
function describePackage (name) {
  return spawnSync('apt-cache', ['show', '--no-all-versions', name], { encoding: 'utf8' }).stdout ?? ''
}

/**
 * @param {string} name
 * @returns {boolean}
 */
function isInstalled (name) {
  // eslint-disable-next-line no-template-curly-in-string -- dpkg-query's own syntax
  const { stdout } = spawnSync('dpkg-query', ['-W', '-f', '${db:Status-Status}', name], { encoding: 'utf8' })
  return stdout === 'installed'
}

/**
 * The tests start servers of their own; the one that a package starts would take a port of the machine (6379, 3478) now
 * and at every boot, and nobody asked for it. Called only where the package was not there before.
 *
 * @param {string[]} asRoot
 * @param {string} service
 */
function stopService (asRoot, service) {
  if (existsSync('/run/systemd/system')) run([...asRoot, 'systemctl', 'disable', '--now', service])
  else if (existsSync(`/etc/init.d/${service}`)) run([...asRoot, `/etc/init.d/${service}`, 'stop'])
}

/**
 * @param {string[]} command
 * @returns {{ ok: boolean, output: string }}
 */
function run ([file = '', ...args]) {
  const { status, stdout, stderr, error } = spawnSync(file, args, {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
    stdio: ['ignore', options.verbose ? 'inherit' : 'pipe', options.verbose ? 'inherit' : 'pipe']
  })
  return { ok: status === 0, output: `${stdout ?? ''}${stderr ?? ''}${error ? `${error.message}\n` : ''}` }
}

/**
 * @param {Needs} needs
 * @returns {string}
 */
function whatToInstall ({ redis, chromium, faketime, coturn }) {
  const wanted = []
  if (redis) {
    const old = findOnPath('redis-server').map(redisVersion).find(version => version !== undefined)
    wanted.push(`redis-server ${MINIMUM_REDIS_VERSION} or newer${old === undefined ? '' : ` (${old} is there)`}`)
  }
  if (chromium) {
    const hasStub = findOnPath('chromium-browser').some(isSnapStub)
    const why = hasStub ? 'the chromium-browser here is only a stub for its snap; ' : ''
    wanted.push(`Chromium or Google Chrome (${why}CHROMIUM_PATH may name one)`)
  }
  if (faketime) wanted.push('faketime')
  if (coturn) wanted.push('coturn')
  return `Please install ${inWords(wanted)}: Turnip's tests run against ${wanted.length > 1 ? 'them' : 'it'}`
}

/**
 * @param {string[]} things
 * @returns {string} such as "a, b and c"
 */
function inWords (things) {
  return things.length < 2 ? things.join('') : `${things.slice(0, -1).join(', ')} and ${things.at(-1)}`
}
