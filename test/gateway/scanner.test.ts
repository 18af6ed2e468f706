import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import t, { type Test } from 'tap'
import { GatewayError } from '../../gateway/error.ts'
import { createContentWriter, readMemory } from '../../gateway/intake.ts'
import { createRoom } from '../../gateway/room.ts'
import { askScanner, createScanner, type ScannerOptions } from '../../gateway/scanner.ts'
import { makeCertificate } from './certificate.ts'
import { hasClamd, hasIcap, MARKER, NAME, startClamd, startIcap } from './real-scanners.ts'

const never = new AbortController().signal

function contentOf(body: string) {
  const content = readMemory(Buffer.from(`Subject: x\r\n\r\n${body}\r\n`))
  if (content === null) throw new Error('the header is too large')
  return content
}

/** A server that does as the test says with each connection; ends with the test. */
async function serve(t: Test, talk: (socket: Socket, count: number) => void, path?: string) {
  let count = 0
  const open = new Set<Socket>()
  const server = createServer((socket) => {
    open.add(socket)
    socket.on('error', () => undefined).on('close', () => open.delete(socket))
    talk(socket, count++)
  })
  if (path === undefined) server.listen(0, '127.0.0.1')
  else server.listen(path)
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  const address = server.address()
  return address === null || typeof address === 'string' ? 0 : address.port
}

function options(port: number, more: Partial<ScannerOptions> & { readonly service?: string } = {}): ScannerOptions {
  const { service, ...rest } = more
  return {
    place: { kind: 'host', host: '127.0.0.1', port, tls: null },
    icap: service === undefined ? null : { host: '127.0.0.1', port, service },
    ...{ timeoutMs: 3000, maxSize: 10_000_000, connections: 4 },
    ...rest,
  }
}

/** Reads one whole INSTREAM request, and gives what it held. */
function instream(socket: Socket, done: (octets: Buffer) => void): void {
  let held = Buffer.alloc(0)
  socket.on('data', (octets: Buffer) => {
    held = Buffer.concat([held, octets])
    const pieces: Buffer[] = []
    let at = 'zINSTREAM\0'.length
    while (at + 4 <= held.length) {
      const size = held.readUInt32BE(at)
      if (size === 0) return done(Buffer.concat(pieces))
      pieces.push(held.subarray(at + 4, at + 4 + size))
      at += 4 + size
    }
  })
}

t.test('clamd is shown the message as it was accepted, from memory or a scratch file', async (t) => {
  const seen: Buffer[] = []
  const port = await serve(t, (socket) =>
    instream(socket, (octets) => {
      seen.push(octets)
      socket.end('stream: OK\0')
    }),
  )
  const scanner = createScanner(options(port))
  const small = contentOf('body')
  t.strictSame(await scanner.scan(small, never), { verdict: 'clean', name: '' })
  t.ok(seen[0]?.equals(Buffer.from('Subject: x\r\n\r\nbody\r\n')))
  const writer = createContentWriter(t.testdir(), createRoom(0))
  const large = Buffer.from(`Subject: x\r\n\r\n${'0123456789\r\n'.repeat(300_000)}`)
  await writer.write(large)
  const content = await writer.finish()
  if (content === null) throw new Error('the header is too large')
  t.strictSame(await scanner.scan(content, never), { verdict: 'clean', name: '' })
  t.ok(seen[1]?.equals(large))
  await content.discard()
})

t.test('what clamd says is understood, and what it would not say is a failure', async (t) => {
  const says = async (answer: string) => {
    const port = await serve(t, (socket) => instream(socket, () => socket.end(answer)))
    return createScanner(options(port)).scan(contentOf('body'), never)
  }
  t.strictSame(await says('stream: Win.Test.EICAR_HDB-1 FOUND\0'), {
    verdict: 'infected',
    name: 'Win.Test.EICAR_HDB-1',
  })
  t.strictSame(await says('stream: Evil\r\n250 ok\u00e9 FOUND\0'), { verdict: 'infected', name: 'Evil 250 ok' })
  t.strictSame(await says('INSTREAM size limit exceeded. ERROR\0'), { verdict: 'too-large', name: '' })
  const wrong = [
    '',
    'stream: OK',
    "stream: Can't allocate memory ERROR\0",
    'UNKNOWN COMMAND\0',
    '220 mail\r\n',
    `${'x'.repeat(9000)}\0`,
  ]
  for (const answer of wrong) {
    await t.rejects(says(answer), { code: 'scanner' }, JSON.stringify(answer.slice(0, 30)))
  }
})

