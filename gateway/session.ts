import { TLSSocket } from 'node:tls'
import { domainToASCII } from 'node:url'
import type { SMTPServerAddress, SMTPServerAuthentication, SMTPServerOptions, SMTPServerSession } from 'smtp-server'
import { type OrgId, parseAddress } from '../protocol/identifiers.ts'
import type { Accounts, SignedIn } from './accounts.ts'
import { type ClientCertificate, clientCertificateOf } from './client-certificate.ts'
import type { MessageWish } from './dsn.ts'
import { type Answer, answerTo, GatewayError, type GatewayErrorCode } from './error.ts'
import type { IntakeRecipient, Mailbox } from './intake.ts'
import type { Limits } from './limits.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Offers } from './offers.ts'
import { authoritiesOf, type Proof, type ProofRule, proveClient, proveSender } from './proof.ts'
import { type Envelope, type Reception, receive } from './reception.ts'
import { createSignIns, type SignIns } from './sign-ins.ts'
import type { DataStream, StrictSession } from './smtp-connection.ts'
import { isAscii } from './smtp-path.ts'
import { newId } from './trace.ts'

export type SessionParts = Reception & {
  readonly listener: string
  readonly rules: readonly ProofRule[]
  /** Null where nobody can sign in. */
  readonly accounts: Accounts | null
  /** The domains of the organization's active policy; null while none is known. */
  readonly domainsOf: (org: OrgId) => readonly string[] | null
  readonly offers: Offers
  /** What is known to be down, without which this organization's mail cannot be taken now. */
  readonly unavailable?: (org: OrgId) => GatewayErrorCode | null
  readonly limits: Limits
  readonly log: Log
  readonly metrics: Metrics
}

/** What the commands of one client have proven so far. */
type State = {
  account: SignedIn | null
  failedSignIns: number
  /** What came of the passwords of this connection: it asks about none of them twice. */
  readonly tried: SignIns
  certificate: ClientCertificate | null
  proof: Proof
  utf8: boolean
  /** Whose mail this is, for the limits of senders. */
  limited: string | null
}

const MAIL_PARAMETERS = ['SIZE', 'BODY', 'SMTPUTF8', 'AUTH', 'RET', 'ENVID', 'REQUIRETLS']
const RCPT_PARAMETERS = ['NOTIFY', 'ORCPT']
const SIGN_INS = 3

type Handlers = Required<Pick<SMTPServerOptions, 'onSecure' | 'onAuth' | 'onMailFrom' | 'onRcptTo' | 'onData'>>

