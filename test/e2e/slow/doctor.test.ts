/**
 * `doctor`: what it finds on a host that is as it should be, and what on one that is not; each finding has its next step.
 */
import { chmod, mkdir, readdir, rename, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { ownUuid } from '../../fixtures/domain-uuid.js';
import { HostFixture } from '../../fixtures/host.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

const UUID = ownUuid('6b0c2d4e');

interface Finding {
  readonly check: string;
  readonly verdict: string;
  readonly message: string;
  readonly next?: string;
  readonly code?: string;
}

async function diagnose(host: HostFixture): Promise<{ status: number; stderr: string; findings: Finding[] }> {
  const { status, stdout, stderr } = await host.run(['doctor', '--json']);
  const { findings } = JSON.parse(stdout) as { findings: Finding[] };
  return { status: status ?? -1, stderr, findings };
}

function of(findings: readonly Finding[], check: string): Finding | undefined {
  return findings.find((finding) => finding.check === check);
}

t.test('the share, the directories and the agent', async (t) => {
  const base = await temporaryDirectory(t);
  const host = await HostFixture.create({ name: 'kvm-a', base, share: join(base, 'share') });
  t.equal((await host.run(['share', 'init', host.share])).status, 0);
  await host.startAgent(t);

  const first = await diagnose(host);
  const healthy = first.findings;
  t.match(first, {
    status: 1,
    stderr: /^swtpm-mirror: NEEDS_ATTENTION: \d+ checks found \d warnings?\n {2}do what/,
  });
  for (const check of [
    'configuration',
    'share',
    'share semantics',
    'share space',
    'clock',
    'state_dir',
    'agent',
  ]) {
    t.match(of(healthy, check), { verdict: 'ok' }, check);
  }
  t.ok(
    healthy.every(({ verdict, next }) => verdict === 'ok' || (next ?? '') !== ''),
    'whatever is not well has a next step',
  );
  t.strictSame(
    (await readdir(join(host.share, 'hosts/kvm-a'))).sort(),
    ['heartbeat', 'host.json'],
    'nothing is left on the share',
  );
  const text = await host.run(['doctor']);
  t.match(text.stdout, /^ok {2}configuration: host kvm-a/m);

  await chmod(join(base, 'kvm-a/state'), 0o755);
  await mkdir(dirname(host.tpmDirectory(UUID)), { recursive: true });
  await symlink('/nowhere', host.tpmDirectory(UUID));
  const wrong = await diagnose(host);
  t.match(of(wrong.findings, 'state_dir'), { verdict: 'problem', next: /chmod 700/ });
  t.match(of(wrong.findings, 'links'), { verdict: 'warning', message: UUID });
  t.match(wrong, {
    status: 1,
    stderr: /^swtpm-mirror: HOST_IO: \d+ checks found 1 problem and \d warnings?\n/,
  });
});

t.test('a share that is away, and a configuration that cannot be read', async (t) => {
  const base = await temporaryDirectory(t);
  const host = await HostFixture.create({ name: 'kvm-a', base, share: join(base, 'share') });
  t.equal((await host.run(['share', 'init', host.share])).status, 0);
  await rename(host.share, `${host.share}-away`);
  const away = await diagnose(host);
  t.match(of(away.findings, 'share'), { verdict: 'problem', code: 'SHARE_NOT_INITIALIZED' });
  t.match(of(away.findings, 'agent'), { verdict: 'problem', code: 'AGENT_UNREACHABLE' });
  t.equal(away.status, 4, "the first problem's own status");
  await writeFile(host.config, 'no configuration');
  t.match(await diagnose(host), {
    status: 2,
    findings: [{ check: 'configuration', code: 'CONFIG_INVALID' }],
  });
});

t.test('agents of another version, and one that is too old to tell its own', async (t) => {
  const base = await temporaryDirectory(t);
  const host = await HostFixture.create({ name: 'kvm-a', base, share: join(base, 'share') });
  t.equal((await host.run(['share', 'init', host.share])).status, 0);
  await host.startAgent(t);
  t.match(of((await diagnose(host)).findings, 'versions'), { verdict: 'ok', message: /each of 1 live/ });
  const at = '2026-11-24T00:00:00.000Z';
  for (const [name, text] of [
    ['kvm-b', `${at} 99.1.0\n`.padStart(64)],
    ['kvm-c', `${at}\n`.padStart(64)],
  ] as const) {
    const heartbeat = join(host.share, 'hosts', name, 'heartbeat');
    await mkdir(dirname(heartbeat));
    await writeFile(heartbeat, text);
    // Young for as long as the test runs.
    const later = new Date(Date.now() + 3_600_000);
    await utimes(heartbeat, later, later);
  }
  const skewed = of((await diagnose(host)).findings, 'versions');
  t.match(skewed, {
    verdict: 'warning',
    message: /: kvm-b \(99\.1\.0\), kvm-c \(unknown\)$/,
    next: /restart/,
  });
  const fleet = (await host.runJson(['status', '--all-hosts'])) as {
    version: string;
    hosts: { host: string; version: string | null }[];
  };
  t.strictSame(
    fleet.hosts.map(({ host: name, version }) => [name, version]),
    [
      ['kvm-a', fleet.version],
      ['kvm-b', '99.1.0'],
      ['kvm-c', null],
    ],
  );
});
