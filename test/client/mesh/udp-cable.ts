import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'

/** One end that others reach through us. */
interface Front { socket: Socket, port: number, backs: Map<string, Promise<Socket>>, isCut: boolean }

/**
 * Stands between browsers, as a NAT does: whoever is told of an end by our port reaches it through us. So a test can cut
 * a path that works, which nothing in a browser can: its emulation of bad networks leaves WebRTC alone.
 */
export class UdpCable {
  readonly #fronts = new Map<string, Promise<Front>>()
  readonly #sockets: Socket[] = []
  #isCut = false

  /** @returns the candidate with our port in the place of its own; undefined for one that is of no use through us */
  async through (candidate: string): Promise<string | undefined> {
    const words = candidate.split(' ')
    const [, , protocol = '', , address = '', port = ''] = words
    if (protocol.toLowerCase() !== 'udp' || !/^\d+(\.\d+){3}$/.test(address)) return undefined
    const key = `${address}:${port}`
    const front = this.#fronts.get(key) ?? this.#open(address, Number(port))
    this.#fronts.set(key, front)
    words[5] = String((await front).port)
    return words.join(' ')
  }

  /** Nothing gets through any more: by the ports so far for good, by others until `mend`. */
  async cut (): Promise<void> {
    this.#isCut = true
    for (const front of this.#fronts.values()) (await front).isCut = true
    this.#fronts.clear()
  }

  /** Ports opened from now on work: it is another network. */
  mend (): void {
    this.#isCut = false
  }

  close (): void {
    for (const socket of this.#sockets) socket.close()
  }

  async #open (address: string, port: number): Promise<Front> {
    const front: Front = { socket: await this.#bound(address), port: 0, backs: new Map(), isCut: this.#isCut }
    front.port = front.socket.address().port
    front.socket.on('message', (packet, from) => {
      if (front.isCut) return
      const key = `${from.address}:${from.port}`
      const back = front.backs.get(key) ?? this.#bound(address).then(socket => socket.on('message', answer => {
        if (!front.isCut) front.socket.send(answer, from.port, from.address)
      }))
      front.backs.set(key, back)
      void back.then(socket => { socket.send(packet, port, address) })
    })
    return front
  }

  async #bound (address: string): Promise<Socket> {
    const socket = createSocket('udp4')
    // a port of a browser that has closed answers "refused"
    socket.on('error', () => {})
    socket.bind(0, address)
    await once(socket, 'listening')
    this.#sockets.push(socket)
    return socket
  }
}
