/**
 * Live migrations between two real libvirt hosts: one TPM, one holder, and neither a lost nor a stale state.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { endorsementIdentity } from '../../../src/model/endorsement-identity.js';
import { domainXml } from '../../fixtures/domain-xml.js';
import type { Settings } from '../../fixtures/host.js';
import { LibvirtHost } from '../../fixtures/libvirt.js';
import { runProgram } from '../../fixtures/program.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';
import { VolumeView } from '../../fixtures/volume-view.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const NAME = 'guest';
const PAYLOAD_OFFSET = 16;
const TIMEOUT_MS = 60_000;

interface HistoryLine {
  readonly kind: string;
  readonly host: string;
  readonly reason: string;
  readonly generation: number;
}

interface Pair {
  readonly share: string;
  readonly a: LibvirtHost;
  readonly b: LibvirtHost;
}

async function startPair(t: TestScope, settings: Settings = {}): Promise<Pair> {
  const base = await temporaryDirectory(t);
  const share = join(base, 'share');
  const { status, stderr } = await runProgram(['share', 'init', share]);
  if (status !== 0) throw new Error(stderr);
  const [a, b] = await Promise.all(
    ['kvm-a', 'kvm-b'].map((name) => LibvirtHost.start(t, { name, base, share, settings })),
  );
  if (!a || !b) throw new Error('expected two hosts');
  return { share, a, b };
}

async function migrate(from: LibvirtHost, to: LibvirtHost): Promise<void> {
  const target = ['--migrateuri', 'tcp://127.0.0.1', '--desturi', to.remoteUri];
  await from.mustVirsh('migrate', '--live', '--persistent', '--undefinesource', NAME, ...target);
}

async function historyOf(host: LibvirtHost): Promise<HistoryLine[]> {
  return (await host.runJson('history', UUID, '--all')) as HistoryLine[];
}

async function identityAt(host: LibvirtHost): Promise<string | undefined> {
  return endorsementIdentity((await readFile(host.permall(UUID))).subarray(PAYLOAD_OFFSET));
}

/** Has the firmware start anew, which counts it in the TPM. */
async function changeTpm(host: LibvirtHost): Promise<void> {
  const before = await readFile(host.permall(UUID));
  await host.mustVirsh('reset', NAME);
  await waitUntil('the firmware to change the TPM', TIMEOUT_MS, async () =>
    before.equals(await readFile(host.permall(UUID))) ? undefined : true,
  );
}

async function newestPublish(host: LibvirtHost, by: string): Promise<HistoryLine> {
  return await waitUntil(`a generation of ${by}`, TIMEOUT_MS, async () =>
    (await historyOf(host)).find((entry) => entry.kind === 'publish' && entry.host === by),
  );
}

t.test(
  'G3: a domain migrates there and back; each host holds the volume while the domain runs there',
  async (t) => {
    const { a, b } = await startPair(t);
    for (const host of [a, b]) await host.startAgent(t);
    await a.take('define', domainXml({ uuid: UUID, name: NAME }));
    await a.mustVirsh('start', NAME);
    const identity = await identityAt(a);
    t.ok(identity);

    await migrate(a, b);
    await newestPublish(b, 'kvm-b');
    t.equal(await identityAt(b), identity, 'the same TPM runs on B');
    t.strictSame(((await a.runJson('status')) as { attention: unknown[] }).attention, [], 'no news to A');
    const [, ...earlier] = (await historyOf(b)).reverse();
    const release = earlier.find((entry) => entry.kind === 'release');
    t.match(release, { host: 'kvm-a', reason: 'migrated' });
    t.match(earlier[earlier.indexOf(release!) + 1], { kind: 'claim', host: 'kvm-b', reason: 'migration' });

    await migrate(b, a);
    await waitUntil('host A to hold the volume again', TIMEOUT_MS, async () => {
      const [newest] = (await historyOf(a)).filter((entry) => entry.kind === 'claim');
      return newest?.host === 'kvm-a' && newest.reason === 'migration' ? true : undefined;
    });
    await a.mustVirsh('destroy', NAME);
    t.equal(await identityAt(a), identity);
    t.match((await historyOf(a))[0], { kind: 'release', host: 'kvm-a', reason: 'destroyed' });
  },
);

