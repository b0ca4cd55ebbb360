import t from 'tap';
import type { Fleet, FleetVolume } from '../../../src/cli/fleet.js';
import { fleetText as sectionsOf } from '../../../src/cli/fleet-text.js';
import { parseDomainUuid, parseHostName } from '../../../src/model/identifiers.js';

const fleetText = (...args: Parameters<typeof sectionsOf>): string => sectionsOf(...args).join('');
const VOLUME: FleetVolume = {
  uuid: parseDomainUuid('6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d'),
  name: 'web-1',
  state: 'held',
  holder: { host: 'kvm-a', alive: true, heartbeatAgeMs: 1200 },
  head: {
    generation: 41,
    host: 'kvm-a',
    time: '2026-03-01T12:00:00.123Z',
    ageMs: 200_000_000,
    reason: 'change',
  },
  generations: 3,
  diverged: 0,
  snapshots: 0,
  attention: [],
};
const ORPHAN: FleetVolume = {
  ...VOLUME,
  name: '',
  state: 'orphaned',
  holder: { host: 'kvm-b', alive: false, heartbeatAgeMs: 400_000 },
  attention: [
    { code: 'HELD_ELSEWHERE', message: 'host kvm-b holds it and has expired', next: 'bring kvm-b back' },
  ],
};
const FLEET: Fleet = {
  version: '1.2.3',
  share: { path: '/mnt/tpm', id: '0'.repeat(32) },
  hosts: [
    {
      host: parseHostName('kvm-a'),
      alive: true,
      fenced: false,
      heartbeatAgeMs: 1200,
      version: '1.2.3',
      holds: 1,
    },
    {
      host: parseHostName('kvm-b'),
      alive: false,
      fenced: false,
      heartbeatAgeMs: 400_000,
      version: '1.2.2',
      holds: 1,
    },
    {
      host: parseHostName('kvm-c'),
      alive: false,
      fenced: false,
      heartbeatAgeMs: null,
      version: null,
      holds: 0,
    },
  ],
  volumes: [ORPHAN, VOLUME],
  strays: ['hosts/nohup.out', 'volumes/lost'],
};

t.test('hosts, volumes, what needs attention, what is no volume', (t) => {
  const lines = [
    `share /mnt/tpm (${'0'.repeat(32)}): 3 hosts, 2 volumes`,
    'HOST   STATE    HEARTBEAT  HOLDS  VERSION',
    'kvm-a  alive    1.2 s ago  1      1.2.3',
    'kvm-b  EXPIRED  7 min ago  1      1.2.2',
    'kvm-c  left     -          0      ?',
    '   DOMAIN                                STATE     HOLDER  HEAD  AGE',
    '!  6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d  orphaned  kvm-b   41    2 d',
    '   web-1                                 held      kvm-a   41    2 d',
    '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d: HELD_ELSEWHERE: host kvm-b holds it and',
    'has expired',
    '  bring kvm-b back',
    'hosts/nohup.out: not a host',
    'volumes/lost: not a volume',
  ];
  t.strictSame(fleetText(FLEET, 80, false).split('\n'), [...lines, '']);
  t.ok(lines.every((line) => line.length <= 80));
  t.end();
});

t.test('agents of another version are named, if they live', (t) => {
  const [first, ...others] = FLEET.hosts;
  const hosts = [{ ...first, version: null }, ...others] as typeof FLEET.hosts;
  const text = fleetText({ ...FLEET, version: '1.3.0', hosts }, 0, false);
  t.match(
    text,
    "agents of another version than this program's, 1.3.0: kvm-a (unknown)\n  install one version on",
  );
  t.notMatch(text, 'kvm-b (');
  t.end();
});

t.test("a long host's name gives way, and a UUID does not", (t) => {
  const host = 'hypervisor-17.rack-4.hall-2.example.com';
  const held = { ...ORPHAN, holder: { host, alive: true, fenced: false, heartbeatAgeMs: 1 } };
  const text = fleetText({ ...FLEET, hosts: [], volumes: [held] }, 80, false);
  t.match(text, /^! {2}6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d {2}orphaned {2}hyper.*….*\.com {2}41 {4}2 d$/m);
  t.end();
});

t.test('colour marks whole lines and moves nothing', (t) => {
  const coloured = fleetText(FLEET, 80, true);
  t.match(coloured, '\u001b[31mkvm-b');
  t.match(coloured, '\u001b[31m!  6b0c');
  // eslint-disable-next-line no-control-regex
  t.equal(coloured.replaceAll(/\u001b\[\d+m/g, ''), fleetText(FLEET, 80, false));
  t.end();
});
