/**
 * log-view: the oracle's own reading of a volume's log. It shares no code with what it judges.
 *
 * The log is the unbroken run of slots from the top down; a claim opens an epoch; a publish counts if its epoch is the one open at its slot.
 */

export interface SlotEntry {
  readonly slot: number;
  readonly payload: string;
  readonly kind: 'publish' | 'claim' | 'release' | 'tombstone' | 'unknown';
  /** The machine that wrote it. */
  readonly host: string;
  /** What that was called. */
  readonly label: string;
  /** Of a claim its own slot. */
  readonly epoch: number;
  /** Name in `gen/` that a publish points at. */
  readonly file: string;
  readonly reason: string;
  /** When it was first seen. */
  readonly atMs: number;
}

export interface LogView {
  /** Ascending. */
  readonly run: readonly SlotEntry[];
  readonly claim: SlotEntry | undefined;
  /** Who holds the volume. */
  readonly holder: string | undefined;
  readonly published: readonly SlotEntry[];
  readonly head: SlotEntry | undefined;
}

export const EMPTY_LOG: LogView = {
  run: [],
  claim: undefined,
  holder: undefined,
  published: [],
  head: undefined,
};

const GENERATION =
  /^\.\.\/gen\/((\d{8})-e(\d{8})-(.+)-[0-9a-f]{16}(?:-t[0-9a-f]{16}(?:-r\d{8})?)?-[0-9a-f]{16}\.tar\.gz)$/;
const SIGNED = /^(claim|release|tombstone)\?(.*)$/;

/** Which machine a name, and an instance of its identity where that is told, belong to. */
export type MachineOf = (label: string, instance: string | undefined) => string;

/** @param claimAt the entry that a publish names as its claim: it tells the machine, where two have one name */
export function parseSlotEntry(
  slot: number,
  payload: string,
  atMs: number,
  { machineOf, claimAt }: { machineOf: MachineOf; claimAt: (epoch: number) => SlotEntry | undefined },
): SlotEntry {
  const [, file, aimed, epoch, label] = GENERATION.exec(payload) ?? [];
  if (file !== undefined && label !== undefined && Number(aimed) === slot) {
    const claim = claimAt(Number(epoch));
    const host = claim?.kind === 'claim' && claim.label === label ? claim.host : machineOf(label, undefined);
    return { slot, payload, kind: 'publish', host, label, epoch: Number(epoch), file, reason: '', atMs };
  }
  const [, kind, query] = SIGNED.exec(payload) ?? [];
  const fields = new URLSearchParams(query);
  const by = fields.get('host') ?? '';
  const host = machineOf(by, fields.get('run') ?? undefined);
  const signed = { host, label: by, reason: fields.get('reason') ?? '', file: '' };
  if (kind === 'claim') return { slot, payload, kind, epoch: slot, ...signed, atMs };
  if (kind === 'release' || kind === 'tombstone') {
    return { slot, payload, kind, epoch: Number(fields.get('epoch')), ...signed, atMs };
  }
  return { slot, payload, kind: 'unknown', host: '', label: '', epoch: 0, file: '', reason: '', atMs };
}

export function viewLog(entries: ReadonlyMap<number, SlotEntry>): LogView {
  if (entries.size === 0) return EMPTY_LOG;
  const run: SlotEntry[] = [];
  for (let slot = Math.max(...entries.keys()); ; slot -= 1) {
    const entry = entries.get(slot);
    if (!entry) break;
    run.unshift(entry);
  }
  const published: SlotEntry[] = [];
  let claim: SlotEntry | undefined;
  let open = false;
  for (const entry of run) {
    if (entry.kind === 'claim') {
      claim = entry;
      open = true;
    } else if (entry.epoch === claim?.slot && open) {
      if (entry.kind === 'publish') published.push(entry);
      else open = false;
    }
  }
  return { run, claim, holder: open ? claim?.host : undefined, published, head: published.at(-1) };
}
