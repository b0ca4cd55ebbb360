/**
 * hook-note: what a running agent leaves in its run directory for libvirt's hook, a shell script that
 * reads it line by line: whom to ask, how long, and on whose behalf.
 *
 *   <run_dir>/hook
 *     4f0c…                              this run of the agent; it answers to no other
 *     45                                 how long an answer may take, s
 *     /etc/swtpm-mirror/config.toml      the configuration that it works by
 *
 * I1 A hook that finds the note of another configuration, or none, does not ask by itself.
 * I2 A note that a killed agent left harms nobody: its socket is dead, and the next agent, of whatever
 *    version, answers nothing to the name of another run.
 */
import { errnoOf } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import { replaceFile, type ReplaceFile } from './replace-file.js';
import { ifAny } from './files.js';

export interface HookNote {
  /** Names this run of the agent: hexadecimal digits. */
  readonly run: string;
  readonly patienceMs: number;
  /** Absolute path. */
  readonly configPath: string;
}

export const HOOK_NOTE = 'hook';

/**
 * A configuration whose path a line cannot hold gets no note: its hook asks through the program.
 *
 * @throws NodeJS.ErrnoException
 */
export async function writeHookNote(
  runDirectory: string,
  { run, patienceMs, configPath }: HookNote,
  write: ReplaceFile = replaceFile,
): Promise<void> {
  if (/[\n\0]/.test(configPath)) return;
  const lines = [run, String(Math.max(1, Math.ceil(patienceMs / 1000))), configPath];
  await write(`${runDirectory}/${HOOK_NOTE}`, lines.map((line) => `${line}\n`).join(''));
}

/** The agent is about to end. Never fails: see I2. */
export async function removeHookNote(fs: FileSystem, runDirectory: string): Promise<void> {
  await ifAny(() => fs.unlink('hook-note:unlink', `${runDirectory}/${HOOK_NOTE}`)).catch((error: unknown) => {
    if (errnoOf(error) === undefined) throw error;
  });
}
