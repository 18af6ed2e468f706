/**
 * Reads an organization's policy file and decides by it. No I/O: text and facts in, verdicts out, the time among the facts.
 * policies/README.md tells officers how a file is written; its shape is policies/policy.schema.json.
 */
export { type AttachmentKind, kindByName, kindByType } from './attachment-kind.ts'
export { bounds } from './bounds.ts'
export type { CaseResult } from './cases.ts'
export { formatDuration, parseDuration } from './duration.ts'
export {
  type ExplainedPart,
  type ExplainedRule,
  explainOutbound,
  explainRelease,
} from './explain.ts'
export type { Observation, OutboundFacts, OutboundVerdict, RecipientTls, ReleaseFacts } from './facts.ts'
export type { Fault } from './fault.ts'
export { type Examined, examinePolicy, type Loaded, loadPolicy } from './load.ts'
export { createMessageText } from './message-text.ts'
export { defaultNotice, isNoticeLanguage, type NoticeChoice, type NoticeLanguage, noticeLanguages } from './notice.ts'
export { decideOutbound, type Outcomes } from './outbound.ts'
export type { OutboundReads } from './outbound-reads.ts'
export type { Carry, Policy, TlsDemand } from './policy.ts'
export { decideRelease } from './release.ts'
