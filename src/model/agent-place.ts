/**
 * agent-place: where this host's agent listens and how long its answer may take, from the text of the configuration file and without its
 * whole schema, which costs more to load than everything else that the hook does.
 */
import { parse as parseToml } from 'smol-toml';
import type { Config } from './config.js';
import { DEFAULT_DEADLINES, DEFAULT_RUN_DIR } from './config-defaults.js';
import { parseDurationMs } from './duration.js';
import { plainPath } from './plain-path.js';

export interface AgentPlace {
  readonly runDir: string;
  readonly timing: Pick<Config['timing'], 'shareDeadlineMs' | 'startDeadlineMs' | 'stopDeadlineMs'>;
}

/** @returns `undefined` for a file that has a mistake, which `parseConfig` tells */
export function readAgentPlace(text: string): AgentPlace | undefined {
  try {
    const { run_dir, timing } = parseToml(text);
    return agentPlace(run_dir ?? DEFAULT_RUN_DIR, { ...DEFAULT_DEADLINES, ...asTable(timing) });
  } catch {
    return undefined;
  }
}

function agentPlace(path: unknown, timing: Readonly<Record<string, unknown>>): AgentPlace | undefined {
  const runDir = typeof path === 'string' ? plainPath(path) : undefined;
  const shareDeadlineMs = durationOf(timing['share_deadline']);
  const startDeadlineMs = durationOf(timing['start_deadline']);
  const stopDeadlineMs = durationOf(timing['stop_deadline']);
  if (!runDir || !shareDeadlineMs || !startDeadlineMs || !stopDeadlineMs) return undefined;
  return { runDir, timing: { shareDeadlineMs, startDeadlineMs, stopDeadlineMs } };
}

function asTable(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {};
}

function durationOf(value: unknown): number | undefined {
  return typeof value === 'string' ? parseDurationMs(value) : undefined;
}
