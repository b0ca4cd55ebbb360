/**
 * config-schema: every key of the configuration file with its type, range and default. A failed check's message is what was expected;
 * `config-problems.ts` adds the key and what was found.
 */
import * as z from 'zod';
import { formatByteSize, parseByteSize } from './byte-size.js';
import { DEFAULT_DEADLINES, DEFAULT_RUN_DIR } from './config-defaults.js';
import { formatDuration, parseDurationMs } from './duration.js';
import { isHostName, type HostName } from './identifiers.js';
import { plainPath } from './plain-path.js';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const ID_MAX = 4_294_967_294;
const PORT_MAX = 65_535;
const LISTEN = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/;
const AGE_RECIPIENT = /^age1[a-z0-9-]+$/;
const LIBVIRT_URI = /^[a-z][a-z0-9+.-]*:\/\/\S*$/;

export const EXPECTED_HOST_NAME = 'expected at most 63 letters, digits, dots and hyphens';
const EXPECTED_DNS_NAME = 'expected a host name such as "metrics.example.org"';
const EXPECTED_URI = 'expected a libvirt URI such as "qemu:///system"';
const EXPECTED_RECIPIENT = 'expected an age recipient, "age1…"';

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** A string key that `parse` turns into a value of another type; `undefined` from it means not acceptable. */
function parsed<Value>(expected: string, parse: (text: string) => Value | undefined) {
  return z.string({ error: expected }).transform((input, context): Value => {
    const value = parse(input);
    if (value !== undefined) return value;
    context.issues.push({ code: 'custom', message: expected, input });
    return z.NEVER;
  });
}

function within(value: number | undefined, min: number, max: number): number | undefined {
  return value !== undefined && value >= min && value <= max ? value : undefined;
}

function duration(minMs: number, maxMs: number) {
  const expected = `expected a duration from ${formatDuration(minMs)} to ${formatDuration(maxMs)}, such as "5s"`;
  return parsed(expected, (text) => within(parseDurationMs(text), minMs, maxMs));
}

function byteSize(minBytes: number, maxBytes: number) {
  const range = `from ${formatByteSize(minBytes)} to ${formatByteSize(maxBytes)}`;
  return parsed(`expected a size ${range}, such as "256MiB"`, (text) =>
    within(parseByteSize(text), minBytes, maxBytes),
  );
}

function integer(min: number, max: number) {
  const error = `expected a whole number from ${min} to ${max}`;
  return z
    .number({ error })
    .refine((value) => Number.isInteger(value) && value >= min && value <= max, { error });
}

function choice<const Values extends readonly [string, ...string[]]>(...values: Values) {
  return z.enum(values, { error: `expected one of ${values.map((value) => `"${value}"`).join(', ')}` });
}

function absolutePath() {
  return parsed('expected an absolute path without "." and ".."', plainPath);
}

function parseListen(text: string): ListenAddress | undefined {
  const [, ipv6, name, portText] = LISTEN.exec(text) ?? [];
  const host = ipv6 ?? name;
  const port = within(Number(portText), 1, PORT_MAX);
  return host === undefined || port === undefined ? undefined : { host, port };
}

function dnsName(text: string): string | undefined {
  return /^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/.test(text) &&
    text.length <= 253
    ? text
    : undefined;
}

function hostName(text: string): HostName | undefined {
  const lower = text.toLowerCase();
  return isHostName(lower) ? lower : undefined;
}

const TOP = {
  host: parsed(EXPECTED_HOST_NAME, hostName)
    .optional()
    .describe("of this host, unique on the share; default: the machine's host name"),
  share: absolutePath().optional().describe('the shared file system; the default serves this one host alone'),
  state_dir: absolutePath()
    .prefault('/var/lib/swtpm-mirror')
    .describe('journal, spool, replaced state: a local disk'),
  run_dir: absolutePath().prefault(DEFAULT_RUN_DIR).describe('control socket and lock'),
  placement: choice('mirror', 'direct')
    .default('mirror')
    .describe('"direct": swtpm works on the share itself; see direct-placement.md'),
};

const LIBVIRT = {
  uri: z
    .string({ error: EXPECTED_URI })
    .regex(LIBVIRT_URI, { error: EXPECTED_URI })
    .default('qemu:///system')
    .describe('the libvirt daemon that the agent asks'),
  swtpm_dir: absolutePath()
    .prefault('/var/lib/libvirt/swtpm')
    .describe("where swtpm's state lies: <swtpm_dir>/<uuid>/tpm2"),
  nvram_dir: absolutePath()
    .prefault('/var/lib/libvirt/qemu/nvram')
    .describe('where libvirt puts the NVRAM of a VM whose firmware it chooses itself'),
  log_dir: absolutePath()
    .prefault('/var/log/libvirt/qemu')
    .describe('tells why a VM stopped, where libvirt (before 10.5) does not tell its hook'),
  nvram: z
    .boolean({ error: 'expected true or false' })
    .default(true)
    .describe("mirror the VM's NVRAM (UEFI variables) with its TPM"),
};

