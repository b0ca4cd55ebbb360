import { chmod, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { FileJournal } from '../../../src/host/journal.js';
import type { JournalRecord } from '../../../src/host/journal-record.js';
import { keepReserve } from '../../../src/host/reserve.js';
import { parseHostName } from '../../../src/model/identifiers.js';
import { fullBeside } from '../../fakes/faulting-filesystem.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
import { codeOf, makeHost, OTHER_UUID, UUID } from '../../fakes/host-rig.js';

const RECORD: JournalRecord = {
  format: 1,
  uuid: UUID,
  name: 'vm',
  byHook: true,
  shareId: 'a1',
  phase: 'running',
  epoch: 3,
  holding: true,
  claiming: false,
  slot: 7,
  finalTpm: null,
  unstored: {
    at: '2026-01-01T00:00:00Z',
    fault: 'not-understood',
    why: 'its format is not known',
    copy: '/var/lib/set-aside/1',
  },
  publishedAt: '2026-02-28T23:59:59.000Z',
  digest: 'a'.repeat(64),
  identity: 'b'.repeat(64),
  fenced: { host: parseHostName('kvm-b'), epoch: 2, at: '2026-01-01T00:00:00Z' },
  unread: [],
  nvram: null,
  tpm: { role: 'tpm2', directory: '/srv/tpm/vm' },
  nvramPath: '/var/lib/libvirt/qemu/nvram/vm_VARS.fd',
  live: null,
  takenOver: { from: parseHostName('kvm-c'), at: '2026-01-01T00:00:00Z', silentMs: 31_250 },
  bootId: 'boot-1',
  runBootId: 'boot',
  awaitedInBoot: '',
  arrival: null,
  updatedAt: '2026-01-01T00:00:00Z',
};

t.test('a record is read back as it was written, and by a new journal too', async (t) => {
  const { context } = await makeHost(t);
  const journal = new FileJournal(context);
  t.equal(await journal.read(UUID), undefined, 'nothing is known at first');
  t.strictSame(await journal.list(), { records: [], damaged: [] });
  await journal.write(RECORD);
  const stopped: JournalRecord = { ...RECORD, phase: 'stopped', digest: null, identity: null, fenced: null };
  await journal.write({ ...stopped, uuid: OTHER_UUID });
  await journal.write(stopped);
  t.strictSame(await new FileJournal(context).read(UUID), stopped);
  t.same((await journal.list()).records.map(({ uuid }) => uuid).sort(), [OTHER_UUID, UUID]);
  const path = join(context.stateDirectory, 'journal', `${UUID}.json`);
  t.equal((await stat(path)).mode & 0o777, 0o600);
});

t.test('a record with the longest name, paths and reasons, all of it escaped, is read back', async (t) => {
  const { context } = await makeHost(t);
  const unread = (['nvram', 'varstore'] as const).map((role) => ({
    role,
    kind: 'unfit' as const,
    state: 'stale' as const,
    reason: `cannot read "${'\\'.repeat(1024)}": EIO`,
    since: RECORD.updatedAt,
  }));
  const longest: JournalRecord = {
    ...RECORD,
    name: '\u0001'.repeat(255),
    nvramPath: `/${'"'.repeat(1023)}`,
    tpm: { role: 'tpm2', directory: `/${'"'.repeat(511)}` },
    unread,
    unstored: {
      at: RECORD.updatedAt,
      fault: 'unreadable',
      why: '\u0001'.repeat(200),
      copy: `/${'d'.repeat(300)}`,
    },
  };
  const journal = new FileJournal(context);
  await journal.write(longest);
  t.strictSame(await journal.read(UUID), longest);
});

t.test(
  'G2: a record is durable when the write resolves: its directory is synced after the rename',
  async (t) => {
    const host = await makeHost(t);
    const synced: string[] = [];
    const fs = interceptFileSystem(host.context.fs, async (call, proceed) => {
      if (call.site === 'journal:sync') {
        t.ok(await stat(join(call.path, `${UUID}.json`)));
        synced.push(call.path);
      }
      return proceed();
    });
    await new FileJournal(host.withFileSystem(fs)).write(RECORD);
    t.strictSame(synced, [join(host.context.stateDirectory, 'journal')]);
  },
);

t.test('G4: a damaged record is an error that names its file, never "nothing known"', async (t) => {
  const { context } = await makeHost(t);
  const journal = new FileJournal(context);
  await journal.write({ ...RECORD, uuid: OTHER_UUID });
  const path = join(context.stateDirectory, 'journal', `${UUID}.json`);
  const text = JSON.stringify(RECORD);
  const faults: [string, string][] = [
    ['empty', ''],
    ['cut off', text.slice(0, 100)],
    ['zeros', '\0'.repeat(text.length)],
    ['another format', JSON.stringify({ ...RECORD, format: 2 })],
    ['an unknown key', JSON.stringify({ ...RECORD, lease: 1 })],
    ['another domain', JSON.stringify({ ...RECORD, uuid: OTHER_UUID })],
    ['a slot that is none', JSON.stringify({ ...RECORD, slot: -1 })],
  ];
  for (const [what, content] of faults) {
    await writeFile(path, content);
    await t.rejects(journal.read(UUID), { code: 'JOURNAL_DAMAGED', message: path }, what);
    t.equal(await codeOf(journal.read(UUID)), 'JOURNAL_DAMAGED', what);
  }
  const { records, damaged } = await journal.list();
  t.strictSame([records.length, damaged.map(({ code }) => code)], [1, ['JOURNAL_DAMAGED']]);
  await journal.write(RECORD);
  t.strictSame(await journal.read(UUID), RECORD, 'a new write mends it');
});

t.test('a link in the place of a record is not followed', async (t) => {
  const { context } = await makeHost(t);
  const journal = new FileJournal(context);
  await journal.write({ ...RECORD, uuid: OTHER_UUID });
  await symlink(`${OTHER_UUID}.json`, join(context.stateDirectory, 'journal', `${UUID}.json`));
  t.equal(await codeOf(journal.read(UUID)), 'JOURNAL_DAMAGED');
});

t.test('G4: a record is never replaced by a part of the new one', async (t) => {
  const host = await makeHost(t);
  await new FileJournal(host.context).write(RECORD);
  let room = 100;
  const fs = interceptFileSystem(
    host.context.fs,
    (_call, proceed) => proceed(),
    ({ data }) => {
      const taken = data.subarray(0, room);
      room -= taken.length;
      return taken;
    },
  );
  const next = { ...RECORD, slot: RECORD.slot + 1 };
  t.equal(await codeOf(new FileJournal(host.withFileSystem(fs)).write(next)), 'HOST_IO');
  t.strictSame(await new FileJournal(host.context).read(UUID), RECORD);
});

t.test('a write makes its directory anew when that has gone', async (t) => {
  const { context } = await makeHost(t);
  const journal = new FileJournal(context);
  await journal.write(RECORD);
  await rm(join(context.stateDirectory, 'journal'), { recursive: true });
  t.equal(await codeOf(journal.write(RECORD)), 'HOST_IO', 'said once');
  await journal.write(RECORD);
  t.strictSame(await journal.read(UUID), RECORD);
});

t.test('a directory that cannot be written is HOST_IO', async (t) => {
  const { context } = await makeHost(t);
  await writeFile(join(context.stateDirectory, 'journal'), 'not a directory');
  t.equal(await codeOf(new FileJournal(context).write(RECORD)), 'HOST_IO');
});

t.test('what killed writes left is swept, records stay', async (t) => {
  const { context } = await makeHost(t);
  const journal = new FileJournal(context);
  await journal.sweep();
  await journal.write(RECORD);
  const directory = join(context.stateDirectory, 'journal');
  await writeFile(join(directory, `${UUID}.json.1234567`), 'half');
  await chmod(join(directory, `${UUID}.json.1234567`), 0o600);
  await journal.sweep();
  t.strictSame(await readdir(directory), [`${UUID}.json`]);
  t.match(await readFile(join(directory, `${UUID}.json`), 'utf8'), /"slot": 7/);
});

t.test('a record is written on a full disk, from the reserve', async (t) => {
  const { context, withFileSystem } = await makeHost(t);
  await keepReserve(context);
  const reserve = join(context.stateDirectory, 'reserve');
  await new FileJournal(withFileSystem(fullBeside(reserve, context.fs))).write(RECORD);
  t.strictSame(await new FileJournal(context).read(UUID), RECORD);
  t.strictSame(await readdir(context.stateDirectory), ['journal']);
});
