/**
 * fleet-text: a fleet for people: its hosts, a line for each volume, worst first, and what needs attention.
 */
import type { Fleet, FleetHost, FleetVolume } from './fleet.js';
import { paintRows, painter, type Colour } from './paint.js';
import { otherVersions, SKEW_NEXT, skewText } from './version-skew.js';
import { displayTime, foldedText, printable, shortDuration, textTable } from './text-table.js';

/** Somebody has to type it again. */
const UUID_CHARACTERS = 36;
/** Volumes whose attention is told in words; the others are counted. */
const TOLD_MAX = 20;

export function fleetText(fleet: Fleet, columns: number, coloured: boolean): string {
  const { version, share, hosts, volumes, strays } = fleet;
  return [
    `share ${printable(share.path)} (${share.id}): ${counted(hosts.length, 'host')}, ${counted(volumes.length, 'volume')}\n`,
    hostsText(hosts, columns, coloured),
    versionsText(hosts, version, columns, coloured),
    volumesText(volumes, columns, coloured),
    attentionText(volumes, columns, coloured),
    ...strays.map((path) => foldedText(`${printable(path)}: ${strayText(path)}`, columns, 0)),
  ].join('');
}

function strayText(path: string): string {
  return path.startsWith('hosts/') ? 'not a host' : 'not a volume';
}

function hostsText(hosts: readonly FleetHost[], columns: number, coloured: boolean): string {
  const rows = hosts.map(({ host, alive, heartbeatAgeMs, holds, version }) => [
    host,
    alive ? 'alive' : heartbeatAgeMs === null ? 'left' : 'EXPIRED',
    heartbeatAgeMs === null ? '-' : `${shortDuration(heartbeatAgeMs)} ago`,
    String(holds),
    version ?? '?',
  ]);
  const colours = hosts.map((host): Colour | undefined =>
    host.holds > 0 && !host.alive ? 'red' : undefined,
  );
  return paintRows(
    textTable(['HOST', 'STATE', 'HEARTBEAT', 'HOLDS', 'VERSION'], rows, columns),
    colours,
    coloured,
  );
}

function versionsText(
  hosts: readonly FleetHost[],
  version: string,
  columns: number,
  coloured: boolean,
): string {
  const others = otherVersions(hosts, version);
  if (others.length === 0) return '';
  const what = foldedText(skewText(others, version), columns, 0).trimEnd();
  return `${painter(coloured)('yellow', what)}\n${foldedText(SKEW_NEXT, columns, 2)}`;
}

function volumesText(volumes: readonly FleetVolume[], columns: number, coloured: boolean): string {
  if (volumes.length === 0) return 'no volumes\n';
  const rows = volumes.map((volume) => [
    volume.attention.length > 0 ? '!' : '',
    titleOf(volume),
    volume.state,
    volume.holder?.host ?? '-',
    volume.head ? String(volume.head.generation) : '-',
    storedText(volume.head),
  ]);
  const header = ['', 'DOMAIN', 'STATE', 'HOLDER', 'HEAD', 'STORED'];
  const table = textTable(header, rows, columns, UUID_CHARACTERS);
  return paintRows(table, volumes.map(colourOf), coloured);
}

function colourOf({ state, attention }: FleetVolume): Colour | undefined {
  if (state === 'damaged' || state === 'orphaned') return 'red';
  return attention.length > 0 ? 'yellow' : undefined;
}

function attentionText(volumes: readonly FleetVolume[], columns: number, coloured: boolean): string {
  const paint = painter(coloured);
  const troubled = volumes.filter(({ attention }) => attention.length > 0);
  const told = troubled.slice(0, TOLD_MAX).flatMap((volume) =>
    volume.attention.map(({ code, message, next }) => {
      const what = foldedText(`${printable(titleOf(volume))}: ${code}: ${printable(message)}`, columns, 0);
      return `${paint('yellow', what.trimEnd())}\n${foldedText(printable(next), columns, 2)}`;
    }),
  );
  const more = troubled.length - TOLD_MAX;
  return [...told, ...(more > 0 ? [`and ${String(more)} more volumes\n`] : [])].join('');
}

/** Its time stands in the generation, which a host without the key does not open. */
function storedText(head: FleetVolume['head']): string {
  if (!head) return '-';
  return head.time === '' ? 'no key here' : displayTime(head.time);
}

function titleOf({ name, uuid }: FleetVolume): string {
  return name || uuid;
}

function counted(count: number, noun: string): string {
  return `${String(count)} ${noun}${count === 1 ? '' : 's'}`;
}