/** The answers to a client's commands. Each calls back exactly once, whatever happens. */
export function createSessions(parts: SessionParts): Handlers {
  const authorities = authoritiesOf(parts.rules)
  const states = new WeakMap<SMTPServerSession, State>()

  function stateOf(session: SMTPServerSession): State {
    const known = states.get(session)
    if (known !== undefined) return known
    const proof = { proven: [], onSecret: [] }
    const state: State = {
      account: null,
      failedSignIns: 0,
      tried: createSignIns(),
      certificate: null,
      proof,
      utf8: false,
      limited: null,
    }
    states.set(session, state)
    return state
  }

  function refusal(error: unknown, session: SMTPServerSession): Error {
    const known = error instanceof GatewayError
    const reason = known ? error.code : 'internal'
    const incident = known && error.code !== 'internal' ? null : newId()
    const answer = answerTo(error, incident)
    parts.metrics.refused(reason)
    const line = { listener: parts.listener, client: session.remoteAddress, reason, code: answer.code, cause: error }
    parts.log[known ? 'info' : 'error']('command refused', incident === null ? line : { ...line, incident })
    return replyError(answer)
  }

  async function signIn(auth: SMTPServerAuthentication, session: SMTPServerSession): Promise<SignedIn | null> {
    const state = stateOf(session)
    const account = parts.accounts === null ? null : await state.tried.verify(parts.accounts, auth)
    // STARTTLS forgets the user, and so must we: the account counts only while the library knows it too.
    state.account = account
    if (account !== null) return account
    state.failedSignIns += 1
    parts.metrics.refused('sign-in')
    parts.log.warn('sign-in refused', { listener: parts.listener, client: session.remoteAddress })
    return null
  }

  function mailFrom(given: SMTPServerAddress, session: SMTPServerSession): void {
    const state = stateOf(session)
    checkParameters(given, MAIL_PARAMETERS)
    // The library keeps `envelope.smtpUtf8` of a MAIL that was refused, so the parameter itself is asked.
    state.utf8 = given.args !== false && given.args.SMTPUTF8 === true
    const sender = readSender(given, state.utf8)
    const account = session.user === state.account?.user ? state.account : null
    const { nobody = false } = session as StrictSession
    const { certificate } = state
    const proof = proveClient(parts.rules, { address: session.remoteAddress, account, certificate, nobody })
    const result = proveSender(proof, sender?.address ?? null, parts.domainsOf)
    if (result.kind === 'refused') throw new GatewayError(result.code)
    state.proof = result.proof
    checkReach(state)
    checkOffers(given, state)
    checkNextHop(sender, state, 'MAIL FROM')
    state.limited = account?.user ?? sender?.address ?? null
    const size = given.args === false ? undefined : given.args.SIZE
    allow(parts.limits.message(clientOf(session), state.limited, typeof size === 'string' ? Number(size) : null))
  }

  function clientOf(session: SMTPServerSession) {
    return { listener: parts.listener, address: session.remoteAddress }
  }

  function rcptTo(given: SMTPServerAddress, session: SMTPServerSession): void {
    checkParameters(given, RCPT_PARAMETERS)
    const state = stateOf(session)
    checkNextHop(readRecipient(given, state), state, 'RCPT TO')
    allow(parts.limits.recipient(clientOf(session), state.limited))
  }

  /** What was announced before it was known for whom the client sends. */
  function checkOffers({ args }: SMTPServerAddress, { proof }: State): void {
    const orgs = [...proof.proven, ...proof.onSecret.map((tenant) => tenant.org)]
    const offers = orgs.map((org) => parts.offers.of(org))
    const { SIZE: size, REQUIRETLS: requireTls } = args === false ? {} : args
    if (requireTls === true && offers.every((offer) => offer.requireTls === false))
      throw new GatewayError('require-tls')
    const most = Math.max(...offers.map((offer) => offer.size))
    if (typeof size !== 'string' || Number(size) <= most) return
    throw new GatewayError('too-large', { words: `at most ${most} octets can be delivered` })
  }

  function checkReach({ proof }: State): void {
    const orgs = [...proof.proven, ...proof.onSecret.map((tenant) => tenant.org)]
    const reasons = orgs.map((org) => parts.unavailable?.(org) ?? null)
    const [reason] = reasons
    if (reason && !reasons.includes(null)) throw new GatewayError(reason)
  }

  function checkNextHop(mailbox: Mailbox | null, state: State, command: string): void {
    if (mailbox === null || isAscii(mailbox.mailbox)) return
    const orgs = [...state.proof.proven, ...state.proof.onSecret.map((tenant) => tenant.org)]
    if (orgs.some((org) => parts.offers.of(org).smtpUtf8)) return
    throw new GatewayError('next-hop-smtputf8', { message: `${command} needs SMTPUTF8` })
  }

  function readRecipient(given: SMTPServerAddress, state: State): IntakeRecipient {
    const [org] = [...state.proof.proven, ...state.proof.onSecret.map((tenant) => tenant.org)]
    const [home] = org === undefined ? [] : (parts.domainsOf(org) ?? [])
    // RFC 5321 4.1.1.3: `Postmaster` without a domain is ours to take.
    const address = given.address.includes('@') || home === undefined ? given.address : `${given.address}@${home}`
    const mailbox = readMailbox(address, state.utf8, 'bad-recipient')
    const { NOTIFY: notify, ORCPT: orcpt } = given.args === false ? {} : given.args
    return {
      ...mailbox,
      notify: typeof notify === 'string' ? notify.toUpperCase().split(',') : null,
      orcpt: typeof orcpt === 'string' ? orcpt : null,
    }
  }

  /** A copy: the library empties the session's envelope when the callback runs. */
  function envelopeOf(session: SMTPServerSession): Envelope {
    const state = stateOf(session)
    const { mailFrom: from, rcptTo: to } = session.envelope
    return {
      sender: from === false ? null : readSender(from, state.utf8),
      recipients: unique(to.map((recipient) => readRecipient(recipient, state))),
      smtpUtf8: state.utf8,
      wish: wishOf(from),
      proof: state.proof,
      helo: session.hostNameAppearsAs,
      client: session.remoteAddress,
      identity: (session.user === state.account?.user ? state.account?.user : null) ?? '',
      tls: session.secure,
      protocol: protocolOf(session, state.utf8),
    }
  }

  return {
    onSecure(socket, session, callback) {
      if (socket instanceof TLSSocket) stateOf(session).certificate = clientCertificateOf(socket, authorities)
      callback()
    },
    onAuth(auth, session, callback) {
      signIn(auth, session).then(
        (account) => {
          if (account !== null) return callback(null, { user: account.user })
          const over = stateOf(session).failedSignIns >= SIGN_INS
          const words = over ? 'too many failed attempts to sign in' : 'user name or password is wrong'
          callback(replyError({ code: over ? 421 : 535, status: over ? '4.7.0' : '5.7.8', text: words }))
        },
        (error) => callback(refusal(error, session)),
      )
    },
    onMailFrom(address, session, callback) {
      callback(
        attempt(
          () => mailFrom(address, session),
          (error) => refusal(error, session),
        ),
      )
    },
    onRcptTo(address, session, callback) {
      callback(
        attempt(
          () => rcptTo(address, session),
          (error) => refusal(error, session),
        ),
      )
    },
    onData(stream, session, callback) {
      // StrictStream.startDataMode makes every data stream a DataStream. Async, so that nothing is thrown at the library in data mode.
      const { limited } = stateOf(session)
      const received = async () => {
        const answer = await receive(parts, envelopeOf(session), stream as DataStream)
        parts.limits.content(clientOf(session), limited, stream.byteLength)
        return answer
      }
      received().then(
        (answer) =>
          answer.code < 400 ? callback(null, `${answer.status} ${answer.text}`) : callback(replyError(answer)),
        (error) => callback(refusal(error, session)),
      )
    },
  }
}

