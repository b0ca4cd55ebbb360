/**
 * Starts that are refused: the exit status, one line with the reason and one with the next step; and nothing is touched, neither the TPM
 * directory nor the share, nor by the `stopped` that a manager sends after a start that failed.
 */
import { cp, mkdir, open, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { formatSlot } from '../../src/model/generation-name.js';
import { DOMAIN, Guest, mustRun } from '../fixtures/guest.js';
import type { HostFixture } from '../fixtures/host.js';
import type { ProgramResult } from '../fixtures/program.js';
import { Site } from '../fixtures/site.js';
import { SwtpmProcess } from '../fixtures/swtpm.js';
import { readTree } from '../fixtures/tree.js';

const VALUE = Buffer.from('worth keeping');

/** A site where a VM ran on kvm-a and was stopped in good order: kvm-a has its state and its journal, kvm-b knows nothing. */
const ran = (async () => {
  const site = await Site.create(t, { timing: { start_deadline: '3s' } });
  const host = await site.host('kvm-a');
  const guest = await Guest.start(t, host);
  await guest.keep(VALUE);
  await guest.stop();
  return site;
})();

interface Expected {
  readonly status: number;
  readonly code: string;
  /** What the error says, beside its code. */
  readonly says: RegExp;
  /** What the second line tells the operator to do. */
  readonly next: RegExp;
}

function isError(t: Test, { status, stdout, stderr }: ProgramResult, expected: Expected): void {
  t.equal(status, expected.status, stderr);
  t.equal(stdout, '');
  t.match(stderr, /^swtpm-mirror: [A-Z_]+: [^\n]+[^.\n]\n {2}[^\n]+[^.\n]\n$/, 'two lines');
  const [reason = '', next = ''] = stderr.split('\n');
  t.ok(reason.startsWith(`swtpm-mirror: ${expected.code}: `), reason);
  t.match(reason, expected.says);
  t.match(next, expected.next);
}

/** Runs `prepare` and then `stopped`, and holds the host and the share to what they were. */
async function isRefused(t: Test, host: HostFixture, expected: Expected): Promise<void> {
  const volumes = join(host.share, 'volumes');
  const before = [await readTree(host.swtpmDirectory), await readTree(volumes)];
  isError(t, await host.run(['domain', 'prepare', DOMAIN]), expected);
  t.strictSame([await readTree(host.swtpmDirectory), await readTree(volumes)], before, 'nothing was touched');
  await host.run(['domain', 'stopped', DOMAIN, '--reason', 'failed']);
  t.strictSame([await readTree(host.swtpmDirectory), await readTree(volumes)], before, 'nor by the stop after it');
}

for (const [what, spoil] of [
  ['a directory without a share marker', async (share: string) => await writeFile(join(share, 'a-file'), 'of somebody')],
  ['an empty directory, as an export that is not mounted', async () => {}],
  ['nothing at all', async (share: string) => await rm(share, { recursive: true })],
] as const) {
  t.test(`G8: a start is refused when ${what} is where the share should be, and nothing is written there`, async (t) => {
    const site = await (await ran).copy(t);
    await rename(site.share, join(site.base, 'unmounted'));
    await mkdir(site.share);
    await spoil(site.share);
    const before = await readTree(site.share);
    const expected = {
      status: 4,
      code: 'SHARE_NOT_INITIALIZED',
      says: /share marker/,
      next: /mounted/,
    };
    await isRefused(t, await site.host('kvm-a'), expected);
    await isRefused(t, await site.host('kvm-b'), expected);
    t.strictSame(await readTree(site.share), before, 'nothing was written to what is not the share');
  });
}

t.test('G8: a start is refused when another share is mounted where the known one was', async (t) => {
  const site = await (await ran).copy(t);
  await rename(site.share, join(site.base, 'the right one'));
  await site.initialise(site.share);
  await isRefused(t, await site.host('kvm-a'), {
    status: 4,
    code: 'SHARE_WRONG',
    says: /is share [0-9a-f]{32}, but this host's state belongs to share [0-9a-f]{32}/,
    next: /mount the right export/,
  });
});

for (const [what, spoil] of [
  ['cut short', async (archive: string) => await truncate(archive, 1000)],
  ['changed in one byte', async (archive: string) => await flipByte(archive, 1000)],
  ['gone', async (archive: string) => await rm(archive)],
] as const) {
  t.test(`G6, G8: a head whose archive is ${what} refuses the start elsewhere, and is mended where its state lies`, async (t) => {
    const site = await (await ran).copy(t);
    const volume = site.volume(DOMAIN);
    const head = await volume.expectHead();
    await spoil(volume.archive(head));
    await isRefused(t, await site.host('kvm-b'), {
      status: 5,
      code: 'GENERATION_DAMAGED',
      says: /newest state .* is damaged: /,
      next: /verify/,
    });
    const home = await site.host('kvm-a');
    await mustRun(home, ['domain', 'prepare', DOMAIN]);
    t.ok((await volume.expectHead()).slot > head.slot, 'published again');
    await mustRun(home, ['domain', 'stopped', DOMAIN]);
    await mustRun(await site.host('kvm-b'), ['domain', 'prepare', DOMAIN]);
  });
}

async function flipByte(path: string, position: number): Promise<void> {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, position);
  await file.write(Buffer.of((byte[0] ?? 0) ^ 0x01), 0, 1, position);
  await file.close();
}

