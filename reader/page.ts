import { EnvelopeError } from '../envelope/fault.ts'
import { identifyOctets } from '../envelope/reader.ts'
import type { SessionAnswer } from '../protocol/reader-api.ts'
import { addressStep } from './address-step.ts'
import type { Answer } from './answer.ts'
import type { Api } from './api.ts'
import { codeStep } from './code-step.ts'
import { LARGEST_COPY } from './copy.ts'
import { h } from './element.ts'
import { fileStep } from './file-step.ts'
import { letterView } from './letter.ts'
import type { Link } from './link.ts'
import { parseMessage } from './message.ts'
import { fetchSealed, type Opened, openSealed, type Stage } from './opening.ts'
import { type Refusal, refusalInWords } from './refusal.ts'
import { refusalStep } from './refusal-step.ts'
import type { Asked, Keeper } from './session.ts'
import type { Shell } from './shell.ts'
import { timeInWords } from './time.ts'
import type { Trusted } from './trusted.ts'
import { waitingStep } from './waiting-step.ts'

export type PageParts = {
  readonly api: Api
  readonly fetch: typeof fetch
  readonly keeper: Keeper
  readonly shell: Shell
  readonly trusted: Trusted
  readonly now: () => number
}

/** What the page knows so far. */
type Known = {
  /** Of the link, or of the file; null before either. */
  envelope: string | null
  /** The sealed copy, once it is here. */
  copy: Uint8Array<ArrayBuffer> | null
  address: string
}

export type Page = {
  readonly start: (link: Link) => void
  readonly takeFile: (file: File) => void
}

/** As long as the key server takes a code, milliseconds. */
const CODE_LIFE = 600_000

const stages: Record<Stage, string> = {
  fetching: 'Fetching the message',
  asking: 'Asking whether it may be opened',
  opening: 'Opening the message',
}