t.test('clamd that has enough in the middle is understood', async (t) => {
  const port = await serve(t, (socket) => {
    socket.once('data', () => socket.end('INSTREAM size limit exceeded. ERROR\0'))
  })
  const scan = createScanner(options(port)).scan(contentOf('x'.repeat(900_000)), never)
  t.strictSame(await scan, { verdict: 'too-large', name: '' })
})

t.test('a scanner that does not answer makes mail wait, no longer than it may take', async (t) => {
  const silent = await serve(t, (socket) => socket.resume())
  const started = performance.now()
  await t.rejects(createScanner(options(silent, { timeoutMs: 300 })).scan(contentOf('x'), never), { code: 'scanner' })
  t.ok(performance.now() - started < 2000)
  const deaf = await serve(t, (socket) => socket.pause())
  const slow = createScanner(options(deaf, { timeoutMs: 60_000 }))
  const large = contentOf('x'.repeat(8_000_000))
  await t.rejects(slow.scan(large, AbortSignal.timeout(300)), { code: 'scanner' }, 'the budget of the delivery counts')
  t.equal(slow.answers(), true, 'and is not the fault of the scanner')
  await t.rejects(createScanner(options(1)).scan(contentOf('x'), never), { code: 'scanner' })
})

t.test('after three failures mail is told at once, and one in a second finds out', async (t) => {
  let well = false
  let asked = 0
  const port = await serve(t, (socket) => {
    asked += 1
    if (well) instream(socket, () => socket.end('stream: OK\0'))
    else socket.destroy()
  })
  const scanner = createScanner(options(port))
  const one = () => scanner.scan(contentOf('x'), never)
  for (let n = 0; n < 3; n++) await t.rejects(one(), { code: 'scanner' })
  t.equal(scanner.answers(), false)
  await t.rejects(one(), { code: 'scanner' })
  t.equal(asked, 3, 'it is left alone')
  well = true
  await new Promise((resolve) => setTimeout(resolve, 1100))
  t.strictSame(await one(), { verdict: 'clean', name: '' })
  t.equal(scanner.answers(), true)
})

t.test('no more messages at a time than it may be shown, the others wait', async (t) => {
  let now = 0
  let most = 0
  const port = await serve(t, (socket) => {
    now += 1
    most = Math.max(most, now)
    instream(socket, () =>
      setTimeout(() => {
        now -= 1
        socket.end('stream: OK\0')
      }, 30),
    )
  })
  const scanner = createScanner(options(port, { connections: 2 }))
  const all = await Promise.all(Array.from({ length: 8 }, () => scanner.scan(contentOf('x'), never)))
  t.ok(all.every(({ verdict }) => verdict === 'clean'))
  t.equal(most, 2)
})

t.test('a message beyond its limit is not shown', async (t) => {
  const scan = createScanner(options(1, { maxSize: 100 })).scan(contentOf('x'.repeat(100)), never)
  t.strictSame(await scan, { verdict: 'too-large', name: '' })
})

t.test('a scratch file that cannot be read is no answer', async (t) => {
  const port = await serve(t, (socket) => socket.resume())
  const broken = {
    ...contentOf('x'),
    async *accepted(): AsyncIterable<Uint8Array> {
      yield Buffer.from('x')
      throw new Error('the scratch file was altered')
    },
  }
  await t.rejects(createScanner(options(port)).scan(broken, never), { code: 'scanner' })
  const icap = await serve(t, icapServer({ options: OPTIONS.replace('Preview: 8\r\n', '') }, []))
  await t.rejects(createScanner(options(icap, { service: 'x' })).scan(broken, never), { code: 'scanner' })
})

const OPTIONS =
  'ICAP/1.0 200 OK\r\nMethods: RESPMOD, REQMOD\r\nService: Test 1.0\r\nISTag: "x"\r\nPreview: 8\r\nAllow: 204\r\nOptions-TTL: 600\r\nEncapsulated: null-body=0\r\n\r\n'
