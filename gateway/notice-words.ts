import type { NoticeLanguage } from '../rulebook/index.ts'

export const ATTACHMENT_NAME = 'protected-message.sealpost'

/** What the slots of a notice say where it is not a value of the mail. */
type Words = {
  /** Of the HTML page. */
  readonly title: string
  /** In the sender's place, for `<>`. */
  readonly system: (domain: string) => string
  /** Who can open it, where nobody may be named. */
  readonly unnamed: string
  /** So many more than are listed. */
  readonly more: (count: number) => string
  /** The mail carries its envelope. */
  readonly attached: string
  readonly notAttached: string
}

export const noticeWords: Readonly<Record<NoticeLanguage, Words>> = {
  en: {
    title: 'A protected message',
    system: (domain) => `the mail system of ${domain}`,
    unnamed: 'only the addresses that this mail was sent to',
    more: (count) => `and ${count} more`,
    attached: lines(
      `The attached file ${ATTACHMENT_NAME} is the message itself, encrypted.`,
      'Keep this mail: the page may ask for that file.',
    ),
    notAttached: 'The message itself is kept, encrypted, by the organization.',
  },
  de: {
    title: 'Eine geschützte Nachricht',
    system: (domain) => `das Mailsystem von ${domain}`,
    unnamed: 'nur die Adressen, an die diese E-Mail ging',
    more: (count) => `und ${count} weitere`,
    attached: lines(
      `Die angehängte Datei ${ATTACHMENT_NAME} ist die Nachricht selbst,`,
      'verschlüsselt. Bewahren Sie diese E-Mail auf: Die Seite fragt vielleicht',
      'nach dieser Datei.',
    ),
    notAttached: 'Die Nachricht selbst bewahrt die Organisation verschlüsselt auf.',
  },
  fr: {
    title: 'Un message protégé',
    system: (domain) => `le système de messagerie de ${domain}`,
    unnamed: 'seulement les adresses auxquelles ce message a été envoyé',
    more: (count) => `et ${count} de plus`,
    attached: lines(
      `Le fichier joint ${ATTACHMENT_NAME} est le message lui-même, chiffré.`,
      'Conservez ce courriel : la page peut demander ce fichier.',
    ),
    notAttached: "Le message lui-même est conservé, chiffré, par l'organisation.",
  },
  es: {
    title: 'Un mensaje protegido',
    system: (domain) => `el sistema de correo de ${domain}`,
    unnamed: 'solo las direcciones a las que se envió este correo',
    more: (count) => `y ${count} más`,
    attached: lines(
      `El archivo adjunto ${ATTACHMENT_NAME} es el propio mensaje, cifrado.`,
      'Conserve este correo: la página puede pedir ese archivo.',
    ),
    notAttached: 'La organización guarda el propio mensaje, cifrado.',
  },
  it: {
    title: 'Un messaggio protetto',
    system: (domain) => `il sistema di posta di ${domain}`,
    unnamed: 'solo gli indirizzi a cui è stata inviata questa e-mail',
    more: (count) => `e altri ${count}`,
    attached: lines(
      `Il file allegato ${ATTACHMENT_NAME} è il messaggio stesso, cifrato.`,
      'Conservi questa e-mail: la pagina potrebbe chiedere quel file.',
    ),
    notAttached: "Il messaggio stesso è conservato, cifrato, dall'organizzazione.",
  },
  nl: {
    title: 'Een beveiligd bericht',
    system: (domain) => `het mailsysteem van ${domain}`,
    unnamed: 'alleen de adressen waaraan deze e-mail is gestuurd',
    more: (count) => `en nog ${count}`,
    attached: lines(
      `Het bijgevoegde bestand ${ATTACHMENT_NAME} is het bericht zelf, versleuteld.`,
      'Bewaar deze e-mail: de pagina kan om dat bestand vragen.',
    ),
    notAttached: 'Het bericht zelf wordt versleuteld bewaard door de organisatie.',
  },
}

function lines(...some: readonly string[]): string {
  return some.join('\r\n')
}
