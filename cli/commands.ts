import type { Command } from './io.ts'

/** One entry of the command line: what it is called, what it says of itself, and how it is loaded when it is wanted. */
export type Entry = {
  readonly name: string
  readonly summary: string
  readonly help: string
  readonly load: () => Promise<Command>
}

const OFFICER = `  --config FILE     YAML with keyserver, cert, key and ca (paths relative to the file)
  --keyserver URL   the key server's listener for gateways and officers, such as https://keys.example.org:8444
  --cert, --key     the officer's certificate and key (made by: sealpost certs init)
  --ca FILE         the authority of the key server's certificate`

/** Every command, in the order in which the help lists them. Each is loaded only when it runs. */
export const commands: readonly Entry[] = [
  {
    name: 'certs',
    summary: 'make and renew certificates for gateways, key server and officers',
    help: `sealpost certs init [--to FOLDER] [--name HOST,IP,...] [--gateway NAME]... [--officer NAME]...
sealpost certs init --renew [--to FOLDER] [--name HOST,IP,...]
sealpost certs add [--to FOLDER] [--gateway NAME]... [--officer NAME]...

init makes a local authority (P-256, ten years), a server certificate each for the key server and the gateway, and a client
certificate per gateway and officer (one year). It never overwrites a file. --renew makes the end certificates of the folder
again under the same authority; add makes further clients.

  --to FOLDER     where the files go (default: certs)
  --name LIST     host names and addresses of the servers (default: localhost,127.0.0.1,::1)
  --gateway NAME  a gateway; may be repeated (default with init: gw1)
  --officer NAME  an officer; may be repeated (default with init: officer1)

certs/README.md says what each file is for, and how to bring your own.`,
    load: async () => (await import('./certs.ts')).certs,
  },
  {
    name: 'policy',
    summary: 'check policy files, run the tests in them, explain a verdict',
    help: `sealpost policy check FILE...
sealpost policy test FILE...
sealpost policy explain FILE --mail EML --to ADDRESS [--sender ADDRESS] [--user NAME] [--ip ADDRESS] [--no-tls] [--recipient-tls] [--scan VERDICT]

check names each fault of the files, failing tests among them, with line, column and what to write instead. test prints each
case under \`tests\`. explain says what would happen to one mail for one recipient, and why: each rule, and what its condition saw.`,
    load: async () => (await import('./policy.ts')).policy,
  },
  {
    name: 'audit',
    summary: 'verify, export and show the log, without the servers',
    help: `sealpost audit verify COPY [--log ORG] [--key KEY]... [--against CHECKPOINT]... [--json]
sealpost audit show COPY [--log ORG] [--envelope ID]
sealpost audit checkpoint COPY [--log ORG]
sealpost audit export DATABASE --log ORG --to FOLDER

COPY is the key server's database, a copy of it, or an exported folder; nothing is written to it. The log of the server's own acts is
called server. Exit status: 0 verified, 1 tampered with (it says what), 2 not readable, or asked wrongly.

  --key KEY         the log's public key, or a file with it, from a place you trust
  --against FILE    a checkpoint that was kept elsewhere: only that finds a log that was rolled back as a whole`,
    load: async () => {
      const { audit } = await import('./audit.ts')
      return (argv, io) => audit([...argv], { stdout: linesTo(io.out), stderr: linesTo(io.err) })
    },
  },
  {
    name: 'revoke',
    summary: 'stop an envelope from being opened, for good',
    help: `sealpost revoke ORG ID --reason TEXT --config FILE
sealpost revoke ORG ID --reason TEXT --keyserver URL --cert FILE --key FILE --ca FILE

ORG is the organization, such as acme.example; ID the 22 characters after /m/ in the link. The reason goes into the log.

${OFFICER}`,
    load: async () => (await import('./revoke.ts')).revoke,
  },
  {
    name: 'held',
    summary: 'list the mail that a rule held, let it go or send it back',
    help: `sealpost held list ORG [--json] --config FILE
sealpost held show ORG ID [--json] --config FILE
sealpost held release ORG ID [--reason TEXT] --config FILE
sealpost held return ORG ID --reason TEXT --config FILE

A rule with "then: hold" keeps a mail, sealed, until an officer decides. list shows what waits, oldest first: who wrote to whom, and until when; what is
in it only its sender and its recipients can tell. release lets it go: its gateway delivers it, and its time to live begins. return sends it
back: nobody will ever open it, and its sender gets your reason to read. Nobody decides, and it goes back by itself. All of it goes into the log.

  --reason TEXT     why, 1 to 512 characters
  --json            the same for a program
${OFFICER}`,
    load: async () => (await import('./held.ts')).held,
  },
  {
    name: 'clock',
    summary: 'tell the key server that its clock is right after a jump',
    help: `sealpost clock accept --reason TEXT --config FILE
sealpost clock accept --reason TEXT --keyserver URL --cert FILE --key FILE --ca FILE

After a clock that moved, or a long pause, the key server destroys nothing until an officer has looked at the clock. Look at the
clock of the machine first: what is expired by it is destroyed afterwards, and nothing brings that back.

${OFFICER}`,
    load: async () => (await import('./clock.ts')).clock,
  },
  {
    name: 'doctor',
    summary: 'look at everything that mail needs, and say what is wrong',
    help: `sealpost doctor --gateway FILE [--keyserver FILE] [--resolver ADDRESS[:PORT]] [--json]
sealpost doctor --gateway FILE --send ADDRESS [--from ADDRESS] [--keyserver FILE]

Looks at certificates, key server and policy, clocks, next hop and its TLS, loops, whether a stranger could send through a listener, spool, disk,
DNS (MX, SPF, DKIM, DMARC) and DKIM keys. Run it on the gateway's machine, as the gateway's user. Changes nothing and sends no mail, but for:

  --send ADDRESS     hands in a real mail to ADDRESS, and follows it to the log
  --from ADDRESS     its sender (default: postmaster of the first organization)
  --keyserver FILE   keyserver.yaml, where the key server is on this machine: for its certificates, its folders and its log
  --resolver SERVER  asks this DNS server in place of the system's
  --json             the findings for a program: {healthy, findings: [{level, area, found, todo}]}

Each finding is ok, look (it may be meant so, or could not be found out) or broken, with what to do. Exit status: 1 if anything is broken.`,
    load: async () => (await import('./doctor.ts')).doctor,
  },
  {
    name: 'dkim',
    summary: 'make a key that signs outgoing mail, and print its DNS record',
    help: `sealpost dkim DOMAIN --selector NAME --to FILE [--type rsa|ed25519]

Makes the private key in FILE (0600, never over an old one) and prints the DNS record to paste, then the lines for gateway.yaml. A new
key gets a new selector, such as the month: mail under way is still checked against the old one.

  --type  rsa (2048 bits, read by everybody; default) or ed25519 (short and fast, not read by everybody yet: use it beside rsa)`,
    load: async () => (await import('./dkim.ts')).dkim,
  },
  {
    name: 'trace',
    summary: 'where is my mail? Verdict, delivery, codes and opens of one message',
    help: `sealpost trace ID|ADDRESS|MESSAGE-ID --database FILE [--trace-key FILE]... [--key-store FOLDER --kek FILE] [--log ORG] [--json]

ID is the 22 characters after /m/ in the link, or the whole link. ADDRESS, of a sender or a recipient, lists the newest mails; where there is only one
it is shown. A MESSAGE-ID, in quotes, is found with the organization's trace key. Tells when it was accepted, by which rule it
was sealed, passed or refused, what the next hop said for each recipient, codes mailed, opens and refusals. Reads only; never shows a key, a code or a content.

  --database FILE     keyserver.sqlite, or a copy of it; a running server may be asked (the file is copied to the folder for temporary files first)
  --trace-key FILE    traceKey of gateway.yaml, or ORG.trace in the gateway's data folder; may be repeated
  --key-store FOLDER  with --kek: the next hop's words and the networks of browsers, which lie sealed beside the log
  --kek FILE          (default for both: keys and organization.key beside the database, where this user may read them)
  --log ORG           mail of this organization only
  --json              the same for a program: {envelopes: [{envelope, verdict, rule, recipients, events, ...}]}

Exit status: 1 if nothing is known of it.`,
    load: async () => (await import('./trace.ts')).trace,
  },
  {
    name: 'guide',
    summary: 'what to type at the provider, with the values of your configuration',
    help: `sealpost guide microsoft-365|google-workspace|postfix|exim --gateway FILE [--address ADDRESS] [--org ORG]

Prints the commands, settings or lines of docs/guides with the names and secrets of the gateway's configuration in them: keep what it prints to yourself.
Changes nothing. Trying it out, sizes and rolling back stand in the page.

  --address ADDRESS  the address that the gateway connects from (default: the page's placeholder, 192.0.2.25)
  --org ORG          which organization, where the configuration has several`,
    load: async () => (await import('./guide.ts')).guide,
  },
  {
    name: 'notice',
    summary: 'see what the recipient of a sealed mail sees before opening it',
    help: `sealpost notice preview [--policy FILE | --org ORG] [--rule NAME | --language LIST | --notice NAME] [--name NAME] [--link] [--out FOLDER]

Fills a notice with sample values and writes it as notice.html, notice.txt and notice.eml (the whole mail); without --out the text is printed.
Without --rule, --language and --notice it is the one that the policy has for all sealed mail, or without a policy the English one.

  --policy FILE    the policy whose notices and rules are meant
  --org ORG        the same as --policy policies/ORG.yaml
  --rule NAME      the notice of what this rule seals
  --language LIST  a built-in notice: en, de, fr, es, it, nl, or several as in de,en
  --notice NAME    one of the policy's own, under notices:
  --name NAME      the organization's name for people (the gateway has it from its configuration)
  --link           as for mail that does not carry the encrypted message`,
    load: async () => (await import('./notice.ts')).notice,
  },
  {
    name: 'queue',
    summary: 'list, try, hold or drop the mail that a gateway has not delivered yet',
    help: `sealpost queue list (--config FILE | --data FOLDER) [--json]
sealpost queue show ID (--config FILE | --data FOLDER) [--json]
sealpost queue flush (ID | --all) (--config FILE | --data FOLDER)
sealpost queue hold ID (--config FILE | --data FOLDER)
sealpost queue drop ID [--bounce] (--config FILE | --data FOLDER)

list and show read the spool on the disk, whether the gateway runs or not; run them as its user. flush tries now, also what is on hold; hold keeps
a mail, untried, until it is flushed; drop takes it out for good, and with --bounce tells its sender. These three ask the running gateway.

  --config FILE   the gateway's configuration
  --data FOLDER   its data folder`,
    load: async () => (await import('./queue.ts')).queue,
  },
  {
    name: 'smtp-user',
    summary: 'make an entry for the file of accounts that may sign in to the gateway',
    help: `sealpost smtp-user add NAME --org ORG [--file FILE]

Reads the password from the first line of standard input, never from the command line, and makes one entry with its scrypt hash.
Without --file the entry is printed; with it, it is appended to FILE (made 0600), which must not hold NAME yet.
Example: printf '%s\\n' "$PASSWORD" | sealpost smtp-user add printer@acme.example --org acme.example --file accounts.yaml`,
    load: async () => (await import('./smtp-user.ts')).smtpUser,
  },
]

/** The help without a command: one line for each. */
export function overview(): string {
  const lines = commands.map((entry) => `  ${entry.name.padEnd(10)} ${entry.summary}`)
  return [
    'Sealpost: what officers, auditors and operators run by hand.',
    '',
    'Usage: sealpost COMMAND ...',
    '',
    ...lines,
    '',
    'More on one command: sealpost help COMMAND',
  ].join('\n')
}

/** For a command that writes whole texts with their line ends. */
function linesTo(line: (text: string) => void): { write(text: string): void } {
  return { write: (text) => line(text.replace(/\n$/, '')) }
}