const CONTINUE = 'ICAP/1.0 100 Continue\r\n\r\n'
const CLEAN = 'ICAP/1.0 204 No Content\r\nISTag: "x"\r\n\r\n'

type IcapTalk = {
  readonly options?: string
  /** To the preview. */
  readonly early?: string
  /** To the whole. */
  readonly late?: string | ((body: Buffer) => string)
}

/** An ICAP service of one connection a request; `requests` gets them as they came. */
function icapServer({ options: said = OPTIONS, early = CONTINUE, late = CLEAN }: IcapTalk, requests: string[]) {
  return (socket: Socket) => {
    let text = ''
    let previewed = false
    socket.on('data', (octets: Buffer) => {
      text += octets.toString('latin1')
      if (text.startsWith('OPTIONS')) {
        if (!text.includes('\r\n\r\n')) return
        requests.push(text)
        socket.end(said)
        return
      }
      if (!/\r\n0(; ieof)?\r\n\r\n$/.test(text)) return
      if (text.includes('Preview:') && !previewed && !text.endsWith('0; ieof\r\n\r\n')) {
        previewed = true
        socket.write(early)
        if (early !== CONTINUE) socket.end()
        return
      }
      requests.push(text)
      socket.end(typeof late === 'string' ? late : late(bodyIn(text)), 'latin1')
    })
  }
}

/** The body of an ICAP request, its chunks put together. */
function bodyIn(text: string): Buffer {
  const start = text.lastIndexOf('\r\n\r\n', text.search(/\r\n\r\n[0-9a-f]+(;[^\r]*)?\r\n/)) + 4
  let out = ''
  for (let at = start; at < text.length; ) {
    const [line = '', size = ''] = /^([0-9a-f]+)(?:; ieof)?\r\n/.exec(text.slice(at, at + 40)) ?? []
    const count = Number.parseInt(size, 16)
    out += text.slice(at + line.length, at + line.length + count)
    at += line.length + count + 2
  }
  return Buffer.from(out, 'latin1')
}

function returned(body: Buffer, status = '200 OK', fields = ''): string {
  const head = `HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\n\r\n`
  const size = body.length.toString(16)
  return `ICAP/1.0 200 OK\r\n${fields}Encapsulated: res-hdr=0, res-body=${head.length}\r\n\r\n${head}${size}\r\n${body.toString('latin1')}\r\n0\r\n\r\n`
}

t.test('ICAP: the preview first, the rest when it is asked for, the service asked once what it does', async (t) => {
  const requests: string[] = []
  const port = await serve(t, icapServer({}, requests))
  const scanner = createScanner(options(port, { service: 'avscan' }))
  const content = contentOf('the body')
  t.strictSame(await scanner.scan(content, never), { verdict: 'clean', name: '' })
  t.strictSame(await scanner.scan(content, never), { verdict: 'clean', name: '' })
  t.equal(requests.filter((text) => text.startsWith('OPTIONS')).length, 1)
  const [, first = ''] = requests
  t.match(first, new RegExp(`^RESPMOD icap://127\\.0\\.0\\.1:${port}/avscan ICAP/1\\.0\r\n`))
  t.match(first, /\r\nAllow: 204\r\nPreview: 8\r\n/)
  const [, request, response] = /req-hdr=0, res-hdr=(\d+), res-body=(\d+)/.exec(first) ?? []
  const inner = first.slice(first.indexOf('\r\n\r\n') + 4)
  t.ok(inner.slice(Number(request)).startsWith('HTTP/1.1 200 OK\r\nContent-Type: message/rfc822\r\n'))
  t.match(inner.slice(Number(response)), /^8\r\nSubject:\r\n0\r\n\r\n/)
})

t.test('ICAP: a message that fits into the preview is all of it', async (t) => {
  const requests: string[] = []
  const said = OPTIONS.replace('Preview: 8', 'Preview: 4096').replace('RESPMOD, ', '')
  const port = await serve(t, icapServer({ options: said }, requests))
  const scan = createScanner(options(port, { service: 'x' })).scan(contentOf('short'), never)
  t.strictSame(await scan, { verdict: 'clean', name: '' })
  t.match(requests[1], /^REQMOD .*0; ieof\r\n\r\n$/s)
  t.match(requests[1], /req-hdr=0, req-body=\d+/)
})

