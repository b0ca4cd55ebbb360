/**
 * status-text: a status for people: the share, a line for each domain, worst first, what would be lost, what needs attention.
 *
 * Words are folded to the given width; names, paths and the table's cells are never broken.
 */
import type { DomainStatus, Status } from '../agent/status.js';
import { painter, paintRows, type Colour, type Paint } from './paint.js';
import { displayTime, foldedText, printable, shortDuration, takenText, textTable } from './text-table.js';

/** Domains whose risk is told one by one; the others are counted. */
const RISKS_MAX = 10;

export function statusText(status: Status, columns: number, coloured: boolean): string {
  const paint = painter(coloured);
  return [
    `host ${status.host}, share ${printable(status.share.path)} (${shareText(status, paint)})\n`,
    domainsText(status.domains, columns, coloured),
    riskText(status, columns),
    takenOverText(status, columns),
    attentionText(status, columns, paint),
  ].join('');
}

function shareText({ share }: Status, paint: Paint): string {
  if (share.state === 'online') return paint('green', `online, ${share.latencyMs.toFixed(1)} ms`);
  const what = share.state === 'wrong' ? 'NOT the right share' : 'OFFLINE';
  const since =
    share.beatAgeMs === null ? 'no heartbeat yet' : `last heartbeat ${shortDuration(share.beatAgeMs)} ago`;
  return paint('red', `${what}, ${since}`);
}

function domainsText(domains: readonly DomainStatus[], columns: number, coloured: boolean): string {
  if (domains.length === 0) return 'no domains\n';
  const rows = domains.map((domain) => [
    titleOf(domain),
    domain.state,
    holderText(domain),
    domain.head === 0 ? '-' : String(domain.head),
    latestText(domain),
    domain.attention.length > 0 ? '!' : '',
  ]);
  const table = textTable(['DOMAIN', 'STATE', 'HOLDER', 'HEAD', 'LATEST STATE', ''], rows, columns);
  return paintRows(table, domains.map(colourOf), coloured);
}

function colourOf({ state, attention, pending }: DomainStatus): Colour | undefined {
  if (state === 'fenced') return 'red';
  return attention.length > 0 || pending === 'spooled' ? 'yellow' : undefined;
}

function titleOf({ name, uuid }: DomainStatus): string {
  return name || uuid;
}

function holderText({ holder }: DomainStatus): string {
  if (!holder) return '-';
  return holder.alive ? holder.host : `${holder.host} (expired)`;
}

function latestText({ state, pending, lagMs, head }: DomainStatus): string {
  if (pending === 'none' && state === 'fenced') return 'not the head';
  if (pending === 'none') return head === 0 ? '-' : 'on the share';
  const where = pending === 'spooled' ? 'in the spool' : 'on this host';
  return `${where} for ${shortDuration(lagMs)}`;
}

/** What would be lost if this host died now. */
function riskText({ domains }: Status, columns: number): string {
  const behind = domains.filter(({ pending }) => pending !== 'none');
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

function riskOf(domain: DomainStatus): string {
  const { head, lagMs, pending, pendingChanges } = domain;
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
  return pending === 'spooled' ? `${loss}, unless this host's disk comes back` : loss;
}

function attentionText({ attention, domains }: Status, columns: number, paint: Paint): string {
  const items = [
    ...attention.map((item) => ({ ...item, whose: '' })),
    ...domains.flatMap((domain) =>
      domain.attention.map((item) => ({ ...item, whose: `${titleOf(domain)}: ` })),
    ),
  ];
  return items
    .map(({ whose, code, message, next }) => {
      const what = foldedText(`${printable(whose)}${code}: ${printable(message)}`, columns, 0);
      return `${paint('yellow', what.trimEnd())}\n${foldedText(printable(next), columns, 2)}`;
    })
    .join('');
}
