import { isUtf8 } from 'node:buffer'
import type net from 'node:net'
import type tls from 'node:tls'
import { SMTPServer, type SMTPServerDataStream, type SMTPServerOptions, type SMTPServerSession } from 'smtp-server'
import { SMTPConnection, type SMTPConnectionOptions } from 'smtp-server/lib/smtp-connection.js'
import { SMTPStream, type SMTPStreamOptions } from 'smtp-server/lib/smtp-stream.js'
import { giveBack } from '../envelope/lent.ts'
import { type BareNewline, createDataScan, type DataScan } from './data-scan.ts'

/**
 * smtp-server with its traps closed. It leans on insides of exactly the version that package.json pins; test/gateway/listener.test.ts
 * says from outside what must hold when the version changes.
 */

/** What `onData` gets. It ends with the message but carries nothing itself: the octets are lent to `consume`. */
export type DataStream = SMTPServerDataStream & {
  /** The first bare CR or LF where they are refused; final once the stream has ended. */
  fault: BareNewline | null
  /**
   * Gets each piece, good until it resolves, one after the other; never rejects. To be set before `onData` returns; after a fault, beyond the size limit and without it the
   * message is read and thrown away.
   */
  consume: ((piece: Uint8Array) => Promise<void>) | null
}

export type Strictness = {
  readonly bareNewlines: 'refuse' | 'normalise'
  /** A client must complete a command within this time, however slowly its octets drip; milliseconds. */
  readonly commandTimeoutMs: number
  /** Commands and messages refused for good on one connection, without one that is taken between them. */
  readonly errorLimit: number
  /** Told of each of them; false ends the connection. */
  readonly onClientError: (session: StrictSession) => boolean
}

export type StrictOptions = SMTPServerOptions & Strictness

export type StrictSession = SMTPServerSession & {
  /** True where a balancer did not say for whom it speaks: then the address proves nothing. */
  nobody?: boolean
}

/** What is known of a client before its first word. */
export type Arrival = SMTPConnectionOptions & {
  readonly nobody: boolean
  /** Called once, when the connection has ended. */
  readonly onGone: () => void
}

/** The server that makes a {@link StrictConnection} of every client it is handed; it need not listen itself. */
export class StrictServer extends SMTPServer {
  readonly strictness: Strictness

  constructor(options: StrictOptions) {
    super(options)
    this.strictness = options
  }

  override connect(socket: net.Socket | tls.TLSSocket, arrival?: Partial<Arrival> | null): void {
    const connection = new StrictConnection(this, socket, arrival ?? {})
    this.connections.add(connection)
    connection.on('error', (error) => this._onError(error))
    connection.on('connect', (data) => this._onClientConnect(data))
    connection.init()
  }
}

const REPLY_STATUS = /^[245]\.\d{1,3}\.\d{1,3} /

/** Commands that do no harm and no good, on one connection without a message between them. */
const IDLE_COMMANDS = 200
const IDLE = new Set(['NOOP', 'RSET', 'EHLO', 'HELO', 'VRFY'])

/** A path, after a source route or not, whose local part is quoted and holds nothing that a next hop could take for its end. */
const SPACED_LOCAL = /^([a-z ]+:\s*<(?:@[^\s,:@]+(?:,@[^\s,:@]+)*:)?)("(?:[ !#-;=?A-[\]-~]|\\[ -;=?A-~])*")(@.*)$/i

/** The library replies to `open` sockets alone; one whose client has closed its side takes replies as well. */
const ANSWERABLE = {
  get(this: net.Socket) {
    return this.writable ? 'open' : 'closed'
  },
}

class StrictConnection extends SMTPConnection {
  readonly #strictness: Strictness
  readonly #onGone: () => void
  #deadline: NodeJS.Timeout | null = null
  #errors = 0
  #idleCommands = 0
  #gathering: net.Socket | tls.TLSSocket | null = null