t.test('G3: a start is refused while a host that is alive holds the volume', async (t) => {
  const site = await (await ran).copy(t);
  const holder = await site.host('kvm-a');
  await holder.startAgent(t);
  await Guest.start(t, holder);
  await isRefused(t, await site.host('kvm-b'), {
    status: 3,
    code: 'HELD_ELSEWHERE',
    says: /held by host kvm-a, which is alive \(last heartbeat \d+\.\d s ago\)/,
    next: /stop the domain on kvm-a first; .* `swtpm-mirror take-over --force 6b0c2d4e/,
  });
});

t.test('a start is refused when the volume was forgotten', async (t) => {
  const site = await (await ran).copy(t);
  const volume = site.volume(DOMAIN);
  const claim = ((await volume.entries()).at(-1)?.slot ?? 0) + 1;
  const by = `host=kvm-a&token=${'ab'.repeat(8)}&at=2026-01-01T00:00:00.000Z`;
  await symlink(`claim?${by}&reason=operator`, join(volume.log, formatSlot(claim)));
  await symlink(`tombstone?${by}&epoch=${claim}&reason=forget`, join(volume.log, formatSlot(claim + 1)));
  for (const name of ['kvm-a', 'kvm-b']) {
    await isRefused(t, await site.host(name), {
      status: 3,
      code: 'TOMBSTONED',
      says: /forgotten/,
      next: /swtpm-mirror take-over 6b0c2d4e/,
    });
  }
  const host = await site.host('kvm-b');
  await mustRun(host, ['take-over', DOMAIN]);
  const guest = await Guest.start(t, host);
  t.strictSame(await guest.read(VALUE.length), VALUE, 'what the error says to do brings the state back');
});

t.test('G8: a start is refused when the share has lost the volume that this host published to', async (t) => {
  const site = await (await ran).copy(t);
  const host = await site.host('kvm-a');
  await rm(site.volume(DOMAIN).root, { recursive: true });
  const expected = { status: 3, code: 'STATE_MISSING', says: /no state of/, next: /backup/ };
  await isRefused(t, host, expected);
  await rm(join(host.swtpmDirectory, DOMAIN), { recursive: true });
  await isRefused(t, host, expected);
  await mkdir(host.tpmDirectory(DOMAIN), { recursive: true });
  await isRefused(t, host, expected);
});

t.test('G4: a start is refused when the volume is older than what this host published', async (t) => {
  const site = await (await ran).copy(t);
  const host = await site.host('kvm-a');
  const volume = site.volume(DOMAIN);
  const backup = join(site.base, 'backup');
  await cp(volume.root, backup, { recursive: true, verbatimSymlinks: true });
  const guest = await Guest.start(t, host);
  await guest.write(Buffer.from('a newer value'));
  await guest.stop();
  await rm(volume.root, { recursive: true });
  await rename(backup, volume.root);
  await isRefused(t, host, {
    status: 3,
    code: 'STATE_BEHIND',
    says: /ends at generation \d+, but this host knows of generation \d+/,
    next: /older backup/,
  });
});

t.test('G8: a start is refused when another TPM came up while the product was not there', async (t) => {
  const site = await (await ran).copy(t);
  const host = await site.host('kvm-a');
  const stateDirectory = host.tpmDirectory(DOMAIN);
  await rm(stateDirectory, { recursive: true });
  await mkdir(stateDirectory);
  const runDirectory = join(site.base, 'foreign');
  await mkdir(runDirectory);
  const foreign = await SwtpmProcess.start({ stateDirectory, runDirectory });
  t.teardown(() => foreign.kill());
  await foreign.stop();
  await isRefused(t, host, { status: 3, code: 'FOREIGN_TPM', says: /another TPM/, next: /move the local directory away/ });
});

t.test('commands about a domain that nobody knows, or that is no domain, say so', async (t) => {
  const site = await (await ran).copy(t);
  const host = await site.host('kvm-a');
  const unknown = '00000000-1111-4222-8333-444444444444';
  const before = await readTree(join(site.share, 'volumes'));
  const noSuchDomain = { status: 6, code: 'NO_SUCH_DOMAIN', says: /no|not/, next: /swtpm-mirror (status|history)|virsh domuuid/ };
  for (const args of [
    ['capture', unknown],
    ['history', unknown],
    ['history', 'no such name'],
    ['status', unknown],
    ['verify', unknown],
    ['take-over', unknown],
    ['restore', unknown, '--to', join(site.base, 'out')],
  ]) {
    await t.test(args.join(' '), async (t) => isError(t, await host.run(args), noSuchDomain));
  }
  await t.test('prepare of what is no UUID', async (t) => {
    const usage = { status: 2, code: 'USAGE', says: /is not a domain UUID/, next: /virsh domuuid/ };
    isError(t, await host.run(['domain', 'prepare', 'vm']), usage);
  });
  t.strictSame(await readTree(join(site.share, 'volumes')), before, 'and leave the share as it was');
});
