import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { takesGuestIn } from '../../../src/host/node-guest-taken-in.js';
import type { DomainUuid } from '../../../src/model/identifiers.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d' as DomainUuid;
const OTHER = '0d9f3a51-22c4-4e6b-8a77-5c1e2f3a4b5c';

/** A `/proc` with these processes: `comm`, then the words of its command line. */
async function proc(t: TestScope, ...processes: readonly (readonly string[])[]): Promise<string> {
  const root = await temporaryDirectory(t);
  await mkdir(join(root, 'self'));
  for (const [at, [comm = '', ...words]] of processes.entries()) {
    const directory = join(root, String(100 + at));
    await mkdir(directory);
    await writeFile(join(directory, 'comm'), `${comm}\n`);
    await writeFile(join(directory, 'cmdline'), words.map((word) => `${word}\0`).join(''));
  }
  return root;
}

const CASES: [string, boolean | undefined, (readonly string[])[]][] = [
  ['a migration', true, [['qemu-system-x86', 'qemu', '-uuid', UUID, '-S', '-incoming', 'defer']]],
  ['a save file', true, [['qemu-system-x86', 'qemu', '-uuid', UUID, '-incoming', 'fd:27']]],
  ['under another name', true, [['qemu-kvm', '/usr/libexec/qemu-kvm', '-uuid', UUID, '-incoming', 'defer']]],
  ['a UUID in capitals', true, [['kvm', 'kvm', '-incoming', 'defer', '-uuid', UUID.toUpperCase()]]],
  ['an ordinary start', false, [['qemu-system-x86', 'qemu', '-uuid', UUID, '-S']]],
  [
    'another domain takes one in',
    undefined,
    [['qemu-kvm', 'qemu-kvm', '-uuid', OTHER, '-incoming', 'defer']],
  ],
  [
    'another domain does beside it',
    false,
    [
      ['qemu-kvm', 'qemu-kvm', '-uuid', OTHER, '-incoming', 'defer'],
      ['qemu-kvm', 'qemu-kvm', '-uuid', UUID],
    ],
  ],
  ['its UUID in another place', undefined, [['qemu-kvm', 'qemu-kvm', '-name', UUID, '-incoming', 'defer']]],
  ['another program', undefined, [['grep', 'grep', '-uuid', UUID, '-incoming']]],
  ['nothing', undefined, []],
];

for (const [name, expected, processes] of CASES) {
  t.test(`${name}: ${String(expected)}`, async (t) => {
    t.equal(await takesGuestIn(UUID, await proc(t, ...processes)), expected);
  });
}

t.test('a process that has ended meanwhile is passed over', async (t) => {
  const root = await proc(t, ['qemu-kvm', 'qemu-kvm', '-uuid', UUID, '-incoming', 'defer']);
  await mkdir(join(root, '99'));
  t.equal(await takesGuestIn(UUID, root), true);
});