function allow(refusal: GatewayErrorCode | null): void {
  if (refusal !== null) throw new GatewayError(refusal)
}

function attempt(act: () => void, refuse: (error: unknown) => Error): Error | null {
  try {
    act()
    return null
  } catch (error) {
    return refuse(error)
  }
}

function replyError(answer: Answer): Error {
  return Object.assign(new Error(`${answer.status} ${answer.text}`), { responseCode: answer.code })
}

/** RFC 5321 4.1.1.11: what was not announced is refused, not ignored. */
function checkParameters(given: SMTPServerAddress, known: readonly string[]): void {
  if (given.args === false) return
  for (const name of Object.keys(given.args)) if (!known.includes(name)) throw new GatewayError('unknown-parameter')
}

/** RET was looked at by the library; a value of none of its kinds did not get here. */
function wishOf(from: SMTPServerAddress | false): MessageWish {
  const { RET: ret, ENVID: envid, REQUIRETLS: requireTls } = from === false || from.args === false ? {} : from.args
  const wanted = typeof ret === 'string' ? ret.toUpperCase() : ''
  return {
    ret: wanted === 'FULL' || wanted === 'HDRS' ? wanted : null,
    envid: typeof envid === 'string' && envid.length <= 100 ? envid : null,
    ...(requireTls === true ? { requireTls } : {}),
  }
}

function readSender(given: SMTPServerAddress, utf8: boolean): Mailbox | null {
  return given.address === '' ? null : readMailbox(given.address, utf8, 'bad-sender')
}

/** The library hands domains out in Unicode; the next hop gets A-labels again. */
function readMailbox(text: string, utf8: boolean, fault: GatewayErrorCode): Mailbox {
  const address = parseAddress(text)
  if (address === null || text.includes('\ufffd')) throw new GatewayError(fault)
  const at = text.lastIndexOf('@')
  const domain = text.slice(at + 1)
  const mailbox = `${text.slice(0, at)}@${domain.startsWith('[') ? domain : domainToASCII(domain)}`
  if (!isAscii(mailbox) && !utf8) throw new GatewayError('needs-smtputf8')
  return { address, mailbox }
}

function unique(recipients: readonly IntakeRecipient[]): IntakeRecipient[] {
  return [...new Map(recipients.map((recipient) => [recipient.address, recipient])).values()]
}

/** RFC 3848, and RFC 6531 4.3 for SMTPUTF8. */
function protocolOf(session: SMTPServerSession, utf8: boolean): string {
  return utf8 ? session.transmissionType.replace('ESMTP', 'UTF8SMTP') : session.transmissionType
}
