/**
 * status-text: a status for people: the share, a line for each domain, worst first, what would be lost, what needs attention.
 *
 * Words are folded to the given width; only names give way in the table.
 */
import { cellsOf } from './display-cells.js';
import type { DomainStatus, Status } from '../agent/api/status.js';
import { attentionText, type Concern } from './attention-text.js';
import { painter, paintRows, type Colour, type Paint } from './paint.js';
import { displayTime, foldedText, printable, shortDuration, takenText, textTable } from './text-table.js';

/** Domains whose risk is told one by one; the others are counted. */
const RISKS_MAX = 10;
/** The name gives way, then the holder's; what a line is looked at for stays. */
const COLUMNS_LEAST = [8, 9, 8, 4, 6, 22];

/** @returns sections of lines, from the top to the bottom */
export function statusText(status: Status, columns: number, coloured: boolean): string[] {
  const { domains } = status;
  return [
    headline(status, columns, painter(coloured)),
    domainsText(domains, columns, coloured),
    stoppedText(domains, columns),
    unprotectedText(status, columns),
    riskText(status, columns),
    takenOverText(status, columns),
    attentionText(concernsOf(status), columns, coloured),
  ];
}

/** What runs here and is stored nowhere: those that ask for it, too. */
function unprotectedText({ unprotected }: Status, columns: number): string {
  return unprotected
    .map(({ name, uuid, reason }) =>
      foldedText(`not stored: the TPM of ${printable(name || uuid)}: ${printable(reason)}`, columns, 2),
    )
    .join('');
}

function headline({ host, share }: Status, columns: number, paint: Paint): string {
  const title = `host ${host}, share ${printable(share.path)}`;
  const [colour, text] = shareState(share);
  const gap = columns > 0 && cellsOf(`${title} (${text})`) > columns ? '\n  ' : ' ';
  return `${title}${gap}(${paint(colour, text)})\n`;
}

function shareState({ state, latencyMs, beatAgeMs }: Status['share']): [Colour, string] {
  if (state === 'online') return ['green', `online, ${latencyMs.toFixed(1)} ms`];
  const what = state === 'wrong' ? 'NOT the right share' : 'OFFLINE';
  const since = beatAgeMs === null ? 'no heartbeat yet' : `last heartbeat ${shortDuration(beatAgeMs)} ago`;
  return ['red', `${what}, ${since}`];
}

function domainsText(domains: readonly DomainStatus[], columns: number, coloured: boolean): string {
  if (domains.length === 0) return 'no domains\n';
  const rows = domains.map((domain) => [
    titleOf(domain),
    domain.state,
    holderText(domain),
    domain.head === 0 ? '-' : String(domain.head),
    domain.headAgeMs === null ? '-' : shortDuration(domain.headAgeMs),
    latestText(domain),
    domain.attention.length > 0 ? '!' : '',
  ]);
  const header = ['DOMAIN', 'STATE', 'HOLDER', 'HEAD', 'AGE', 'LATEST STATE', ''];
  const table = textTable(header, rows, columns, COLUMNS_LEAST);
  return paintRows(table, domains.map(colourOf), coloured);
}

/** Behind for this long, it is not just on its way. */
const LONG_BEHIND_MS = 5000;

function colourOf({ state, attention, pending, behind, lagMs }: DomainStatus): Colour | undefined {
  if (state === 'fenced') return 'red';
  const isBehind = pending === 'spooled' || (behind !== null && lagMs >= LONG_BEHIND_MS);
  return attention.length > 0 || isBehind ? 'yellow' : undefined;
}

function titleOf({ name, uuid }: DomainStatus): string {
  return name || uuid;
}

function holderText({ holder }: DomainStatus): string {
  if (!holder) return '-';
  return holder.alive ? holder.host : `${holder.host} (expired)`;
}

