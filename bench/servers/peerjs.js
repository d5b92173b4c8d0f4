/** PeerJS server with its defaults, but for its limit of 5,000 clients. */
import { PeerServer } from 'peer'
import { announce } from './listen.js'

PeerServer({ port: 0, host: '127.0.0.1', concurrent_limit: 1_000_000 }, announce)