t.test('ICAP: what services say is understood', async (t) => {
  const says = async (talk: IcapTalk, body = 'a body that is longer than the preview') => {
    const port = await serve(t, icapServer(talk, []))
    return createScanner(options(port, { service: 'x' })).scan(contentOf(body), never)
  }
  const clean = { verdict: 'clean', name: '' }
  const noPreview = OPTIONS.replace('Preview: 8\r\n', '')
  t.strictSame(await says({ early: CLEAN }), clean, '204 to the preview')
  t.strictSame(await says({ options: noPreview }), clean, 'without a preview')
  t.strictSame(await says({ late: (body) => returned(body) }), clean, 'the same back')
  t.strictSame(await says({ options: noPreview, late: (body) => returned(body) }, 'x'.repeat(900_000)), clean)
  const infection = 'X-Infection-Found: Type=0; Resolution=2; Threat=Eicar-Test;\r\n'
  const blocked = { verdict: 'infected', name: 'blocked by the scanner' }
  t.strictSame(await says({ late: returned(Buffer.from('blocked'), '403 Forbidden', infection) }), {
    ...blocked,
    name: 'Eicar-Test',
  })
  t.strictSame(await says({ early: `ICAP/1.0 204 No\r\nX-Virus-ID: Evil\r\n\r\n` }), { ...blocked, name: 'Evil' })
  t.strictSame(await says({ late: 'ICAP/1.0 200 OK\r\nX-Violations-Found: 1\r\n\r\n' }), {
    ...blocked,
    name: 'a violation of its rules',
  })
  t.strictSame(await says({ late: returned(Buffer.from('go away'), '403 Forbidden') }), blocked)
  t.strictSame(await says({ late: (body) => returned(body, '403 Forbidden') }), blocked)
  t.strictSame(await says({ late: (body) => returned(Buffer.concat([body, Buffer.from('!')])) }), blocked, 'one more')
  t.strictSame(await says({ late: (body) => returned(body.subarray(1)) }), blocked, 'one less')
  t.strictSame(await says({ late: 'ICAP/1.0 200 OK\r\nEncapsulated: null-body=0\r\n\r\n' }), blocked)
  t.strictSame(await says({ late: 'ICAP/1.0 413 Too large\r\n\r\n' }), { verdict: 'too-large', name: '' })
  const wrong: IcapTalk[] = [
    { options: 'ICAP/1.0 404 Service not found\r\n\r\n' },
    { options: OPTIONS.replace('RESPMOD, REQMOD', 'FOOMOD') },
    { options: 'HTTP/1.1 400 Bad Request\r\n\r\n' },
    { options: '' },
    { early: 'ICAP/1.0 500 Error\r\n\r\n' },
    { late: 'ICAP/1.0 503 Overloaded\r\n\r\n' },
    { late: 'ICAP/1.0 204' },
    { late: 'ICAP/1.0 206 Partial\r\n\r\n' },
    { late: (body) => returned(body).slice(0, -20) },
    { late: (body) => returned(body).replace(/\r\n[0-9a-f]+\r\nSubject/, '\r\nzz\r\nSubject') },
    { late: `ICAP/1.0 200 OK\r\n${'X: y\r\n'.repeat(20_000)}\r\n` },
  ]
  for (const talk of wrong) await t.rejects(says(talk), { code: 'scanner' }, JSON.stringify(talk).slice(0, 60))
})