t.test(
  'G4: migrated to a host without an agent, the state is published when the domain stops there',
  async (t) => {
    const { a, b } = await startPair(t);
    await a.take('define', domainXml({ uuid: UUID, name: NAME }));
    await a.mustVirsh('start', NAME);
    await migrate(a, b);
    await changeTpm(b);
    await b.mustVirsh('destroy', NAME);
    t.match((await historyOf(b))[0], { kind: 'release', host: 'kvm-b', reason: 'destroyed' });
    t.match(
      (await historyOf(b)).find(({ kind }) => kind === 'publish'),
      { host: 'kvm-b', reason: 'stop' },
    );
    const volume = new VolumeView(b.share, UUID);
    t.strictSame(await volume.permallOf(await volume.expectHead()), await readFile(b.permall(UUID)));
    await b.mustVirsh('start', NAME);
  },
);

t.test('G4: a migration that fails leaves the domain and its volume with the source', async (t) => {
  const { a, b } = await startPair(t);
  for (const host of [a, b]) await host.startAgent(t);
  await a.take('define', domainXml({ uuid: UUID, name: NAME }));
  await a.mustVirsh('start', NAME);
  const nowhere = ['--migrateuri', 'tcp://127.0.0.1:1', '--desturi', b.remoteUri];
  const { status } = await a.virsh('migrate', '--live', NAME, ...nowhere);
  t.not(status, 0);
  t.equal(await a.mustVirsh('domstate', NAME), 'running');
  t.strictSame(
    (await historyOf(a)).filter(({ host }) => host === 'kvm-b'),
    [],
  );
  await a.mustVirsh('destroy', NAME);
  await b.take('define', domainXml({ uuid: UUID, name: NAME }));
  await b.mustVirsh('start', NAME);
  t.match(
    (await historyOf(b)).find(({ kind }) => kind === 'claim'),
    { host: 'kvm-b', reason: 'start' },
  );
});

t.test('G4: what the guest wrote last at the source is what it has at the destination', async (t) => {
  const { a, b } = await startPair(t);
  for (const host of [a, b]) await host.startAgent(t);
  await a.take('define', domainXml({ uuid: UUID, name: NAME }));
  await a.mustVirsh('start', NAME);
  await newestPublish(a, 'kvm-a');
  await a.mustVirsh('suspend', NAME);
  const written = [await readFile(a.permall(UUID)), await readFile(a.nvram(NAME))];
  await migrate(a, b);
  t.strictSame([await readFile(b.permall(UUID)), await readFile(b.nvram(NAME))], written);
  t.strictSame(
    (await historyOf(b)).filter(({ host }) => host === 'kvm-b'),
    [],
    'a guest that is paused has not arrived',
  );
  await b.mustVirsh('resume', NAME);
  await newestPublish(b, 'kvm-b');
  await b.mustVirsh('destroy', NAME);
  const volume = new VolumeView(b.share, UUID);
  t.strictSame(await volume.permallOf(await volume.expectHead()), await readFile(b.permall(UUID)));
});

t.test('G7: a destination whose QEMU dies in the middle leaves everything as it was', async (t) => {
  const { a, b } = await startPair(t);
  for (const host of [a, b]) await host.startAgent(t);
  await a.take('define', domainXml({ uuid: UUID, name: NAME }));
  await a.mustVirsh('start', NAME);
  await newestPublish(a, 'kvm-a');
  const target = ['--migrateuri', 'tcp://127.0.0.1', '--desturi', b.remoteUri];
  const migrating = a.virsh('migrate', '--live', '--bandwidth', '1', NAME, ...target);
  await waitUntil('the destination to wait for data', TIMEOUT_MS, async () =>
    (await b.virsh('domstate', NAME)).stdout.toString().startsWith('paused') ? true : undefined,
  );
  await b.exec(['sh', '-c', `kill -KILL "$(cat /run/libvirt/qemu/${NAME}.pid)"`]);
  t.not((await migrating).status, 0);
  t.equal(await a.mustVirsh('domstate', NAME), 'running');
  t.strictSame(
    (await historyOf(a)).filter(({ host }) => host === 'kvm-b'),
    [],
  );
  await a.mustVirsh('destroy', NAME);
  const volume = new VolumeView(a.share, UUID);
  t.strictSame(await volume.permallOf(await volume.expectHead()), await readFile(a.permall(UUID)));
  t.match((await historyOf(a))[0], { kind: 'release', host: 'kvm-a', reason: 'destroyed' });
});

