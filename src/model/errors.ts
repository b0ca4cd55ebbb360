/**
 * errors: every failure that leaves the program by a name, with what the operator does next.
 *
 * A `MirrorError` carries a stable code (scripts match it), a message that says the action and actual
 * against expected, and `next`, one sentence with the operator's next step. Neither ever holds a byte of TPM state, a key
 * or domain XML. Errors cross the process boundary as plain records (`toRecord`, `fromRecord`).
 */

/** Exit status by error code; see docs/commands.md. */
const EXIT_STATUS = {
  // 1: failed
  INTERNAL: 1,
  HOST_IO: 1,
  AGENT_UNREACHABLE: 1,
  LIBVIRT_FAILED: 1,
  HOOK_MISSING: 1,
  HOOK_UNUSABLE: 1,
  HOST_RENAMED: 1,
  HOST_COPIED: 1,
  UNPROTECTED: 1,
  TPM_PLACE_UNFIT: 3,
  CARRIED_USED: 1,
  DOMAIN_BUSY: 1,
  TPM_DEAD: 1,
  SPOOL_FULL: 1,
  INTERRUPTED: 1,
  NEEDS_ATTENTION: 1,
  // 2: usage or configuration
  USAGE: 2,
  CONFIG_INVALID: 2,
  CONFIRMATION_NEEDED: 2,
  XML_INVALID: 2,
  KEY_UNUSABLE: 2,
  // 3: refused
  HELD_ELSEWHERE: 3,
  FENCED: 3,
  TOMBSTONED: 3,
  FOREIGN_TPM: 3,
  STATE_MISSING: 3,
  STATE_BEHIND: 3,
  STATE_PLACED: 3,
  STATE_NOT_STORED: 3,
  LIBTPMS_TOO_OLD: 3,
  DOMAIN_RUNNING: 3,
  HOST_NAME_TAKEN: 3,
  HOST_DOUBLED: 3,
  TAKE_OVER_LOST: 3,
  ARRIVAL_UNPROVED: 3,
  NVRAM_MISMATCH: 3,
  KEY_MISSING: 3,
  PLAIN_REFUSED: 3,
  // 4: share unavailable
  SHARE_UNAVAILABLE: 4,
  SHARE_TIMEOUT: 4,
  SHARE_FULL: 4,
  SHARE_DENIED: 4,
  SHARE_NOT_INITIALIZED: 4,
  SHARE_WRONG: 4,
  SHARE_UNSUPPORTED: 4,
  SHARE_VERSION: 4,
  OUTCOME_UNKNOWN: 4,
  // 5: state invalid or damaged
  STATE_INVALID: 5,
  STATE_NOT_UNDERSTOOD: 5,
  STATE_UNSTABLE: 5,
  STATE_LINKED: 5,
  PART_UNREADABLE: 5,
  JOURNAL_DAMAGED: 5,
  IDENTITY_DAMAGED: 5,
  GENERATION_DAMAGED: 5,
  CARRIED_INVALID: 5,
  SHARE_TAMPERED: 5,
  HOST_TAMPERED: 5,
  VOLUME_DAMAGED: 5,
  // 6: no such thing
  NO_SUCH_DOMAIN: 6,
  DOMAIN_UNDEFINED: 6,
  TPM_REMOVED: 6,
  NO_SUCH_GENERATION: 6,
  NO_STATE: 6,
} as const;

export type ErrorCode = keyof typeof EXIT_STATUS;

export const ERROR_CODES = Object.keys(EXIT_STATUS) as readonly ErrorCode[];

export interface ErrorOptions {
  /** What the operator does next: one sentence without a final period. */
  readonly next: string;
  /** Whether the same call may succeed later without anybody's action. */
  readonly retriable?: boolean;
  /** What is wrong with a TPM's state (see `state-fault`). */
  readonly fault?: string | undefined;
  readonly cause?: unknown;
}

/** The plain form of a `MirrorError`, safe to send between processes and to print as JSON. */
export interface ErrorRecord {
  readonly code: ErrorCode;
  readonly message: string;
  readonly next: string;
  readonly retriable: boolean;
  readonly fault?: string | undefined;
}

export class MirrorError extends Error {
  override readonly name = 'MirrorError';
  readonly code: ErrorCode;
  readonly next: string;
  readonly retriable: boolean;
  readonly fault: string | undefined;

  constructor(code: ErrorCode, message: string, options: ErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.next = options.next;
    this.retriable = options.retriable ?? false;
    this.fault = options.fault;
  }

  /** 1 failed, 2 usage, 3 refused, 4 share, 5 invalid state, 6 unknown domain or generation. */
  get exitStatus(): number {
    return EXIT_STATUS[this.code];
  }

  toRecord(): ErrorRecord {
    const { code, message, next, retriable, fault } = this;
    return { code, message, next, retriable, ...(fault !== undefined && { fault }) };
  }

  static fromRecord(record: ErrorRecord): MirrorError {
    const code = Object.hasOwn(EXIT_STATUS, record.code) ? record.code : 'INTERNAL';
    const { message, next, retriable, fault } = record;
    return new MirrorError(code, message, { next, retriable, fault });
  }
}

/** Linux error numbers that Node has no name for: it calls them `Unknown system error -116`. */
const UNNAMED_ERRNO: ReadonlyMap<unknown, string> = new Map([
  [-116, 'ESTALE'],
  [-122, 'EDQUOT'],
  [-37, 'ENOLCK'],
  [-121, 'EREMOTEIO'],
]);

/** The `errno` name of a system error (`'ENOENT'`), or `undefined` for anything else. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  if (/^E[A-Z0-9]+$/.test(error.code)) return error.code;
  return 'errno' in error ? UNNAMED_ERRNO.get(error.errno) : undefined;
}

/** Any thrown value as a `MirrorError`; what is not one already becomes `INTERNAL` with its message. */
export function asMirrorError(error: unknown): MirrorError {
  if (error instanceof MirrorError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new MirrorError('INTERNAL', message, {
    next: 'report this with the lines before it in the log',
    cause: error,
  });
}

/** Whether one volume cannot be read as it is on the share, which says nothing of any other. */
export function isVolumeUnfit(error: unknown): boolean {
  return error instanceof MirrorError && ['VOLUME_DAMAGED', 'SHARE_TAMPERED'].includes(error.code);
}

/** A failed assertion: a broken invariant of this program, never bad input. Kept on in production. */
export function invariant(condition: boolean, claim: string): asserts condition {
  if (!condition) {
    throw new MirrorError('INTERNAL', `broken invariant: ${claim}`, {
      next: 'report this with the lines before it in the log',
    });
  }
}
