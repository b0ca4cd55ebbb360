/**
 * Undefining under a real libvirt: by its own means it deletes local files and nothing else; by ours, nothing is lost at all.
 */
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { domainXml } from '../../fixtures/domain-xml.js';
import { LibvirtHost } from '../../fixtures/libvirt.js';
import { runProgram } from '../../fixtures/program.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const NAME = 'guest';
const XML = domainXml({ uuid: UUID, name: NAME });
const REPORT_TIMEOUT_MS = 60_000;

/** A host on which the domain has run once, and is shut off. */
async function startHost(
  t: TestScope,
  withAgent = false,
  options: { readonly hook?: boolean } = {},
): Promise<LibvirtHost> {
  const base = await temporaryDirectory(t);
  const share = join(base, 'share');
  const { status, stderr } = await runProgram(['share', 'init', share]);
  if (status !== 0) throw new Error(stderr);
  const host = await LibvirtHost.start(t, { name: 'kvm-a', base, share, ...options });
  if (withAgent) await host.startAgent(t);
  await host.take('define', XML);
  await host.mustVirsh('start', NAME);
  await host.mustVirsh('destroy', NAME);
  return host;
}

interface LinkedHost {
  readonly host: LibvirtHost;
  /** What the link points to. */
  readonly elsewhere: string;
}

/** A host whose domain is shut off, with a link in place of one of its directories. */
async function startLinked(
  t: TestScope,
  level: 'the whole directory' | 'the TPM directory',
  options: { readonly hook?: boolean },
): Promise<LinkedHost> {
  const host = await startHost(t, false, options);
  const tpm = dirname(host.permall(UUID));
  const directory = level === 'the whole directory' ? dirname(tpm) : tpm;
  const elsewhere = host.path('/var/lib/libvirt/elsewhere');
  await cp(directory, elsewhere, { recursive: true });
  await rm(directory, { recursive: true });
  await symlink('/var/lib/libvirt/elsewhere', directory);
  return { host, elsewhere };
}

async function historyOf(host: LibvirtHost): Promise<{ readonly kind: string; readonly reason: string }[]> {
  return (await host.runJson('history', UUID, '--all')) as { kind: string; reason: string }[];
}

for (const withAgent of [true, false]) {
  t.test(
    `${withAgent ? 'with' : 'without'} an agent, undefine keeps the state and closes the volume until it is revived`,
    async (t) => {
      const host = await startHost(t, withAgent);
      const permall = await readFile(host.permall(UUID));
      const { status, stderr } = await host.run('undefine', NAME);
      t.equal(status, 0, stderr);
      t.not((await host.virsh('dominfo', NAME)).status, 0, 'libvirt does not know it any more');
      t.notOk(existsSync(host.permall(UUID)));
      t.notOk(existsSync(host.nvram(NAME)));
      t.match((await historyOf(host))[0], { kind: 'tombstone', reason: 'undefine' });

      await host.take('define', XML);
      const refused = await host.virsh('start', NAME);
      t.match(refused.stderr, /swtpm-mirror: TOMBSTONED: [^\n]+\n +[^\n]*swtpm-mirror take-over/);
      t.notOk(existsSync(dirname(dirname(host.permall(UUID)))), 'G8: no blank TPM');

      t.equal((await host.run('take-over', UUID)).status, 0);
      await host.mustVirsh('start', '--paused', NAME);
      t.strictSame(await readFile(host.permall(UUID)), permall);
    },
  );
}

t.test('undefine leaves the NVRAM on the host, if it is asked to', async (t) => {
  const host = await startHost(t);
  const nvram = await readFile(host.nvram(NAME));
  const { status, stderr } = await host.run('undefine', '--keep-nvram', NAME);
  t.equal(status, 0, stderr);
  t.notOk(existsSync(host.permall(UUID)));
  t.strictSame(await readFile(host.nvram(NAME)), nvram);
  t.match((await historyOf(host))[0], { kind: 'tombstone' });
});

t.test('a running domain is not undefined', async (t) => {
  const host = await startHost(t);
  await host.mustVirsh('start', NAME);
  t.match(await host.run('undefine', NAME), { status: 3, stderr: /DOMAIN_RUNNING/ });
  t.equal(await host.mustVirsh('domstate', NAME), 'running');
});

t.test('G5: a domain whose state the share cannot take is not undefined', async (t) => {
  const host = await startHost(t);
  await rename(host.share, `${host.share}-away`);
  t.equal((await host.run('undefine', NAME)).status, 4);
  t.equal(await host.mustVirsh('domstate', NAME), 'shut off');
  t.ok(existsSync(host.permall(UUID)));
});