/** The steps from a link or a file to a message, each shown in the shell. Holds what is known in between. */
export function createPage({ api, fetch, keeper, shell, trusted, now }: PageParts): Page {
  const known: Known = { envelope: null, copy: null, address: '' }

  function askFile(because: string | null = null): void {
    shell.show(fileStep({ because, onFile: takeFile }))
  }

  function askAddress(because: string | null = null): void {
    const onAddress = (address: string) => {
      known.address = address
      run(sendCode)
    }
    const haveFile = known.copy !== null
    shell.show(addressStep({ address: known.address, because, onAddress, onFile: takeFile, haveFile }))
  }

  async function sendCode(): Promise<void> {
    const { envelope, address } = known
    if (envelope === null) return askFile()
    shell.show(waitingStep('Sending the code').view)
    const answer = await api.askCode(envelope, address)
    if (answer.kind === 'ok') {
      const asked = { envelope, address, challenge: answer.value.challenge, until: now() + CODE_LIFE }
      await keeper.keepAsked(asked)
      return askCode(asked)
    }
    if (answer.kind === 'problem' && answer.problem.code === 'bad-request')
      return askAddress('This does not look like an e-mail address. Please check it.')
    const last = lastCode()
    // Whoever asks again too soon still has the code that is on its way.
    if (last?.address === address && answer.kind === 'problem' && answer.problem.code === 'too-many')
      return askCode(last, answer.problem.detail ?? null)
    refuse(answer, sendCode)
  }

  /** The code for this message that can still be entered. */
  function lastCode(): Asked | null {
    const asked = keeper.asked()
    return asked?.envelope === known.envelope && asked.until > now() ? asked : null
  }

  function askCode(asked: Asked, fault: string | null = null): void {
    known.address = asked.address
    const onCode = (code: string) => run(() => answerCode(asked, code))
    const onResend = () => run(sendCode)
    shell.show(codeStep({ address: asked.address, fault, onCode, onResend, onOtherAddress: () => askAddress() }))
  }

  async function answerCode(asked: Asked, code: string): Promise<void> {
    const waiting = waitingStep('Checking the code')
    shell.show(waiting.view)
    const answer = await api.answerCode(asked.challenge, code)
    if (answer.kind === 'ok') {
      await keeper.keep(answer.value)
      return open()
    }
    const left = triesLeft(answer)
    if (left !== null && left > 0) {
      askCode(asked, `That is not the code. ${left === 1 ? 'One try is' : `${left} tries are`} left.`)
    } else {
      if (answer.kind === 'problem') await keeper.keepAsked(null)
      refuse(answer, () => askCode(asked))
    }
  }

  async function open(): Promise<void> {
    const { envelope } = known
    if (envelope === null) return askFile()
    const session = keeper.session()
    if (session === null) {
      // A phone often drops the page while its owner looks for the code.
      const last = lastCode()
      return last === null ? askAddress() : askCode(last)
    }
    known.address = session.address
    const waiting = waitingStep(stages.fetching)
    shell.show(waiting.view)
    const outcome = await openWith(session, envelope, waiting)
    // Another message's file was opened meanwhile.
    if (known.envelope !== envelope) return
    if (outcome.kind === 'opened') return showLetter(outcome)
    const { refusal } = outcome
    if (refusal.kind === 'problem' && refusal.problem.code === 'no-session') {
      await keeper.forget()
      askAddress('Your last code has run out. Please ask for a new one.')
    } else refuse(refusal, open)
  }

  async function openWith(session: SessionAnswer, envelope: string, waiting: ReturnType<typeof waitingStep>) {
    const onStage = (stage: Stage) => waiting.stage(stages[stage])
    const parts = { api, fetch, token: session.token, onStage, onProgress: waiting.progress }
    let copy = known.copy
    if (copy === null) {
      const fetched = await fetchSealed(envelope, parts)
      if (fetched.kind !== 'copy') return fetched
      copy = fetched.octets
    }
    const outcome = await openSealed(copy, envelope, parts)
    // A damaged copy is fetched anew at the next try.
    const damaged = outcome.kind === 'refused' && outcome.refusal.kind === 'damaged'
    if (known.envelope === envelope) known.copy = damaged ? null : copy
    return outcome
  }

  async function showLetter({ release, message: octets }: Opened): Promise<void> {
    const message = await parseMessage(octets)
    const onRevoke = () => run(revoke)
    const person = known.address
    shell.show(letterView({ release, message, octets, trusted, now: now(), onRevoke, person, onForget }))
  }

  function onForget(): void {
    void keeper.forget().then(() => {
      known.copy = null
      const text = 'The message is closed, and this device no longer opens messages for you until you enter a new code.'
      shell.show(h('div', { class: 'card' }, h('h1', {}, 'You are forgotten here'), h('p', {}, text)))
    })
  }

  async function revoke(): Promise<void> {
    const session = keeper.session()
    if (session === null || known.envelope === null) return askAddress()
    shell.show(waitingStep('Revoking the message').view)
    const answer = await api.revoke(session.token, known.envelope)
    if (answer.kind !== 'ok') return refuse(answer, revoke)
    const text = `Since ${timeInWords(answer.value.revokedAt)} nobody can open it any more.`
    shell.show(h('div', { class: 'card' }, h('h1', {}, 'The message is revoked'), h('p', {}, text)))
  }

  /** Goes a step; nobody is left waiting where the browser fails in it. */
  function run(step: () => Promise<void>): void {
    step().catch((error: unknown) => refuse({ kind: 'failed', what: String(error) }, open))
  }

  function refuse(refusal: Refusal, retry: () => Promise<void> | void): void {
    const session = keeper.session()
    shell.show(
      refusalStep(refusalInWords(refusal, session?.address ?? null), {
        onRetry: () => run(async () => retry()),
        onOtherAddress: () => void keeper.forget().then(() => askAddress()),
        onFile: takeFile,
        onNewCode: () => run(sendCode),
      }),
    )
  }

  async function readFile(file: File): Promise<void> {
    if (file.size > LARGEST_COPY) return refuse({ kind: 'too-large' }, () => askFile())
    const octets = new Uint8Array(await file.arrayBuffer())
    try {
      known.envelope = identifyOctets(octets).context.envelope
      known.copy = octets
    } catch (error) {
      if (!(error instanceof EnvelopeError)) throw error
      return askFile(`${error.message} Please choose the file protected-message.sealpost.`)
    }
    run(open)
  }

  function takeFile(file: File): void {
    readFile(file).catch(() => askFile('The file could not be read. Please try once more.'))
  }

  return {
    start(link) {
      if (link.kind === 'message') {
        known.envelope = link.envelope
        run(open)
      } else if (link.kind === 'none') askFile()
      else askFile('This link is not whole. Please copy all of it from the mail, or choose the file.')
    },
    takeFile,
  }
}

/** The tries left after a wrong code; null if the answer was something else. */
function triesLeft(answer: Answer<unknown>): number | null {
  return answer.kind === 'problem' && answer.problem.code === 'wrong-code' ? (answer.problem.triesLeft ?? 0) : null
}