t.test('ICAP over TLS: only to whom the certificate names', async (t) => {
  const { key, cert, ca } = await makeCertificate('scan.example.net')
  const talk = icapServer({}, [])
  const server = createTlsServer({ key, cert }, (socket) => talk(socket.on('error', () => undefined)))
  server.on('tlsClientError', () => undefined).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const address = server.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  const towards = (name: string, trusted: readonly string[]) => {
    const tls = { mode: 'verify', name, ca: trusted } as const
    const place = { kind: 'host', host: '127.0.0.1', port, tls } as const
    return createScanner(options(port, { service: 'x', place })).scan(contentOf('body'), never)
  }
  t.strictSame(await towards('scan.example.net', [ca]), { verdict: 'clean', name: '' })
  await t.rejects(towards('other.example.net', [ca]), { code: 'scanner' })
  await t.rejects(towards('scan.example.net', []), { code: 'scanner' })
  const plain = await serve(t, icapServer({}, []))
  const clear = { kind: 'host', host: '127.0.0.1', port: plain, tls: { mode: 'verify' } } as const
  const refused = createScanner(options(plain, { service: 'x', place: clear })).scan(contentOf('body'), never)
  await t.rejects(refused, { code: 'scanner' }, 'no clear text where TLS is asked for')
})

t.test('what a scanner calls itself is told, and that it is none', async (t) => {
  const icap = await serve(t, icapServer({}, []))
  t.equal(await askScanner(options(icap, { service: 'avscan' })), 'Test 1.0, RESPMOD, preview of 8 octets')
  const clamd = await serve(t, (socket) => socket.once('data', () => socket.end('ClamAV 1.4.6/27000/Sun\0')))
  t.equal(await askScanner(options(clamd)), 'ClamAV 1.4.6/27000/Sun')
  await t.rejects(askScanner(options(icap)), /broke|closed|answers|no clamd|in time/)
})

t.test('a real clamd, by socket and by TCP', { skip: !hasClamd && 'clamd absent: skipped' }, async (t) => {
  const { socket, port } = await startClamd(t)
  for (const place of [
    { kind: 'socket', path: socket } as const,
    { kind: 'host', host: '127.0.0.1', port, tls: null } as const,
  ]) {
    const scanner = createScanner({ ...options(port), place, timeoutMs: 10_000 })
    const attached = `Content-Transfer-Encoding: base64\r\n\r\n${Buffer.from(`x ${MARKER} y`).toString('base64')}`
    const mail = readMemory(
      Buffer.from(
        `From: a@acme.example\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=x\r\n${attached}\r\n`,
      ),
    )
    if (mail === null) throw new Error('the header is too large')
    t.strictSame(await scanner.scan(contentOf('harmless'), never), { verdict: 'clean', name: '' })
    t.match(await scanner.scan(contentOf(`see ${MARKER}`), never), { verdict: 'infected', name: new RegExp(NAME) })
    t.match(await scanner.scan(mail, never), { verdict: 'infected', name: new RegExp(NAME) }, 'inside base64')
    t.strictSame(await scanner.scan(contentOf('x'.repeat(1_000_000)), never), { verdict: 'clean', name: '' })
    const large = await scanner.scan(contentOf('x'.repeat(3_000_000)), never).catch((error: unknown) => {
      // The connection may be reset before its last words are read; mail waits then.
      if (!(error instanceof GatewayError)) throw error
      return { verdict: 'too-large' }
    })
    t.equal(large.verdict, 'too-large')
    t.match(await askScanner({ ...options(port), place }), /^ClamAV \d/)
  }
})

t.test('a real c-icap before clamd', { skip: !hasIcap && 'c-icap absent: skipped' }, async (t) => {
  const { socket } = await startClamd(t)
  const { port } = await startIcap(t, socket)
  const scanner = createScanner(options(port, { service: 'avscan', timeoutMs: 10_000 }))
  t.strictSame(await scanner.scan(contentOf('harmless'), never), { verdict: 'clean', name: '' })
  t.match(await scanner.scan(contentOf(`see ${MARKER}`), never), { verdict: 'infected', name: new RegExp(NAME) })
  t.strictSame(await scanner.scan(contentOf('x\r\n'.repeat(100_000)), never), { verdict: 'clean', name: '' })
  t.match(await scanner.scan(contentOf(`${'x\r\n'.repeat(100_000)}${MARKER}`), never), { verdict: 'infected' })
  const echo = createScanner(options(port, { service: 'echo', timeoutMs: 10_000 }))
  t.strictSame(await echo.scan(contentOf('x\r\n'.repeat(500_000)), never), { verdict: 'clean', name: '' })
  t.match(await askScanner(options(port, { service: 'avscan' })), /MOD/)
  await t.rejects(askScanner(options(port, { service: 'nowhere' })), /answers 404/)
})