t.test('G5: state that came up while the hook was not there is published before it is deleted', async (t) => {
  const host = await startHost(t);
  await rm(join(host.share, 'volumes'), { recursive: true });
  await mkdir(join(host.share, 'volumes'));
  await rm(host.stateDirectory, { recursive: true });
  const permall = await readFile(host.permall(UUID));
  const { status, stderr } = await host.run('undefine', NAME);
  t.equal(status, 0, stderr);
  const restored = join(host.share, '../restored');
  t.equal((await host.run('restore', UUID, '--to', restored)).status, 0);
  t.strictSame(await readFile(join(restored, 'tpm2/tpm2-00.permall')), permall);
});

t.test('G7: a plain undefine by anybody changes nothing on the share', async (t) => {
  const host = await startHost(t);
  const before = await historyOf(host);
  await host.mustVirsh('undefine', '--nvram', '--tpm', NAME);
  t.strictSame(await historyOf(host), before);
});

t.test('without the product, a link in place of the whole directory costs the data behind it', async (t) => {
  const { host, elsewhere } = await startLinked(t, 'the whole directory', { hook: false });
  await host.mustVirsh('undefine', '--nvram', '--tpm', NAME);
  t.notOk(existsSync(join(elsewhere, 'tpm2/tpm2-00.permall')), 'the hazard is real');
});

t.test('G7: an agent that starts takes such a link away, and a plain undefine finds nothing', async (t) => {
  const { host, elsewhere } = await startLinked(t, 'the whole directory', {});
  const state = await readFile(join(elsewhere, 'tpm2/tpm2-00.permall'));
  await host.startAgent(t);
  await waitUntil('the link to be reported', REPORT_TIMEOUT_MS, async () => {
    const { attention } = (await host.runJson('status')) as { attention: { code: string }[] };
    return attention.some(({ code }) => code === 'STATE_LINKED') ? true : undefined;
  });
  await host.mustVirsh('undefine', '--nvram', '--tpm', NAME);
  t.strictSame(await readFile(join(elsewhere, 'tpm2/tpm2-00.permall')), state);
  await host.take('define', XML);
  const { status, stderr } = await host.virsh('start', '--paused', NAME);
  t.not(status, 0, 'what the link led to may be newer');
  t.match(stderr, /STATE_INVALID: .+elsewhere/);
  t.equal((await host.run('resolve', UUID, '--keep', 'head')).status, 0);
  await host.mustVirsh('start', '--paused', NAME);
  t.strictSame(await readFile(host.permall(UUID)), state, 'and the share has the state all the same');
  t.strictSame(await readFile(join(elsewhere, 'tpm2/tpm2-00.permall')), state);
});

t.test('G7: a plain undefine with a link in place of the TPM directory removes the link alone', async (t) => {
  const { host, elsewhere } = await startLinked(t, 'the TPM directory', {});
  const before = await historyOf(host);
  await host.mustVirsh('undefine', '--nvram', '--tpm', NAME);
  t.ok((await readFile(join(elsewhere, 'tpm2-00.permall'))).length > 0);
  t.strictSame(await historyOf(host), before);
});

t.test('G7: a domain that is undefined while it runs, and stopped, keeps its last state', async (t) => {
  const host = await startHost(t, true);
  await host.mustVirsh('start', NAME);
  await host.mustVirsh('undefine', '--nvram', NAME);
  await host.mustVirsh('destroy', NAME);
  t.notOk(existsSync(host.permall(UUID)), 'libvirt has deleted the TPM');
  t.match((await historyOf(host))[0], { kind: 'release', reason: 'destroyed' });
  const restored = join(host.share, '../restored');
  t.equal((await host.run('restore', UUID, '--to', restored)).status, 0);
  const stored = await readFile(join(restored, 'tpm2/tpm2-00.permall'));
  await host.take('define', XML);
  await host.mustVirsh('start', '--paused', NAME);
  t.strictSame(await readFile(host.permall(UUID)), stored);
});

for (const level of ['the whole directory', 'the TPM directory'] as const) {
  t.test(
    `G7: with a link in place of ${level}, undefine does not touch what the link points to`,
    async (t) => {
      const { host, elsewhere } = await startLinked(t, level, {});
      const permall = level === 'the whole directory' ? 'tpm2/tpm2-00.permall' : 'tpm2-00.permall';
      const state = await readFile(join(elsewhere, permall));
      const refused = await host.run('undefine', NAME);
      t.match(refused.stderr, /removed the link .+elsewhere stays there/);
      t.equal(refused.status, 5, 'what the link led to may be newer');
      t.match(refused.stderr, /STATE_INVALID: .+elsewhere/);
      t.equal((await host.virsh('domstate', NAME)).status, 0, 'it is defined still');
      t.equal((await host.run('resolve', UUID, '--keep', 'head')).status, 0);
      const { status, stderr } = await host.run('undefine', NAME);
      t.equal(status, 0, stderr);
      t.strictSame(await readFile(join(elsewhere, permall)), state);
    },
  );
}
