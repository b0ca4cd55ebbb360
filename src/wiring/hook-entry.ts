/**
 * hook-entry: libvirt's hook: asks the agent, and loads the rest of the program only when none answers.
 */
import { askAgentToHook } from '../cli/hook-by-agent.js';
import { readConfigFile } from './config-file.js';
import { readInput, terminal } from './terminal.js';

/**
 * @param args the words after the program's name, `hook` first
 * @returns the exit status
 */
export async function runHook(args: readonly string[]): Promise<number> {
  let input: Promise<string> | undefined;
  const readOnce = (bytesMax: number): Promise<string> => (input ??= readInput(bytesMax));
  const caller = process.env['SWTPM_MIRROR_CALLER'];
  const surroundings = { terminal, readConfigFile, readInput: readOnce, caller };
  const status = await askAgentToHook(surroundings, args.slice(1));
  if (status !== undefined) return status;
  const { runCommandLine } = await import('./command-line.js');
  return await runCommandLine(args, readOnce);
}