/** Where the newest state is, or what keeps it from the share. */
const LATEST: Readonly<Record<NonNullable<DomainStatus['behind']>, string>> = {
  fenced: 'not the head',
  foreign: 'another TPM',
  unread: 'unreadable',
  'part-unread': 'NVRAM unreadable',
  'set-aside': 'on this host',
  'not-the-head': 'not the head',
  'in-doubt': 'in doubt',
  unclaimed: 'not claimed',
  spooled: 'in the spool',
  captured: 'on this host',
  changed: 'on this host',
  unknown: 'not known',
};

function latestText({ state, pending, behind, lagMs, head }: DomainStatus): string {
  if (behind === null) return state === 'fenced' ? 'not the head' : head === 0 ? '-' : 'on the share';
  const isWaiting = pending !== 'none' && (behind === 'fenced' || behind === 'unclaimed');
  const where = isWaiting ? LATEST[pending === 'spooled' ? 'spooled' : 'captured'] : LATEST[behind];
  return lagMs > 0 ? `${where} for ${shortDuration(lagMs)}` : where;
}

/** What became of them elsewhere is not asked for here: it would cost the share a look at each, every time. */
function stoppedText(domains: readonly DomainStatus[], columns: number): string {
  if (!domains.some(({ state }) => state === 'stopped')) return '';
  const text =
    'Stopped domains are shown as this host left them; `swtpm-mirror status --all-hosts` shows them as they are.';
  return foldedText(text, columns, 0);
}

/** What would be lost if this host died now. */
function riskText({ domains }: Status, columns: number): string {
  const behind = domains.filter((domain) => domain.behind !== null);
  if (behind.length === 0) return '';
  const [told, counted] = [behind.slice(0, RISKS_MAX), behind.slice(RISKS_MAX)];
  const more =
    counted.length > 0 ? [foldedText(`and ${String(counted.length)} more domains`, columns, 2)] : [];
  return [
    'If this host died now:\n',
    ...told.map((domain) => foldedText(riskOf(domain), columns, 2)),
    ...more,
  ].join('');
}

/** Which domains came here without the other host's consent: on that host there may be changes that never reached the share. */
function takenOverText({ domains }: Status, columns: number): string {
  return domains
    .flatMap((domain) => {
      if (!domain.takenOver) return [];
      const { from, at, silentMs } = domain.takenOver;
      const text = `${titleOf(domain)}: ${takenText(from, silentMs)}, at ${displayTime(at)}`;
      return [foldedText(printable(text), columns, 0)];
    })
    .join('');
}

/** What keeps the share behind, where it does not pass by itself in a moment. */
const WHY: Partial<Record<NonNullable<DomainStatus['behind']>, string>> = {
  fenced: 'another host holds its volume',
  foreign: 'it runs with another TPM than the one in its volume',
  unread: 'its state cannot be read',
  'part-unread': 'its NVRAM cannot be read',
  'set-aside': 'what was captured before has yet to be judged',
  'not-the-head': 'what it runs with lost to the head',
  'in-doubt': 'it is not known whether this host still holds its volume',
  unclaimed: 'its volume is not claimed for this run yet',
  unknown: 'nobody looks after it, and its state cannot be compared',
};

function riskOf(domain: DomainStatus): string {
  const { head, lagMs, pending, pendingChanges, behind } = domain;
  const title = printable(titleOf(domain));
  const changes = pendingChanges === 1 ? 'last change' : `last ${String(pendingChanges)} changes`;
  const lost =
    pendingChanges === 0
      ? `whatever it changed in the last ${shortDuration(lagMs)}`
      : `its ${changes}, of the last ${shortDuration(lagMs)}`;
  const loss =
    head === 0
      ? `${title} would lose its TPM: the share has no state of it`
      : `${title} would go back to generation ${String(head)} and lose ${lost}`;
  const why = behind === null ? undefined : WHY[behind];
  const told = why === undefined ? loss : `${loss}: ${why}`;
  return pending === 'spooled' ? `${told}, unless this host's disk comes back` : told;
}

function concernsOf({ attention, domains }: Status): Concern[] {
  return [
    ...attention.map((item) => ({ ...item, whose: '' })),
    ...domains.flatMap((domain) => domain.attention.map((item) => ({ ...item, whose: titleOf(domain) }))),
  ];
}
