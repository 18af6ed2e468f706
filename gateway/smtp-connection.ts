import type net from 'node:net'
import type tls from 'node:tls'
import { SMTPServer, type SMTPServerDataStream, type SMTPServerOptions } from 'smtp-server'
import { SMTPConnection, type SMTPConnectionOptions } from 'smtp-server/lib/smtp-connection.js'
import { SMTPStream, type SMTPStreamOptions } from 'smtp-server/lib/smtp-stream.js'
import { type BareNewline, createDataScan, type DataScan } from './data-scan.ts'

/**
 * smtp-server with its traps closed. It leans on insides of exactly the version that package.json pins; test/gateway/listener.test.ts
 * says from outside what must hold when the version changes.
 */

/** What `onData` gets. After a fault or beyond the size limit the rest of the message is read and thrown away. */
export type DataStream = SMTPServerDataStream & {
  /** The first bare CR or LF where they are refused; final once the stream has ended. */
  fault: BareNewline | null
}

export type StrictOptions = SMTPServerOptions & { readonly bareNewlines: 'refuse' | 'normalise' }

/** The server that makes a {@link StrictConnection} of every client. */
export class StrictServer extends SMTPServer {
  readonly bareNewlines: 'refuse' | 'normalise'

  constructor(options: StrictOptions) {
    super(options)
    this.bareNewlines = options.bareNewlines
  }

  override connect(socket: net.Socket | tls.TLSSocket, socketOptions?: SMTPConnectionOptions | null): void {
    const connection = new StrictConnection(this, socket, socketOptions ?? {})
    this.connections.add(connection)
    connection.on('error', (error) => this._onError(error))
    connection.on('connect', (data) => this._onClientConnect(data))
    connection.init()
  }
}

const REPLY_STATUS = /^[245]\.\d{1,3}\.\d{1,3} /

class StrictConnection extends SMTPConnection {
  /** Greets at once; the library would wait 100 ms for early talkers. */
  override init(): void {
    this._setListeners(() => {
      const { maxClients } = this._server.options
      if (maxClients && this._server.connections.size > maxClients) {
        this.send(421, `${this.name} too many connections, try again in a moment`, false)
        return
      }
      this.connectionReady()
    })
  }

  /** A text that brings its own RFC 3463 code keeps it; the library would put one of its guesses before it. */
  override send(code: number, data?: string | string[] | null, context?: string | false): void {
    const own = typeof data === 'string' && REPLY_STATUS.test(data)
    super.send(code, data, own ? false : context)
  }

  /** Where signing in needs TLS it is not offered without (RFC 4954 4, RFC 8314 3.3); AUTH itself is answered 538 as before. */
  override handler_EHLO(command: Buffer, callback: () => void): void {
    const { disabledCommands, allowInsecureAuth } = this._server.options
    const hidden = !this.secure && !allowInsecureAuth
    if (hidden) this.session.disabledCommands = [...(disabledCommands ?? []), 'AUTH']
    super.handler_EHLO(command, () => {
      if (hidden) delete this.session.disabledCommands
      callback()
    })
  }

  override _createParser(): SMTPStream {
    // The base constructor calls this before any field of this class is there.
    const server = this._server as StrictServer
    const parser = new StrictStream(server.bareNewlines, { maxCommandLength: server.options.maxCommandLength })
    parser.oncommand = (command, callback) => this._onCommand(command, callback)
    parser.on('error', (error) => this.send(421, `Error: ${error.message}`))
    return parser
  }
}

class StrictStream extends SMTPStream {
  readonly #bareNewlines: 'refuse' | 'normalise'
  #scan: DataScan
  #sink: DataStream | null = null

  constructor(bareNewlines: 'refuse' | 'normalise', options: SMTPStreamOptions) {
    super(options)
    this.#bareNewlines = bareNewlines
    this.#scan = createDataScan(bareNewlines)
  }

  override startDataMode(maxBytes?: number | string | null): SMTPServerDataStream {
    this.#scan = createDataScan(this.#bareNewlines)
    this.#sink = Object.assign(super.startDataMode(maxBytes), { fault: null })
    return this.#sink
  }

  override _feedDataStream(chunk: Buffer, done: (error?: Error | null) => void): void {
    const sink = this.#sink
    if (sink === null) {
      done()
      return
    }
    const { pieces, end } = this.#scan.feed(chunk)
    if (this.#bareNewlines === 'refuse') sink.fault = this.#scan.fault()
    let flowing = true
    for (const piece of pieces) {
      this._countDataBytes(piece.length)
      if (!sink.sizeExceeded && sink.writable) flowing = sink.write(piece)
    }
    if (end !== -1) {
      this.#sink = null
      this._endDataMode(false, chunk.subarray(end), done)
      return
    }
    if (flowing || sink.destroyed) {
      done()
      return
    }
    const resume = () => {
      sink.off('drain', resume)
      sink.off('close', resume)
      done()
    }
    sink.on('drain', resume)
    sink.on('close', resume)
  }
}
