import { Agent, request } from 'node:https'
import { urlToHttpOptions } from 'node:url'

export type MtlsOptions = {
  /** `https://host:port`. */
  readonly url: string
  /** PEM texts. */
  readonly certificate: string
  readonly key: string
  readonly ca: string
  /** The most that a call may take, milliseconds. */
  readonly timeoutMs: number
  readonly sockets: number
}

export type MtlsAnswer = { readonly status: number; readonly etag: string | null; readonly body: unknown }

export type MtlsClient = {
  /** Resolves with whatever was answered; rejects if nothing readable was. `body` is null where there is none. */
  call(
    method: 'GET' | 'POST',
    path: string,
    options?: { body?: string; ifNoneMatch?: string | null; traceparent?: string | undefined },
  ): Promise<MtlsAnswer>
  /** Another certificate from now on. Calls under way end as they began. */
  renew(own: Pick<MtlsOptions, 'certificate' | 'key' | 'ca'>): void
  close(): void
}

const ANSWER_LIMIT = 32 * 1024 * 1024

/** JSON over HTTPS with a client certificate, on a few kept connections. */
export function createMtlsClient(options: MtlsOptions): MtlsClient {
  let agent = agentOf(options)
  // Taken apart once: per call the URL, an abort signal's timer and the agent's own name for it, with all certificates in it, cost a third.
  const server = urlToHttpOptions(new URL(options.url))

  function once(
    method: string,
    path: string,
    headers: Record<string, string>,
    body: string | undefined,
  ): Promise<MtlsAnswer> {
    return new Promise((resolve, reject) => {
      let late = false
      const sent = request({ ...server, path, method, agent, headers }, (response) => {
        const chunks: Buffer[] = []
        let size = 0
        response.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > ANSWER_LIMIT) response.destroy(new Error('the answer is too large'))
          else chunks.push(chunk)
        })
        response.on('error', reject)
        response.on('end', () => {
          try {
            const text = Buffer.concat(chunks).toString('utf8')
            const etag = response.headers.etag ?? null
            resolve({ status: response.statusCode ?? 0, etag, body: text === '' ? null : JSON.parse(text) })
          } catch (error) {
            reject(error)
          }
        })
      })
      const timer = setTimeout(() => {
        late = true
        sent.destroy(new Error('there was no answer in time'))
      }, options.timeoutMs)
      sent.on('close', () => clearTimeout(timer))
      sent.on('error', (error: Error & { code?: string }) => {
        // The other side closed a kept connection just as we took it: nothing of this call was read.
        const stale = sent.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE')
        if (stale && !late) once(method, path, headers, body).then(resolve, reject)
        else reject(error)
      })
      sent.end(body)
    })
  }

  return {
    call(method, path, { body, ifNoneMatch, traceparent } = {}) {
      const headers: Record<string, string> = { accept: 'application/json' }
      if (body !== undefined) headers['content-type'] = 'application/json'
      if (body !== undefined) headers['content-length'] = String(Buffer.byteLength(body))
      if (ifNoneMatch) headers['if-none-match'] = ifNoneMatch
      if (traceparent !== undefined) headers.traceparent = traceparent
      return once(method, path, headers, body)
    },
    renew(own) {
      // The old agent's connections end by their time-out.
      agent = agentOf({ ...options, ...own })
    },
    close: () => agent.destroy(),
  }
}

/** For connections that are all alike. */
class OneServerAgent extends Agent {
  override getName(): string {
    return 'key-server'
  }
}

function agentOf({ sockets, certificate, key, ca }: MtlsOptions): Agent {
  return new OneServerAgent({
    keepAlive: true,
    maxSockets: sockets,
    cert: certificate,
    key,
    ca,
    minVersion: 'TLSv1.2',
    // Shorter than servers commonly keep a silent connection (Fastify: 72 s).
    timeout: 60_000,
  })
}
