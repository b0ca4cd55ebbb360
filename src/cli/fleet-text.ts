/**
 * fleet-text: a fleet for people: its hosts, a line for each volume, worst first, and what needs attention.
 */
import type { Fleet, FleetHost, FleetVolume } from './fleet.js';
import { attentionText } from './attention-text.js';
import { paintRows, painter, type Colour } from './paint.js';
import { otherVersions, SKEW_NEXT, skewText } from './version-skew.js';
import { counted, foldedText, printable, shortDuration, textTable } from './text-table.js';

/** A UUID is whole: somebody has to type it again. The holder's name gives way. */
const COLUMNS_LEAST = [1, 36, 9, 8, 4, 6];

/** @returns sections of lines, from the top to the bottom */
export function fleetText(fleet: Fleet, columns: number, coloured: boolean): string[] {
  const { version, share, hosts, volumes, strays } = fleet;
  const concerns = [
    ...hosts.flatMap(({ host, problem }) => (problem ? [{ ...problem, whose: host }] : [])),
    ...volumes.flatMap((volume) => volume.attention.map((item) => ({ ...item, whose: titleOf(volume) }))),
  ];
  const counts = `${counted(hosts.length, 'host')}, ${counted(volumes.length, 'volume')}`;
  return [
    foldedText(`share ${printable(share.path)} (${share.id}): ${counts}`, columns, 0),
    hostsText(hosts, columns, coloured),
    versionsText(hosts, version, columns, coloured),
    volumesText(volumes, columns, coloured),
    attentionText(concerns, columns, coloured),
    strays.map((path) => foldedText(`${printable(path)}: ${strayText(path)}`, columns, 0)).join(''),
  ];
}

function strayText(path: string): string {
  return path.startsWith('hosts/') ? 'not a host' : 'not a volume';
}

function hostsText(hosts: readonly FleetHost[], columns: number, coloured: boolean): string {
  const rows = hosts.map(({ host, alive, fenced, heartbeatAgeMs, holds, version, problem }) => [
    host,
    problem
      ? 'UNREADABLE'
      : alive
        ? 'alive'
        : fenced
          ? 'FENCED'
          : heartbeatAgeMs === null
            ? 'left'
            : 'EXPIRED',
    heartbeatAgeMs === null ? '-' : `${shortDuration(heartbeatAgeMs)} ago`,
    String(holds),
    version ?? '?',
  ]);
  const colours = hosts.map((host): Colour | undefined =>
    host.problem !== undefined || (host.holds > 0 && !host.alive) ? 'red' : undefined,
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
    ageText(volume.head),
  ]);
  const header = ['', 'DOMAIN', 'STATE', 'HOLDER', 'HEAD', 'AGE'];
  const table = textTable(header, rows, columns, COLUMNS_LEAST);
  return paintRows(table, volumes.map(colourOf), coloured);
}

function colourOf({ state, attention }: FleetVolume): Colour | undefined {
  if (state === 'damaged' || state === 'orphaned') return 'red';
  return attention.length > 0 ? 'yellow' : undefined;
}

/** Its time stands in the generation, which a host without the key does not open. */
function ageText(head: FleetVolume['head']): string {
  if (!head) return '-';
  return head.ageMs === null ? 'no key here' : shortDuration(head.ageMs);
}

function titleOf({ name, uuid }: FleetVolume): string {
  return name || uuid;
}