/** The claim in the domain's live metadata, as libvirt has it. */
async function runClaimOf(host: LibvirtHost): Promise<string> {
  return await waitUntil(`the claim of the run on ${host.name}`, TIMEOUT_MS, async () => {
    const { status, stdout } = await host.virsh('metadata', NAME, 'urn:swtpm-mirror:run');
    return status === 0 ? stdout.toString() : undefined;
  });
}

/** Whether it is the last claim of the log. */
async function isLastClaim(host: LibvirtHost, element: string): Promise<boolean> {
  const entries = await new VolumeView(host.share, UUID).entries();
  const claim = entries.findLast((entry) => entry.kind === 'claim');
  return claim !== undefined && element.includes(`epoch="${claim.slot}" token="${claim.token}"`);
}

async function isRunning(host: LibvirtHost): Promise<boolean> {
  return (await host.virsh('domstate', NAME)).stdout.toString().startsWith('running');
}

/** A hook beside the product's, called after it. */
async function refuseMigrations(host: LibvirtHost): Promise<void> {
  const script = '#!/bin/sh\ncat >/dev/null\n[ "$2" != migrate ]\n';
  await writeFile(join(host.path('/etc/libvirt/hooks/qemu.d'), '60-refuse'), script, { mode: 0o755 });
}

t.test('G8: after an offline migration the domain starts from the head, at both ends', async (t) => {
  const { a, b } = await startPair(t);
  for (const host of [a, b]) await host.startAgent(t);
  const offline = async (from: LibvirtHost, to: LibvirtHost): Promise<void> => {
    const target = ['--migrateuri', 'tcp://127.0.0.1', '--desturi', to.remoteUri];
    await from.mustVirsh('migrate', '--offline', '--persistent', '--undefinesource', NAME, ...target);
  };
  await a.take('define', domainXml({ uuid: UUID, name: NAME }));
  await a.mustVirsh('start', NAME);
  await a.mustVirsh('destroy', NAME);
  const identity = await identityAt(a);
  t.ok(identity);
  await offline(a, b);
  await b.mustVirsh('start', NAME);
  t.equal(await identityAt(b), identity, 'the same TPM');
  t.match(
    (await historyOf(b)).find(({ kind }) => kind === 'claim'),
    { host: 'kvm-b', reason: 'start' },
  );
  await changeTpm(b);
  await b.mustVirsh('destroy', NAME);
  const newest = await readFile(b.permall(UUID));
  // What it had when it left still lies there.
  await offline(b, a);
  await a.mustVirsh('start', NAME, '--paused');
  const volume = new VolumeView(a.share, UUID);
  t.strictSame(await volume.permallOf(await volume.expectHead()), newest);
  t.equal(await identityAt(a), identity);
  t.strictSame(((await a.runJson('status')) as { attention: unknown[] }).attention, []);
});