  constructor(server: StrictServer, socket: net.Socket | tls.TLSSocket, arrival: Partial<Arrival>) {
    super(server, Object.defineProperty(socket, 'readyState', ANSWERABLE), arrival)
    this.#strictness = server.strictness
    this.#onGone = arrival.onGone ?? (() => undefined)
    const session: StrictSession = this.session
    session.nobody = arrival.nobody ?? false
    // Whoever has said all there is to say, and closes that side, is still owed the replies.
    socket.allowHalfOpen = true
  }

  /** Greets at once; the library would wait 100 ms for early talkers. */
  override init(): void {
    this.#deadline = setTimeout(() => this.#late(), this.#strictness.commandTimeoutMs).unref()
    this._setListeners(() => this.connectionReady())
  }

  /** The library's own time-out begins anew with every octet. */
  #late(): void {
    if (this._handlerPending || this._dataStream) this.#deadline?.refresh()
    else this.send(421, '4.4.2 no command came in time, closing the connection')
  }

  override _onCommand(command: Buffer, callback?: () => void): void {
    const name = command.toString('latin1').split(' ', 1)[0]?.toUpperCase() ?? ''
    if (!this._nextHandler && IDLE.has(name) && ++this.#idleCommands > IDLE_COMMANDS) {
      this.send(421, '4.7.0 too many commands without a message, closing the connection')
      return
    }
    super._onCommand(command, () => {
      this.#deadline?.refresh()
      callback?.()
    })
  }

  override _onClose(): void {
    if (this.#deadline !== null) clearTimeout(this.#deadline)
    super._onClose()
    this.#onGone()
  }

  /**
   * A text that brings its own RFC 3463 code keeps it; the library would put one of its guesses before it. A client that is refused again
   * and again is let go in place of the next refusal.
   */
  override send(code: number, data?: string | string[] | null, context?: string | false): void {
    if (code >= 500 && this.#isOneTooMany()) {
      super.send(421, '4.7.0 too many errors, closing the connection', false)
      return
    }
    if (code === 250 && context === 'DATA_OK') {
      this.#errors = 0
      this.#idleCommands = 0
    }
    if (code === 250 && context !== 'DATA_OK') this.#gather()
    const own = typeof data === 'string' && REPLY_STATUS.test(data)
    super.send(code, data, own ? false : context)
    if (code !== 250) this.#gathering?.uncork()
  }

  /** Replies to commands that came together leave together (RFC 2920 3.2): with the next one that is waited for, or at the end of this turn. */
  #gather(): void {
    if (this.#gathering !== null) return
    const socket = this._socket
    this.#gathering = socket
    socket.cork()
    setImmediate(() => {
      this.#gathering = null
      socket.uncork()
    })
  }

  #isOneTooMany(): boolean {
    const tolerated = this.#strictness.onClientError(this.session)
    return ++this.#errors > this.#strictness.errorLimit || !tolerated
  }

  /** A client that closes its side before or in the middle of a handshake has gone. */
  override upgrade(...args: Parameters<SMTPConnection['upgrade']>): void {
    this._socket.allowHalfOpen = false
    if (this._socket.readableEnded) this.close()
    else super.upgrade(...args)
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

  /** The library splits at white space, which a quoted local part may hold (RFC 5321 4.1.2): it gets one without in its place. */
  override _parseAddressCommand(
    name: string,
    command: Buffer | string,
  ): ReturnType<SMTPConnection['_parseAddressCommand']> {
    const text = withUtf8Parameters(command.toString())
    const [, before, local, after] = SPACED_LOCAL.exec(text) ?? []
    if (before === undefined || local === undefined) return super._parseAddressCommand(name, text)
    const parsed = super._parseAddressCommand(name, `${before}${'x'.repeat(local.length)}${after}`)
    return parsed === false ? false : { ...parsed, address: local + parsed.address.slice(local.length) }
  }

  override _createParser(): SMTPStream {
    // The base constructor calls this before any field of this class is there.
    const { strictness, options } = this._server as StrictServer
    const parser = new StrictStream(strictness.bareNewlines, { maxCommandLength: options.maxCommandLength })
    parser.oncommand = (command, callback) => {
      // In the place of whatever would have heard it, an AUTH that waits for its next line included.
      if (parser.endsBare(command.length) && !this._upgrading) this._nextHandler = refuseBare
      this._onCommand(command, callback)
    }
    parser.on('error', (error) => this.send(421, `Error: ${error.message}`))
    // The client has closed its side, and all that it said is answered.
    parser.on('finish', () => {
      if (this._parser === parser) this.close()
    })
    return parser
  }
}

