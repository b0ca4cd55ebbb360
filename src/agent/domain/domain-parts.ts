/**
 * domain-parts: the parts of a running domain beside its TPM: their last readings, what is told of one that cannot be read, and when it is read again.
 *
 * I1 Nothing is dropped: until a part is read again its last reading stands in every capture, once it is known (`model/parts.ts`).
 */
import type { AbsentPart, Capture, StateFile } from '../../model/capture.js';
import type { NvramForm } from '../../model/nvram.js';
import { newestParts, partNotice, withKnownParts, type UnreadPart } from '../../model/parts.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { AgentContext } from '../agent-context.js';
import type { AttentionList } from '../attention.js';
import { Backoff } from '../backoff.js';

/** A part of a domain as `status` tells it. */
export interface PartStatus {
  readonly role: string;
  /** `stored`: as it was read last; `stale`: an earlier reading stands in the generations; `absent`: it is in none. */
  readonly state: 'stored' | 'stale' | 'absent';
  readonly reason: string | null;
  /** Since when it cannot be read, RFC 3339 UTC. */
  readonly since: string | null;
}

export function partStatus({ role, state, reason, since }: UnreadPart): PartStatus {
  return { role, state, reason, since };
}

/** As much as outlives the start: firmware is looked up at each. */
export function keptForm(form: NvramForm | null): NvramForm | null {
  if (!form) return null;
  const { role, format, device, unsupported } = form;
  return { role, format, device, ...(unsupported !== undefined && { unsupported }) };
}

export class DomainParts {
  readonly #context: AgentContext;
  readonly #uuid: DomainUuid;
  readonly #attention: AttentionList;
  readonly #backoff: Backoff;
  readonly #path: () => string;
  readonly #onReadAgain: () => void;
  #known: readonly StateFile[] = [];
  /** As the last reading of this process found it. */
  #absent: readonly AbsentPart[] | undefined;
  #unread: readonly UnreadPart[] = [];

  /** @param onReadAgain a part that could not be read for the moment may be readable now */
  constructor(
    context: AgentContext,
    uuid: DomainUuid,
    attention: AttentionList,
    path: () => string,
    onReadAgain: () => void,
  ) {
    this.#path = path;
    this.#context = context;
    this.#uuid = uuid;
    this.#attention = attention;
    this.#backoff = new Backoff(context);
    this.#onReadAgain = onReadAgain;
  }

  /** What could not be read last: another array when anything of it is another. */
  get unread(): readonly UnreadPart[] {
    return this.#unread;
  }

  /** Whether the generations hold less than they did, or will: what never was in one, and cannot be, is told alone (`PART_UNREADABLE`). */
  get isBehind(): boolean {
    return this.#unread.some(({ state, kind }) => state === 'stale' || kind === 'passing');
  }

  /** A former run of this program told these. */
  recall(unread: readonly UnreadPart[]): void {
    this.#tell(unread);
  }

  /** A run begins with these. */
  begin(parts: readonly StateFile[], absent: readonly AbsentPart[]): void {
    this.#known = parts;
    this.#tell(this.#judge(absent));
  }

  /** The head has these; what was read since is newer. */
  learn(parts: readonly StateFile[]): void {
    this.#known = newestParts(parts, { files: this.#known });
    if (this.#absent) this.#tell(this.#judge(this.#absent));
  }

  /** @returns the reading with what is known of the parts that it lacks */
  read(capture: Capture, final: boolean): Capture {
    const { absent = [] } = capture;
    this.#known = newestParts(this.#known, capture);
    this.#tell(this.#judge(absent));
    if (!final && absent.some(({ kind }) => kind === 'passing')) this.#backoff.schedule(this.#onReadAgain);
    else this.#backoff.reset();
    return this.complete(capture);
  }

  complete(capture: Capture): Capture {
    return withKnownParts(capture, this.#known);
  }

  /** Nothing is read again any more. */
  close(): void {
    this.#backoff.reset();
  }

  status(): PartStatus[] {
    const stored = this.#known.filter(({ role }) => this.#unread.every((part) => part.role !== role));
    return [
      ...stored.map(({ role }) => ({ role, state: 'stored', reason: null, since: null }) as const),
      ...this.#unread.map(partStatus),
    ];
  }

  #judge(absent: readonly AbsentPart[]): UnreadPart[] {
    this.#absent = absent;
    const now = new Date(this.#context.clock.nowMs()).toISOString();
    const found = absent.map((part): UnreadPart => {
      const isKnown = this.#known.some(({ role }) => role === part.role);
      const since = this.#unread.find(({ role }) => role === part.role)?.since ?? now;
      const { role, kind, reason } = part;
      return { role, kind, reason, state: isKnown ? 'stale' : 'absent', since };
    });
    // Nothing is there, and nothing was ever stored: a name that libvirt could have used, and did not.
    return found.filter(({ kind, state }) => kind !== 'missing' || state === 'stale');
  }

  #tell(unread: readonly UnreadPart[]): void {
    if (isEqual(unread, this.#unread)) return;
    const { log } = this.#context;
    const uuid = this.#uuid;
    this.#unread = unread;
    this.#attention.clear('nvram');
    for (const part of unread) {
      const notice = partNotice(uuid, part, this.#path());
      this.#attention.raise('nvram', notice);
      log.warn({ uuid, code: notice.code }, notice.message);
    }
    if (unread.length === 0) log.info({ uuid }, 'every part of it can be read again');
  }
}

function isEqual(some: readonly UnreadPart[], others: readonly UnreadPart[]): boolean {
  return JSON.stringify(some) === JSON.stringify(others);
}
