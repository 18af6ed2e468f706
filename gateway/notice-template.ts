import { readFile } from 'node:fs/promises'
import { type NoticeChoice, type NoticeLanguage, noticeLanguages } from '../rulebook/index.ts'
import { noticeWords } from './notice-words.ts'

/** A place for a value, said in that language. */
export type Slot = { readonly slot: string; readonly language: NoticeLanguage }

/** Literal text and slots by turns. Lines end with CRLF. */
export type Pieces = readonly (string | Slot)[]

/** What a notice says around its slots. */
export type NoticeTemplate = {
  readonly languages: readonly NoticeLanguage[]
  readonly text: Pieces
  readonly html: Pieces
}

/** The template of what policy chose. */
export type NoticeTemplates = { of(choice: NoticeChoice): NoticeTemplate }

type Source = { readonly text: string; readonly html: string }

/** The built-in templates of this folder's `notice/`; an organization's own come with the choice. */
export async function loadNoticeTemplates(): Promise<NoticeTemplates> {
  const read = async (name: string) => withCrlf(await readFile(new URL(`./notice/${name}`, import.meta.url), 'utf8'))
  const frame = await read('frame.html')
  const builtIn = new Map<string, Source>()
  for (const language of noticeLanguages) {
    builtIn.set(language, { text: await read(`${language}.txt`), html: await read(`${language}.html`) })
  }
  const made = new Map<string, NoticeTemplate>()
  const ofOwn = new WeakMap<object, NoticeTemplate>()
  return {
    of(choice) {
      const { own, languages } = choice
      const key = languages.join()
      const known = own === null ? made.get(key) : ofOwn.get(own)
      if (known !== undefined) return known
      const sources = languages.map((language): Source => {
        const source = own === null ? builtIn.get(language) : { text: withCrlf(own.text), html: withCrlf(own.html) }
        if (source === undefined) throw new Error(`there is no notice in the language ${language}`)
        return source
      })
      const template = templateOf(frame, languages, sources)
      if (own === null) made.set(key, template)
      else ofOwn.set(own, template)
      return template
    },
  }
}

const RULE = '-'.repeat(40)
const HTML_RULE = '<hr style="max-width:34em;margin:24px auto;border:0;border-top:1px solid #b3b3b3">'

function templateOf(frame: string, languages: NoticeChoice['languages'], sources: readonly Source[]): NoticeTemplate {
  const [language] = languages
  const [before = '', after = ''] = frame
    .replace('lang="en"', `lang="${language}"`)
    .replace('{title}', noticeWords[language].title)
    .split('{body}')
  const pieces = (part: keyof Source, between: string) =>
    sources.flatMap((source, index) => [
      ...(index === 0 ? [] : [between]),
      ...piecesOf(source[part], languages[index] ?? language),
    ])
  return {
    languages,
    text: pieces('text', `\r\n\r\n${RULE}\r\n\r\n`),
    html: [before, ...pieces('html', `\r\n${HTML_RULE}\r\n`), after],
  }
}

function piecesOf(source: string, language: NoticeLanguage): (string | Slot)[] {
  return source.split(/\{([a-z]+)\}/).map((piece, index) => (index % 2 === 0 ? piece : { slot: piece, language }))
}

function withCrlf(text: string): string {
  return text.trimEnd().replaceAll('\r\n', '\n').replaceAll('\n', '\r\n')
}