t.test('G8: a live migration that another hook refuses makes no start pass for its arrival', async (t) => {
  const { a, b } = await startPair(t);
  for (const host of [a, b]) await host.startAgent(t);
  await refuseMigrations(b);
  await a.take('define', domainXml({ uuid: UUID, name: NAME }));
  await a.mustVirsh('start', NAME);
  const identity = await identityAt(a);
  const target = ['--migrateuri', 'tcp://127.0.0.1', '--desturi', b.remoteUri];
  t.not((await a.virsh('migrate', '--live', NAME, ...target)).status, 0);
  t.ok(await isRunning(a));
  await b.take('define', domainXml({ uuid: UUID, name: NAME }));
  const started = await b.virsh('start', NAME);
  t.not(started.status, 0, 'it runs on A');
  t.match(started.stderr, /HELD_ELSEWHERE/);
  t.notOk(await isRunning(b));
  t.ok(await isRunning(a));
  t.not((await a.virsh('migrate', '--live', NAME, ...target)).status, 0);
  await a.mustVirsh('destroy', NAME);
  await rm(join(b.path('/var/lib/libvirt/swtpm'), UUID), { recursive: true, force: true });
  await b.mustVirsh('start', NAME);
  t.equal(await identityAt(b), identity, 'announced, and an ordinary start all the same');
});

t.test('G4: the claim of a run goes with its guest, and is believed when its source is dead', async (t) => {
  const { a, b } = await startPair(t, { timing: { host_expiry: '8s' } });
  const agent = await a.startAgent(t);
  await b.startAgent(t);
  await a.take('define', domainXml({ uuid: UUID, name: NAME }));
  await a.mustVirsh('start', NAME);
  const first = await runClaimOf(a);
  t.ok(await isLastClaim(a, first), first);
  t.notMatch(await a.mustVirsh('dumpxml', '--inactive', NAME), /swtpm-mirror:run/, 'nothing is defined');
  await newestPublish(a, 'kvm-a');
  await agent.end('KILL');
  // Its release is never told, either: the hook has gone with the rest.
  await rm(join(a.path('/etc/libvirt/hooks/qemu.d'), '50-swtpm-mirror'));
  await migrate(a, b);
  await changeTpm(b);
  await newestPublish(b, 'kvm-b');
  t.match(
    (await historyOf(b)).find(({ kind }) => kind === 'claim'),
    { host: 'kvm-b', reason: 'migration' },
  );
  await waitUntil('the claim of its run here', TIMEOUT_MS, async () =>
    (await isLastClaim(b, await runClaimOf(b))) ? true : undefined,
  );
  await b.mustVirsh('destroy', NAME);
  const volume = new VolumeView(b.share, UUID);
  t.strictSame(await volume.permallOf(await volume.expectHead()), await readFile(b.permall(UUID)));
});

t.test('a new agent of the same run leaves its own claim', async (t) => {
  const { a } = await startPair(t);
  const agent = await a.startAgent(t);
  await a.take('create', domainXml({ uuid: UUID, name: NAME }));
  const first = await runClaimOf(a);
  await agent.end('KILL');
  await a.startAgent(t);
  await waitUntil('another claim', TIMEOUT_MS, async () => {
    const now = await runClaimOf(a);
    return now !== first && (await isLastClaim(a, now)) ? true : undefined;
  });
});

t.test('G4: a save file that is older than the head is refused, and restored on demand', async (t) => {
  const { a } = await startPair(t);
  await a.startAgent(t);
  await a.take('define', domainXml({ uuid: UUID, name: NAME }));
  await a.mustVirsh('start', NAME);
  await runClaimOf(a);
  const file = join(a.stateDirectory, 'saved');
  await a.mustVirsh('save', NAME, file);
  await a.exec(['cp', file, `${file}.kept`]);
  await a.mustVirsh('restore', file);
  await changeTpm(a);
  await a.mustVirsh('destroy', NAME);
  const refused = await a.virsh('restore', `${file}.kept`);
  t.not(refused.status, 0);
  t.match(refused.stderr, /STATE_BEHIND.*older/s);
  t.notOk(await isRunning(a));
  const volume = new VolumeView(a.share, UUID);
  const head = await volume.permallOf(await volume.expectHead());
  t.strictSame(head, await readFile(a.permall(UUID)), 'nothing was touched');
  await a.exec(['env', 'EDITOR=sed -i /swtpm-mirror:run/d', 'virsh', 'save-image-edit', `${file}.kept`]);
  await a.mustVirsh('restore', `${file}.kept`);
});
