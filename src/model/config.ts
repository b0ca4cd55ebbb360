/**
 * config: the configuration, from the text of its TOML file to a checked value in the program's own terms (milliseconds, bytes, checked
 * names). Every problem of a file is reported at once.
 */
import { parse as parseToml, TomlError } from 'smol-toml';
import { describeIssue, describeSyntaxError } from './config-problems.js';
import {
  CONFIG_FILE,
  EXPECTED_HOST_NAME,
  LIMITS_SECTION,
  TIMING_SECTION,
  type ConfigFile,
  type ListenAddress,
} from './config-schema.js';
import { formatDuration } from './duration.js';
import { MirrorError } from './errors.js';
import { isHostName, quoted, type HostName } from './identifiers.js';
import type { LocalStatePolicy } from './restore-plan.js';

export interface Config {
  readonly host: HostName;
  /** Where the share is mounted. */
  readonly share: string;
  /** No share was configured: a directory of this host serves as one, for this host alone. */
  readonly shareIsDefault: boolean;
  readonly stateDir: string;
  readonly runDir: string;
  /** `direct`: swtpm works on the share itself, through a symbolic link. */
  readonly placement: 'mirror' | 'direct';
  readonly libvirt: {
    readonly uri: string;
    readonly swtpmDir: string;
    /** Where libvirt puts the NVRAM of a domain whose firmware it chooses itself. */
    readonly nvramDir: string;
    readonly logDir: string;
    /** Mirror the domain's NVRAM with its TPM. */
    readonly nvram: boolean;
  };
  readonly timing: {
    /** How long a changed file must rest before it is read. */
    readonly settleMs: number;
    readonly heartbeatMs: number;
    /** Age of its heartbeat from which a host may be taken over. */
    readonly hostExpiryMs: number;
    /** For one operation on the share. */
    readonly shareDeadlineMs: number;
    /** For all that a domain's start waits for. */
    readonly startDeadlineMs: number;
    /** For all that a domain's stop waits for. */
    readonly stopDeadlineMs: number;
    /** Between two looks at files whose change events may have been lost. */
    readonly rescanMs: number;
    /** Longest pause between two tries. */
    readonly retryMaxMs: number;
  };
  readonly start: {
    /** `last-known`: without the share, start from local state that is provably the latest this host knows. */
    readonly withoutShare: 'refuse' | 'last-known';
    readonly takeOver: 'expired' | 'never';
    /** `refuse-at-once`: a start does not wait for a holder's expiry, but says how long that takes. */
    readonly wait: 'expiry' | 'refuse-at-once';
    /** `previous`: when the head is damaged, start from the newest generation that is not. */
    readonly damagedHead: 'refuse' | 'previous';
    /** Who is right where somebody else put a TPM state in place before a start. */
    readonly localState: LocalStatePolicy;
  };
  /** What becomes of stored NVRAM that does not suit the firmware. */
  readonly nvram: { readonly mismatch: 'fresh' | 'refuse' };
  readonly retention: { readonly generations: number };
  /** Whom the storage process works as on the share, and whether it believes the server's clock where it can. */
  readonly storage: {
    readonly uid: number;
    readonly gid: number;
    readonly heartbeatAge: 'auto' | 'observed';
  };
  readonly encryption: {
    /** age recipients; empty: generations are stored in the clear. */
    readonly recipients: readonly string[];
    readonly identityFile: string | undefined;
    /** With recipients: whether what is stored in the clear is read all the same. */
    readonly acceptPlain: boolean;
  };
  readonly metrics: {
    readonly listen: ListenAddress | undefined;
    /** Names under which it is asked there, beside this host's own. */
    readonly names: readonly string[];
  };
  readonly log: { readonly level: ConfigFile['log']['level'] };
  readonly limits: {
    readonly spoolBytesMax: number;
    /** Operations that wait for the share, per volume and in all. */
    readonly queuePerVolume: number;
    readonly queue: number;
    /** Storage processes alive at once, those given up on included. */
    readonly storageProcesses: number;
  };
}

export interface ConfigDefaults {
  /** The machine's host name. */
  readonly hostName: string;
  /** Of the file, for whoever has to correct it. */
  readonly path?: string;
}

/**
 * @throws MirrorError `CONFIG_INVALID` with every problem of the file
 */
