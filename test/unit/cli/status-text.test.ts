import t from 'tap';
import type { DomainStatus, Status } from '../../../src/agent/api/status.js';
import { statusText as sectionsOf } from '../../../src/cli/status-text.js';
import { parseDomainUuid, parseHostName } from '../../../src/model/identifiers.js';

const COLUMNS = 80;
const statusText = (...args: Parameters<typeof sectionsOf>): string => sectionsOf(...args).join('');
const CHECK =
  'check that the NFS server answers (`nfsstat -m`, `ls` on the mount); nothing is lost, it is tried again';
const DOMAIN: DomainStatus = {
  uuid: parseDomainUuid('6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d'),
  name: 'web-1',
  state: 'running',
  placement: 'mirror',
  epoch: 36,
  head: 41,
  headTime: '2026-11-20T10:00:00.000Z',
  headAgeMs: 7_000_000,
  published: '5fb1c0d3a2b49e87',
  pending: 'none',
  pendingChanges: 0,
  behind: null,
  lagMs: 0,
  pendingSince: null,
  takenOver: null,
  holder: { host: 'kvm-a', alive: true, heartbeatAgeMs: 1200 },
  parts: [],
  attention: [],
};
const STATUS: Status = {
  host: 'kvm-a',
  share: { path: '/mnt/tpm', id: '00', state: 'online', latencyMs: 3.21, beatAgeMs: 1200 },
  domains: [DOMAIN],
  attention: [],
  unprotected: [],
};
const AWAY = { ...STATUS.share, state: 'offline', beatAgeMs: 185_000 } as const;

t.test('a domain that was taken from another host says so', (t) => {
  const at = '2026-11-20T10:00:00.000Z';
  const from = parseHostName('kvm-z');
  const text = (silentMs: number | null): string =>
    statusText({ ...STATUS, domains: [{ ...DOMAIN, takenOver: { from, at, silentMs } }] }, COLUMNS, false);
  t.match(text(31_250), /^web-1: taken from kvm-z, silent for 31 s, at 2026-11-20 10:00:00Z$/m);
  t.match(text(null), /^web-1: taken from kvm-z, which had no heartbeat, at 2026/m);
  t.end();
});

t.test('all is well', (t) => {
  const lines = [
    'host kvm-a, share /mnt/tpm (online, 3.2 ms)',
    'DOMAIN  STATE    HOLDER  HEAD  AGE      LATEST STATE',
    'web-1   running  kvm-a   41    117 min  on the share',
  ];
  t.equal(statusText(STATUS, COLUMNS, false), `${lines.join('\n')}\n`);
  t.equal(statusText({ ...STATUS, domains: [] }, COLUMNS, false), `${lines[0] ?? ''}\nno domains\n`);
  t.end();
});

t.test('an outage: what is pending, since when, what would be lost, what to do', (t) => {
  const attention = {
    code: 'SHARE_TIMEOUT',
    message: 'heartbeat had no answer from the share within 5000 ms',
    next: CHECK,
  } as const;
  const domains: DomainStatus[] = [
    {
      ...DOMAIN,
      pending: 'spooled',
      behind: 'spooled',
      pendingChanges: 2,
      lagMs: 185_000,
      attention: [{ ...attention, message: 'publish of 6b0c had no answer' }],
    },
    {
      ...DOMAIN,
      name: 'new',
      head: 0,
      headAgeMs: null,
      pending: 'local',
      behind: 'captured',
      lagMs: 400,
      holder: null,
    },
    { ...DOMAIN, name: 'newer', state: 'prepared', head: 0, headAgeMs: null, attention: [attention] },
  ];
  const lines = [
    'host kvm-a, share /mnt/tpm (OFFLINE, last heartbeat 3 min ago)',
    'DOMAIN  STATE     HOLDER  HEAD  AGE      LATEST STATE',
    'web-1   running   kvm-a   41    117 min  in the spool for 3 min  !',
    'new     running   -       -     -        on this host for 0.4 s',
    'newer   prepared  kvm-a   -     -        -                       !',
    'If this host died now:',
    '  web-1 would go back to generation 41 and lose its last 2 changes, of the last',
    "  3 min, unless this host's disk comes back",
    '  new would lose its TPM: the share has no state of it',
    'SHARE_TIMEOUT: heartbeat had no answer from the share within 5000 ms',
    '  check that the NFS server answers (`nfsstat -m`, `ls` on the mount); nothing',
    '  is lost, it is tried again',
    '  the same: web-1, newer',
  ];
  const text = statusText({ ...STATUS, share: AWAY, domains, attention: [attention] }, COLUMNS, false);
  t.equal(text, `${lines.join('\n')}\n`);
  t.ok(lines.every((line) => line.length <= COLUMNS));
  t.end();
});