/**
 * Octets beyond ASCII in the xtext of a parameter (RFC 3461 4) are UTF-8 where they can be: Postfix writes so what it knows of a recipient whom ASCII
 * cannot carry. The library takes each octet for a character of Latin-1, and refuses half of them as control characters.
 */
function withUtf8Parameters(command: string): string {
  const end = command.indexOf('>') + 1
  const parameters = command.slice(end).replace(/(?:\+[89A-F][0-9A-F])+/g, (xtext) => {
    const octets = Buffer.from(xtext.replaceAll('+', ''), 'hex')
    const text = octets.toString()
    // White space would begin another parameter.
    return isUtf8(octets) && !/\s/.test(text) ? text : xtext
  })
  return command.slice(0, end) + parameters
}

function refuseBare(this: SMTPConnection, _command: Buffer, callback: () => void): void {
  this.send(500, '5.5.2 a command must end in CRLF, not in a bare LF (RFC 5321 2.3.8)')
  callback()
}

class StrictStream extends SMTPStream {
  readonly #bareNewlines: 'refuse' | 'normalise'
  #scan: DataScan
  #sink: DataStream | null = null
  /** What the base class cuts into commands, and how far it has come. */
  #commands = ''
  #at = 0

  constructor(bareNewlines: 'refuse' | 'normalise', options: SMTPStreamOptions) {
    super(options)
    this.#bareNewlines = bareNewlines
    this.#scan = createDataScan(bareNewlines)
  }

  override _write(chunk: Buffer, encoding: BufferEncoding | 'buffer', next: (error?: Error | null) => void): void {
    if (!this._dataMode) {
      this.#commands = this._remainder + chunk.toString('latin1')
      this.#at = 0
    }
    super._write(chunk, encoding, next)
  }

  /** Whether the next command, of so many octets, ends in a bare LF where these are refused. Asked once for each, in order. */
  endsBare(length: number): boolean {
    const end = this.#at + length
    const bare = this.#commands[end] === '\n'
    this.#at = end + (bare ? 1 : 2)
    return bare && this.#bareNewlines === 'refuse'
  }

  override startDataMode(maxBytes?: number | string | null): SMTPServerDataStream {
    this.#scan = createDataScan(this.#bareNewlines)
    this.#commands = ''
    const sink: DataStream = Object.assign(super.startDataMode(maxBytes), { fault: null, consume: null })
    this.#sink = sink
    return sink
  }

  override _feedDataStream(chunk: Buffer, done: (error?: Error | null) => void): void {
    const sink = this.#sink
    if (sink === null) {
      done()
      return
    }
    const { pieces, end } = this.#scan.feed(chunk)
    if (this.#bareNewlines === 'refuse') sink.fault = this.#scan.fault()
    this.#hand(sink, pieces).then(() => {
      // The next commands are parts of the chunk; mostly there are none yet.
      const rest = end === -1 || end === chunk.length ? NOTHING : chunk.subarray(end)
      if (rest === NOTHING) giveBack(chunk)
      if (end === -1) {
        done()
        return
      }
      this.#sink = null
      this._endDataMode(false, rest, done)
    }, done)
  }

  async #hand(sink: DataStream, pieces: readonly Uint8Array[]): Promise<void> {
    for (const piece of pieces) {
      this._countDataBytes(piece.length)
      if (!sink.sizeExceeded && sink.writable) await sink.consume?.(piece)
    }
  }
}

const NOTHING = Buffer.alloc(0)
