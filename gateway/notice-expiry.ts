import type { NoticeLanguage } from '../rulebook/index.ts'

/** The day as it is called, and its parts. */
type Day = { readonly weekday: string; readonly day: number; readonly month: string; readonly year: number }

type Calendar = {
  /** From Sunday. */
  readonly weekdays: string
  /** From January. */
  readonly months: string
  /** One and many: days, hours, minutes. */
  readonly units: readonly [string, string, string, string, string, string]
  /** `left` is how long after sending. */
  readonly said: (day: Day, hours: string, minutes: string, left: string) => string
}

const calendars: Readonly<Record<NoticeLanguage, Calendar>> = {
  en: {
    weekdays: 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday',
    months: 'January February March April May June July August September October November December',
    units: ['day', 'days', 'hour', 'hours', 'minute', 'minutes'],
    said: ({ weekday, day, month, year }, hours, minutes, left) =>
      `${weekday}, ${day} ${month} ${year}, ${hours}:${minutes} UTC (${left} after it was sent)`,
  },
  de: {
    weekdays: 'Sonntag Montag Dienstag Mittwoch Donnerstag Freitag Samstag',
    months: 'Januar Februar März April Mai Juni Juli August September Oktober November Dezember',
    units: ['Tag', 'Tage', 'Stunde', 'Stunden', 'Minute', 'Minuten'],
    said: ({ weekday, day, month, year }, hours, minutes, left) =>
      `${weekday}, ${day}. ${month} ${year}, ${hours}:${minutes} Uhr UTC (${left} nach dem Versand)`,
  },
  fr: {
    weekdays: 'dimanche lundi mardi mercredi jeudi vendredi samedi',
    months: 'janvier février mars avril mai juin juillet août septembre octobre novembre décembre',
    units: ['jour', 'jours', 'heure', 'heures', 'minute', 'minutes'],
    said: ({ weekday, day, month, year }, hours, minutes, left) =>
      `${weekday} ${day === 1 ? '1er' : day} ${month} ${year} à ${hours} h ${minutes} UTC (${left} après l'envoi)`,
  },
  es: {
    weekdays: 'domingo lunes martes miércoles jueves viernes sábado',
    months: 'enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre',
    units: ['día', 'días', 'hora', 'horas', 'minuto', 'minutos'],
    said: ({ weekday, day, month, year }, hours, minutes, left) =>
      `${weekday}, ${day} de ${month} de ${year}, ${hours}:${minutes} UTC (${left} después del envío)`,
  },
  it: {
    weekdays: 'domenica lunedì martedì mercoledì giovedì venerdì sabato',
    months: 'gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre',
    units: ['giorno', 'giorni', 'ora', 'ore', 'minuto', 'minuti'],
    said: ({ weekday, day, month, year }, hours, minutes, left) =>
      `${weekday} ${day} ${month} ${year}, ore ${hours}:${minutes} UTC (${left} dopo l'invio)`,
  },
  nl: {
    weekdays: 'zondag maandag dinsdag woensdag donderdag vrijdag zaterdag',
    months: 'januari februari maart april mei juni juli augustus september oktober november december',
    units: ['dag', 'dagen', 'uur', 'uur', 'minuut', 'minuten'],
    said: ({ weekday, day, month, year }, hours, minutes, left) =>
      `${weekday} ${day} ${month} ${year}, ${hours}:${minutes} uur UTC (${left} na verzending)`,
  },
}

/** `Tuesday, 22 December 2026, 14:05 UTC (30 days after it was sent)`, in the form of the language. */
export function plainExpiry(language: NoticeLanguage, expiresAt: string, now: Date): string {
  const { weekdays, months, units, said } = calendars[language]
  const at = new Date(expiresAt)
  const two = (value: number) => String(value).padStart(2, '0')
  const day = {
    weekday: weekdays.split(' ')[at.getUTCDay()] ?? '',
    day: at.getUTCDate(),
    month: months.split(' ')[at.getUTCMonth()] ?? '',
    year: at.getUTCFullYear(),
  }
  const left = plainDuration(at.getTime() - now.getTime(), units)
  return said(day, two(at.getUTCHours()), two(at.getUTCMinutes()), left)
}

function plainDuration(ms: number, units: Calendar['units']): string {
  const minutes = Math.max(0, Math.round(ms / 60_000))
  const [count, unit] = minutes >= 2 * 1440 ? [minutes / 1440, 0] : minutes >= 2 * 60 ? [minutes / 60, 2] : [minutes, 4]
  const whole = Math.round(count)
  return `${whole} ${units[whole === 1 ? unit : unit + 1]}`
}
