import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

/** Runs one of the benchmark's own programs to its end and gives the JSON that it printed last. Throws where it fails or takes longer than `seconds`. */
export async function runProgram<T>(name: string, args: readonly string[], seconds: number): Promise<T> {
  const program = join(import.meta.dirname, name)
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.setEncoding('utf8')
  child.stdout.on('data', (chunk: string) => {
    said += chunk
  })
  const late = setTimeout(() => child.kill('SIGKILL'), seconds * 1000)
  await once(child, 'close')
  clearTimeout(late)
  if (child.exitCode !== 0) throw new Error(`${name} ${args.join(' ')} did not end well within ${seconds} s`)
  const last = said.trim().split('\n').at(-1) ?? ''
  // Both ends of this pipe are in this folder.
  return JSON.parse(last) as T
}

/** Runs a program of the system; what it printed, on either output. Throws with that where it fails. */
export async function run(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (chunk: string) => {
      said += chunk
    })
  }
  await once(child, 'close')
  if (child.exitCode !== 0) throw new Error(`${command} ${args.join(' ')}: ${said.trim()}`)
  return said
}

/** Ends a process of ours: SIGTERM, and SIGKILL where that has not helped in 5 s. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  const hard = setTimeout(() => child.kill('SIGKILL'), 5_000)
  await ended
  clearTimeout(hard)
}