export function parseConfig(text: string, defaults: ConfigDefaults): Config {
  const { path } = defaults;
  const table = readToml(text, path);
  const file = CONFIG_FILE.safeParse(table, { reportInput: true });
  const problems = [...(file.error?.issues ?? []).flatMap(describeIssue), ...describeRelations(table)];
  const defaultHost = defaults.hostName.toLowerCase();
  const host = file.data?.host ?? (isHostName(defaultHost) ? defaultHost : undefined);
  if (host === undefined && !('host' in table)) {
    problems.push(
      `host is not set and the machine's name is ${quoted(defaults.hostName)}, ${EXPECTED_HOST_NAME}`,
    );
  }
  if (problems.length > 0 || !file.success || host === undefined) throw invalid(problems.join('; '), path);
  return toConfig(file.data, host);
}

function readToml(text: string, path: string | undefined): Record<string, unknown> {
  try {
    return parseToml(text);
  } catch (error) {
    if (error instanceof TomlError) throw invalid(describeSyntaxError(error), path);
    throw error;
  }
}

function invalid(problems: string, path: string | undefined): MirrorError {
  const what = path === undefined ? 'the configuration' : `the configuration ${path}`;
  return new MirrorError('CONFIG_INVALID', `read ${what}: ${problems}`, {
    next: 'correct the configuration file; `configuration.md` in the documentation describes every key',
  });
}

/** Sections are looked at one by one, so that a problem elsewhere hides none of these. */
function describeRelations(table: Record<string, unknown>): string[] {
  const problems: string[] = [];
  const timing = TIMING_SECTION.safeParse(table['timing'] ?? {}).data;
  if (timing !== undefined) {
    const expectAtLeast = (key: keyof typeof timing, times: number, other: keyof typeof timing): void => {
      if (timing[key] >= times * timing[other]) return;
      const least = `${times === 1 ? '' : `${times} times `}timing.${other}, ${formatDuration(times * timing[other])}`;
      problems.push(`timing.${key} is ${formatDuration(timing[key])}, expected at least ${least}`);
    };
    expectAtLeast('host_expiry', 3, 'heartbeat');
    expectAtLeast('start_deadline', 1, 'share_deadline');
    expectAtLeast('stop_deadline', 1, 'share_deadline');
  }
  if (table['placement'] === 'direct' && asksForEncryption(table['encryption'])) {
    problems.push(
      'placement is "direct" and encryption.recipients is set, expected one of them: with "direct", swtpm itself writes to the share, in the clear',
    );
  }
  const limits = LIMITS_SECTION.safeParse(table['limits'] ?? {}).data;
  if (limits !== undefined && limits.queue < limits.queue_per_volume) {
    problems.push(
      `limits.queue is ${limits.queue}, expected at least limits.queue_per_volume, ${limits.queue_per_volume}`,
    );
  }
  return problems;
}

function asksForEncryption(encryption: unknown): boolean {
  if (typeof encryption !== 'object' || encryption === null || !('recipients' in encryption)) return false;
  return Array.isArray(encryption.recipients) && encryption.recipients.length > 0;
}

function toConfig(file: ConfigFile, host: HostName): Config {
  const { libvirt, timing, start, encryption, limits } = file;
  return {
    host,
    share: file.share ?? `${file.state_dir}/share`,
    shareIsDefault: file.share === undefined,
    stateDir: file.state_dir,
    runDir: file.run_dir,
    placement: file.placement,
    libvirt: {
      uri: libvirt.uri,
      swtpmDir: libvirt.swtpm_dir,
      nvramDir: libvirt.nvram_dir,
      logDir: libvirt.log_dir,
      nvram: libvirt.nvram,
    },
    timing: {
      settleMs: timing.settle,
      heartbeatMs: timing.heartbeat,
      hostExpiryMs: timing.host_expiry,
      shareDeadlineMs: timing.share_deadline,
      startDeadlineMs: timing.start_deadline,
      stopDeadlineMs: timing.stop_deadline,
      rescanMs: timing.rescan,
      retryMaxMs: timing.retry_max,
    },
    start: {
      withoutShare: start.without_share,
      takeOver: start.take_over,
      wait: start.wait,
      damagedHead: start.damaged_head,
      localState: start.local_state,
    },
    nvram: file.nvram,
    retention: file.retention,
    storage: {
      uid: file.storage.uid,
      gid: file.storage.gid,
      heartbeatAge: file.storage.heartbeat_age,
    },
    encryption: {
      recipients: encryption.recipients,
      identityFile: encryption.identity_file ?? undefined,
      acceptPlain: encryption.accept_plain,
    },
    metrics: { listen: file.metrics.listen ?? undefined, names: file.metrics.names },
    log: file.log,
    limits: {
      spoolBytesMax: limits.spool_bytes,
      queuePerVolume: limits.queue_per_volume,
      queue: limits.queue,
      storageProcesses: limits.storage_processes,
    },
  };
}
