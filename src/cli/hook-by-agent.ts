/**
 * hook-by-agent: libvirt's hook where an agent runs: what libvirt says goes to the agent as it is, and its refusal to whoever starts the domain.
 *
 * Every start and stop of a domain waits for this, so it loads as little of the program as it can: neither the configuration's schema nor a parser
 * for the domain's XML, which the agent has at hand.
 */
import { parseArgs } from 'node:util';
import { actionOf, DOMAIN_XML_LENGTH_MAX, mustSucceed } from '../libvirt/hook-operation.js';
import { readAgentPlace, type AgentPlace } from '../model/agent-place.js';
import { asMirrorError } from '../model/errors.js';
import { askAgent } from './control-client.js';
import type { CliEnvironment } from './environment.js';
import { reportError } from './report-error.js';

export interface HookSurroundings extends Pick<CliEnvironment, 'terminal' | 'readInput'> {
  /** The text of the configuration file. @throws MirrorError `CONFIG_INVALID` */
  readonly readConfigFile: (asked: string | undefined) => string;
  /** The process that ran the hook, where the installed script says it. */
  readonly caller?: string | undefined;
}

interface HookCall {
  readonly operation: string;
  readonly extra: string;
  readonly place: AgentPlace;
}

/**
 * @param args the words after `hook`
 * @returns the exit status; `undefined` when there is no agent, or anything that is better judged by the whole program
 */
export async function askAgentToHook(
  surroundings: HookSurroundings,
  args: readonly string[],
): Promise<number | undefined> {
  const call = readCall(surroundings, args);
  if (!call) return undefined;
  const { operation, extra, place } = call;
  const caller = surroundings.caller ?? '';
  const path = `/v1/hook?${new URLSearchParams({ operation, extra, caller }).toString()}`;
  try {
    // Always to its end: libvirt counts a hook that does not read as failed.
    const body = await surroundings.readInput(DOMAIN_XML_LENGTH_MAX);
    if (actionOf(operation) === undefined) return 0;
    return (await askAgent(place, { method: 'POST', path, body })) === undefined ? undefined : 0;
  } catch (error) {
    // An agent of an earlier version does not know this call.
    if (asMirrorError(error).code === 'USAGE') return undefined;
    const status = reportError(surroundings.terminal, error);
    return mustSucceed(operation) ? 0 : status;
  }
}

function readCall({ readConfigFile }: HookSurroundings, args: readonly string[]): HookCall | undefined {
  try {
    const options = { config: { type: 'string' } } as const;
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    const [, operation, , extra] = positionals;
    const place = readAgentPlace(readConfigFile(values.config));
    if (positionals.length !== 4 || !place) return undefined;
    return operation === undefined || extra === undefined ? undefined : { operation, extra, place };
  } catch {
    return undefined;
  }
}
