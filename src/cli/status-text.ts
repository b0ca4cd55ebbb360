/**
 * status-text: a status for people: the share, a line for each domain, worst first, then what needs attention.
 */
import type { DomainStatus, Status } from '../agent/status.js';
import { printable, shortDuration, textTable } from './text-table.js';

const COLOUR = { red: '31', yellow: '33', green: '32' } as const;

export function statusText(status: Status, columns: number, coloured: boolean): string {
  const paint = (colour: keyof typeof COLOUR, text: string): string =>
    coloured ? `\u001b[${COLOUR[colour]}m${text}\u001b[0m` : text;
  const { share, host } = status;
  const health =
    share.state === 'online'
      ? paint('green', `online, ${share.latencyMs.toFixed(1)} ms`)
      : paint('red', share.state === 'wrong' ? 'NOT the right share' : 'OFFLINE');
  return [
    `host ${host}, share ${share.path} (${health})\n`,
    domainsText(status.domains, columns),
    riskText(status),
    attentionText(status, (text) => paint('yellow', text)),
  ].join('');
}

function domainsText(domains: readonly DomainStatus[], columns: number): string {
  if (domains.length === 0) return 'no domains\n';
  const rows = domains.map((domain) => [
    domain.name || domain.uuid,
    domain.state,
    holderText(domain),
    domain.head === 0 ? '-' : String(domain.head),
    domain.pending === 'none' ? 'on the share' : `${shortDuration(domain.lagMs)} behind, ${domain.pending}`,
    domain.attention.length > 0 ? '!' : '',
  ]);
  return textTable(['DOMAIN', 'STATE', 'HOLDER', 'HEAD', 'LATEST STATE', ''], rows, columns);
}

function holderText({ holder }: DomainStatus): string {
  if (!holder) return '-';
  return holder.alive ? holder.host : `${holder.host} (expired)`;
}

/** What would be lost if this host died now, in one sentence. */
function riskText({ domains }: Status): string {
  const behind = domains.filter((domain) => domain.pending !== 'none');
  if (behind.length === 0) return '';
  const lagMs = Math.max(...behind.map((domain) => domain.lagMs));
  const count = behind.length === 1 ? '1 domain' : `${String(behind.length)} domains`;
  return `if this host died now, the share would lack the last ${shortDuration(lagMs)} of changes of ${count}\n`;
}

function attentionText({ attention, domains }: Status, paint: (text: string) => string): string {
  const items = [
    ...attention.map((item) => ({ ...item, whose: '' })),
    ...domains.flatMap((domain) => domain.attention.map((item) => ({ ...item, whose: `${domain.name || domain.uuid}: ` }))),
  ];
  return items
    .map(({ whose, code, message, next }) => `${paint(`${printable(whose)}${code}: ${printable(message)}`)}\n  ${printable(next)}\n`)
    .join('');
}