const TIMING = {
  settle: duration(0, 10 * SECOND)
    .prefault('100ms')
    .describe('least time between two readings of a state that keeps changing'),
  heartbeat: duration(100, 5 * MINUTE)
    .prefault('5s')
    .describe('between two signs on the share that this host lives'),
  host_expiry: duration(300, HOUR)
    .prefault('30s')
    .describe('age of its heartbeat from which a host may be taken over'),
  share_deadline: duration(100, 10 * MINUTE)
    .prefault(DEFAULT_DEADLINES.share_deadline)
    .describe('for one operation on the share'),
  start_deadline: duration(100, HOUR)
    .prefault(DEFAULT_DEADLINES.start_deadline)
    .describe('for all that a start waits for'),
  stop_deadline: duration(100, HOUR)
    .prefault(DEFAULT_DEADLINES.stop_deadline)
    .describe('after it, a stop is content with the spool'),
  rescan: duration(100, HOUR)
    .prefault('30s')
    .describe('between two checks of everything, in case an event was lost; one in ten reads all content'),
  retry_max: duration(100, HOUR).prefault('30s').describe('longest pause between two tries'),
};

const START = {
  without_share: choice('refuse', 'last-known')
    .default('refuse')
    .describe('"last-known": start from the last state this host knows when the share is away'),
  take_over: choice('expired', 'never')
    .default('expired')
    .describe('"never": a dead host\'s VM starts only after `take-over`'),
  wait: choice('expiry', 'refuse-at-once')
    .default('expiry')
    .describe('"refuse-at-once": a start does not wait for a dead host to expire; try again'),
  damaged_head: choice('refuse', 'previous')
    .default('refuse')
    .describe('"previous": start from the newest older generation that is whole'),
  local_state: choice('refuse', 'share', 'manager')
    .default('refuse')
    .describe(
      'a state that somebody else put in place: "share": the head wins; "manager": it becomes the head',
    ),
};

const NVRAM = {
  mismatch: choice('fresh', 'refuse')
    .default('fresh')
    .describe('stored NVRAM that does not suit the firmware: start with a fresh one, or refuse the start'),
};

const RETENTION = { generations: integer(1, 10_000).default(32).describe('kept for each VM, at least') };

const STORAGE = {
  uid: integer(0, ID_MAX).default(0).describe('whom to be on the share (root_squash); 0: root'),
  gid: integer(0, ID_MAX).default(0).describe('the group there'),
  heartbeat_age: choice('auto', 'observed')
    .default('auto')
    .describe(
      '"observed": no clock is believed, a heartbeat has to be seen not to change; see file-systems.md',
    ),
};

/** `null` stands for a setting that is off, written `""`. */
const ENCRYPTION = {
  recipients: z
    .array(z.string({ error: EXPECTED_RECIPIENT }).regex(AGE_RECIPIENT, { error: EXPECTED_RECIPIENT }), {
      error: 'expected an array of age recipients',
    })
    .default([])
    .describe('age recipients, "age1…"; none: generations are stored in the clear'),
  identity_file: parsed('expected an absolute path, or ""', (text) => (text === '' ? null : plainPath(text)))
    .prefault('')
    .describe("this host's age keys, mode 0600; one of them opens what is encrypted"),
  accept_plain: z
    .boolean({ error: 'expected true or false' })
    .default(false)
    .describe('with recipients: also read what is stored in the clear, while encryption begins'),
};

const METRICS = {
  listen: parsed('expected an address and port such as "127.0.0.1:9753", or ""', (text) =>
    text === '' ? null : parseListen(text),
  )
    .prefault('')
    .describe('"127.0.0.1:9753" serves /metrics there; always on the control socket'),
  names: z
    .array(parsed(EXPECTED_DNS_NAME, dnsName), { error: 'expected an array of host names' })
    .default([])
    .describe("names under which it is asked there, beside this host's own and its addresses"),
};

const LOG = {
  level: choice('trace', 'debug', 'info', 'warn', 'error', 'fatal')
    .default('info')
    .describe('least severity that is logged'),
};

const LIMITS = {
  spool_bytes: byteSize(1024 ** 2, 1024 ** 4)
    .prefault('256MiB')
    .describe('for captures that wait for the share'),
  queue_per_volume: integer(1, 1000).default(8).describe('operations of one volume that wait for the share'),
  queue: integer(1, 100_000).default(256).describe('operations that wait for the share, in all'),
  storage_processes: integer(1, 64)
    .default(4)
    .describe('processes that work on the share, stuck ones included'),
};

function section<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape, { error: 'expected a table' });
}

export const TIMING_SECTION = section(TIMING);
export const LIMITS_SECTION = section(LIMITS);

/** The whole file. Every section may be missing. */
export const CONFIG_FILE = z.strictObject({
  ...TOP,
  libvirt: section(LIBVIRT).prefault({}),
  timing: TIMING_SECTION.prefault({}),
  start: section(START).prefault({}),
  nvram: section(NVRAM).prefault({}),
  retention: section(RETENTION).prefault({}),
  storage: section(STORAGE).prefault({}),
  encryption: section(ENCRYPTION).prefault({}),
  metrics: section(METRICS).prefault({}),
  log: section(LOG).prefault({}),
  limits: LIMITS_SECTION.prefault({}),
});

export type ConfigFile = z.output<typeof CONFIG_FILE>;

/** The keys of each section; the top level is `''`, and its keys include the names of the sections. */
export const CONFIG_KEYS: Readonly<Record<string, readonly string[]>> = {
  '': Object.keys(CONFIG_FILE.shape),
  libvirt: Object.keys(LIBVIRT),
  timing: Object.keys(TIMING),
  start: Object.keys(START),
  nvram: Object.keys(NVRAM),
  retention: Object.keys(RETENTION),
  storage: Object.keys(STORAGE),
  encryption: Object.keys(ENCRYPTION),
  metrics: Object.keys(METRICS),
  log: Object.keys(LOG),
  limits: Object.keys(LIMITS),
};
