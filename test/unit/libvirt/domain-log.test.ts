import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { readStopReason, stopReason } from '../../../src/libvirt/domain-log.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { put } from '../../fakes/host-rig.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

const TIME = '2026-11-23 16:14:54.714+0000';
const STARTED = `${TIME}: starting up libvirt version: 9.0.0, package: 4+deb12u2\nLC_ALL=C \\\nPATH=/usr/bin \\\n`;
const stopped = (reason: string): string => `${TIME}: shutting down, reason=${reason}\n`;
const fs = new NodeFileSystem();

t.test('the last stop tells its reason', async (t) => {
  t.equal(stopReason(STARTED + stopped('destroyed')), 'destroyed');
  t.equal(stopReason(STARTED + stopped('migrated') + STARTED + stopped('shutdown')), 'shutdown');
  t.equal(stopReason(''), undefined);
});

t.test("G4: an earlier run's migration is never taken for this one's", async (t) => {
  t.equal(stopReason(STARTED + stopped('migrated') + STARTED), undefined);
});

t.test('only whole lines of libvirt count', async (t) => {
  t.equal(stopReason('qemu: shutting down, reason=migrated\n'), undefined);
  t.equal(stopReason(`qemu says ${stopped('migrated')}`), undefined);
  t.equal(stopReason(`${TIME}: shutting down, reason=migrated and more\n`), undefined);
});

t.test('the end of a long log is enough', async (t) => {
  const directory = await temporaryDirectory(t);
  await put(directory, { 'vm.log': STARTED + 'x'.repeat(1_000_000) + '\n' + stopped('crashed') });
  t.equal(await readStopReason(fs, directory, 'vm'), 'crashed');
});

t.test('a log that cannot be read gives no reason', async (t) => {
  const directory = await temporaryDirectory(t);
  await put(directory, { 'secret.log': stopped('migrated'), 'logs/a.log': stopped('destroyed') });
  t.equal(await readStopReason(fs, directory, 'missing'), undefined);
  t.equal(await readStopReason(fs, join(directory, 'logs'), '../secret'), undefined);
  t.equal(await readStopReason(fs, directory, ''), undefined);
  t.equal(await readStopReason(fs, directory, '..'), undefined);
  await symlink(join(directory, 'secret.log'), join(directory, 'link.log'));
  t.equal(await readStopReason(fs, directory, 'link'), undefined, 'a link is not followed');
});