t.test('a long path has the state of its share in a line of its own', (t) => {
  const path = `/mnt/${'deep/'.repeat(10)}`;
  const share = { ...AWAY, path };
  const lines = statusText({ ...STATUS, share }, COLUMNS, false).split('\n');
  t.strictSame(lines.slice(0, 2), [`host kvm-a, share ${path}`, '  (OFFLINE, last heartbeat 3 min ago)']);
  t.end();
});

t.test('what would be lost, by what is known of it', (t) => {
  const lossOf = (pendingChanges: number): string =>
    statusText(
      {
        ...STATUS,
        domains: [{ ...DOMAIN, pending: 'local', behind: 'captured', pendingChanges, lagMs: 400 }],
      },
      0,
      false,
    );
  t.match(lossOf(0), /and lose whatever it changed in the last 0\.4 s\n/, 'noticed, and not read yet');
  t.match(lossOf(1), /and lose its last change, of the last 0\.4 s\n/);
  t.match(lossOf(3), /and lose its last 3 changes, of the last 0\.4 s\n/);
  t.end();
});

t.test('a long name gives way to what is told of its domain', (t) => {
  const name = 'a-server-with-a-name-that-is-as-long-as-the-whole-terminal-is-wide-and-more';
  const attention = [{ code: 'SHARE_FULL', message: 'full', next: 'free some' }] as const;
  const domain = {
    ...DOMAIN,
    name,
    pending: 'spooled',
    behind: 'spooled',
    pendingChanges: 1,
    lagMs: 185_000,
    attention,
  } as const;
  const [, header = '', line = ''] = statusText({ ...STATUS, domains: [domain] }, COLUMNS, false).split('\n');
  t.match(header, / LATEST STATE$/);
  t.match(
    line,
    /^a-server-[^ ]+…[^ ]+-and-more {2}running {2}kvm-a {3}41 {4}117 min {2}in the spool for 3 min {2}!$/,
  );
  t.ok(line.length <= COLUMNS);
  t.end();
});

t.test('what troubles many domains in the same way is told once', (t) => {
  const trouble = { code: 'SHARE_FULL', message: 'full', next: 'free some' } as const;
  const domains = Array.from({ length: 9 }, (_, at) => ({
    ...DOMAIN,
    name: `vm-${at}`,
    attention: [
      { ...trouble, message: `no room for ${at}` },
      ...(at === 4 ? [{ ...trouble, next: 'wait' }] : []),
    ],
  }));
  const told = statusText({ ...STATUS, domains }, COLUMNS, false)
    .split('\n')
    .slice(11, -1);
  t.strictSame(told, [
    'vm-0: SHARE_FULL: no room for 0',
    '  free some',
    '  the same: vm-1, vm-2, vm-3, vm-4, vm-5 and 3 more',
    'vm-4: SHARE_FULL: full',
    '  wait',
  ]);
  t.end();
});

t.test('a stopped domain is what this host knows of it, and that is said', (t) => {
  const text = statusText(
    { ...STATUS, domains: [{ ...DOMAIN, state: 'stopped', holder: null }] },
    COLUMNS,
    false,
  );
  t.match(text, /^Stopped domains are shown as this host left them; `swtpm-mirror status\n/m);
  t.notMatch(statusText(STATUS, COLUMNS, false), 'Stopped');
  t.end();
});

t.test('many domains behind: the worst are told one by one', (t) => {
  const domains = Array.from(
    { length: 12 },
    (_, at) => ({ ...DOMAIN, name: `vm-${at}`, pending: 'local', behind: 'captured', lagMs: 1000 }) as const,
  );
  const text = statusText({ ...STATUS, domains }, COLUMNS, false);
  t.equal(text.match(/would go back/g)?.length, 10);
  t.match(text, / {2}and 2 more domains\n$/);
  t.end();
});

t.test('a wrong share, a fenced domain, and a name that would move the cursor', (t) => {
  const domains: DomainStatus[] = [
    {
      ...DOMAIN,
      name: 'evil\u001b[2J\u202e',
      state: 'fenced',
      holder: { host: 'kvm-b', alive: true, heartbeatAgeMs: null },
    },
  ];
  const text = statusText(
    { ...STATUS, share: { ...AWAY, state: 'wrong', beatAgeMs: null }, domains },
    COLUMNS,
    false,
  );
  t.match(text, '(NOT the right share, no heartbeat yet)');
  t.match(text, 'evil?[2J?  fenced  kvm-b');
  t.match(text, 'not the head', 'what it has is on the share as a diverged copy at best');
  for (const unsafe of ['\u001b', '\u202e']) t.notOk(text.includes(unsafe));
  t.end();
});

t.test('colour is for terminals', (t) => {
  const text = statusText({ ...STATUS, share: AWAY }, COLUMNS, true);
  t.ok(text.includes('(\u001b[31mOFFLINE, last heartbeat 3 min ago\u001b[0m)'));
  t.end();
});
