import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, stat, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { readState, readStateNow, type ReaderContext } from '../../../src/host/state-reader.js';
import { validateStateFile } from '../../../src/model/swtpm-blob.js';
import { blob, codeOf, instantClock, makeHost, put, type HostRig } from '../../fakes/host-rig.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';

const PERMALL = 'tpm2/tpm2-00.permall';

function reader(host: HostRig, onSleep?: () => Promise<void>): ReaderContext {
  return { fs: host.context.fs, clock: instantClock(onSleep), settleMs: 100, settleLooks: 5 };
}

t.test('G6: a TPM 2 is captured with its identity, in one look and with its state files alone', async (t) => {
  const host = await makeHost(t);
  const { swtpmDirectory } = host.paths;
  await put(swtpmDirectory, {
    [PERMALL]: blob('used.permall'),
    'tpm2/TMP2-00.permall': 'half a file',
    'tpm2/tpm2-00.volatilestate': 'of a migration',
    'tpm2/.lock': '',
  });
  const opened: string[] = [];
  const fs = interceptFileSystem(host.context.fs, (call, proceed) => {
    if (call.method === 'open') opened.push(call.path);
    return proceed();
  });
  let sleeps = 0;
  const countSleep = async (): Promise<void> => {
    sleeps++;
  };
  const context = { ...reader(host, countSleep), fs };
  const capture = await readState(context, { ...host.paths, nvramPath: undefined });
  t.strictSame(
    capture.files.map(({ role, name }) => `${role}/${name}`),
    [PERMALL],
  );
  t.equal(capture.identity, validateStateFile('tpm2', 'tpm2-00.permall', blob('used.permall')).identity);
  t.equal(sleeps, 0, 'what validates itself needs no second look');
  t.notOk(
    opened.some((path) => /TMP2|volatilestate|\.lock/.test(path)),
    "swtpm's other files are never opened",
  );
  t.strictSame(await readStateNow(context, { ...host.paths, nvramPath: undefined }), capture);
});

t.test('a TPM 1.2 with a savestate, and NVRAM, are captured after two equal looks', async (t) => {
  const host = await makeHost(t);
  await put(host.paths.swtpmDirectory, {
    'tpm1.2/tpm-00.permall': blob('tpm12.permall'),
    'tpm1.2/tpm-00.savestate': blob('tpm12.savestate'),
  });
  await writeFile(host.nvramPath, 'variables');
  let sleeps = 0;
  const countSleep = async (): Promise<void> => {
    sleeps++;
  };
  const capture = await readState(reader(host, countSleep), host.paths);
  t.equal(sleeps, 1);
  t.strictSame(
    capture.files.map(({ role, name }) => `${role}/${name}`),
    ['nvram/nvram.fd', 'tpm1.2/tpm-00.permall', 'tpm1.2/tpm-00.savestate'],
  );
  t.equal(capture.identity, undefined);
});

t.test('G1: NVRAM that changes between two looks is waited for, for a while', async (t) => {
  const host = await makeHost(t);
  await put(host.paths.swtpmDirectory, { [PERMALL]: blob('used.permall') });
  await writeFile(host.nvramPath, 'version 0');
  let version = 0;
  const write = async (): Promise<void> => {
    if (version < 1) await writeFile(host.nvramPath, `version ${++version}`);
  };
  const capture = await readState(reader(host, write), host.paths);
  t.equal(
    Buffer.from(capture.files.find(({ role }) => role === 'nvram')?.data ?? []).toString(),
    'version 1',
  );
});

t.test('G1: an equal content with another mtime or inode is not at rest', async (t) => {
  const host = await makeHost(t);
  await put(host.paths.swtpmDirectory, { [PERMALL]: blob('encrypted-256.permall') });
  const permall = join(host.paths.swtpmDirectory, PERMALL);
  const paths = { ...host.paths, nvramPath: undefined };
  let seconds = 1;
  const touch = (): Promise<void> => utimes(permall, seconds, seconds++);
  t.equal(await codeOf(readState(reader(host, touch), paths)), 'STATE_UNSTABLE');
  const replace = async (): Promise<void> => {
    await writeFile(`${permall}.new`, blob('encrypted-256.permall'));
    await utimes(`${permall}.new`, 1, 1);
    await rename(`${permall}.new`, permall);
  };
  await replace();
  t.equal(await codeOf(readState(reader(host, replace), paths)), 'STATE_UNSTABLE');
  t.equal((await readState(reader(host), paths)).files.length, 1);
});

t.test(
  'encrypted state that never rests is STATE_UNSTABLE after a bounded number of looks, and retriable',
  async (t) => {
    const host = await makeHost(t);
    const permall = join(host.paths.swtpmDirectory, PERMALL);
    await put(host.paths.swtpmDirectory, { [PERMALL]: blob('encrypted-256.permall') });
    let looks = 1;
    const write = (): Promise<void> => utimes(permall, looks, looks++);
    await write();
    await t.rejects(readState(reader(host, write), host.paths), { code: 'STATE_UNSTABLE', retriable: true });
    t.equal(looks, 6, 'one write at first, one between each two of five looks');
  },
);

t.test('an in-place writer that truncates or removes the file for a moment is waited for', async (t) => {
  const host = await makeHost(t);
  const permall = join(host.paths.swtpmDirectory, PERMALL);
  const paths = { ...host.paths, nvramPath: undefined };
  for (const [what, content] of [
    ['empty', Buffer.alloc(0)],
    ['cut off', blob('used.permall').subarray(0, 4000)],
    ['missing', undefined],
  ] as const) {
    await put(host.paths.swtpmDirectory, { [PERMALL]: content ?? '' });
    if (!content) await rm(permall);
    let sleeps = 0;
    const mend = async (): Promise<void> => {
      if (++sleeps === 2) await writeFile(permall, blob('used.permall'));
    };
    t.equal((await readState(reader(host, mend), paths)).files.length, 1, what);
  }
});

t.test('G6: what stays invalid or missing is refused, by both readings', async (t) => {
  const host = await makeHost(t);
  const { swtpmDirectory } = host.paths;
  const both = async (): Promise<unknown[]> => [
    await codeOf(readState(reader(host), host.paths)),
    await codeOf(readStateNow(reader(host), host.paths)),
  ];
  t.strictSame(await both(), ['NO_STATE', 'NO_STATE'], 'no directory of the domain');
  await mkdir(join(swtpmDirectory, 'tpm2'), { recursive: true });
  t.strictSame(await both(), ['NO_STATE', 'NO_STATE'], 'an empty directory');
  await t.rejects(readState(reader(host), host.paths), { code: 'NO_STATE', retriable: true });
  await put(swtpmDirectory, { 'tpm2/tpm2-00.savestate': blob('encrypted-128.permall') });
  t.strictSame(await both(), ['NO_STATE', 'NO_STATE'], 'a savestate alone');
  await put(swtpmDirectory, { [PERMALL]: '' });
  t.strictSame(await both(), ['STATE_INVALID', 'STATE_INVALID'], 'zero length, as after a power loss');
  await put(swtpmDirectory, { [PERMALL]: blob('used.permall').subarray(0, -1) });
  t.strictSame(await both(), ['STATE_INVALID', 'STATE_INVALID'], 'cut off');
});

t.test('NVRAM that is missing is left out only when it is missing twice', async (t) => {
  const host = await makeHost(t);
  await put(host.paths.swtpmDirectory, { [PERMALL]: blob('used.permall') });
  t.equal((await readState(reader(host), host.paths)).files.length, 1);
  const appear = async (): Promise<void> => {
    if (!existsSync(host.nvramPath)) await writeFile(host.nvramPath, 'variables');
  };
  t.equal((await readState(reader(host, appear), host.paths)).files.length, 2);
});

t.test('nothing is read through a link or from anything but a file', async (t) => {
  const host = await makeHost(t);
  const { swtpmDirectory } = host.paths;
  const elsewhere = join(host.context.stateDirectory, 'elsewhere');
  await put(elsewhere, { [PERMALL]: blob('used.permall') });
  const permall = join(swtpmDirectory, PERMALL);
  const places: [string, () => Promise<unknown>][] = [
    ['the domain directory is a link', () => symlink(elsewhere, swtpmDirectory)],
    [
      'the TPM directory is a link',
      async () => {
        await mkdir(swtpmDirectory);
        await symlink(join(elsewhere, 'tpm2'), join(swtpmDirectory, 'tpm2'));
      },
    ],
    [
      'the file is a link',
      async () => {
        await mkdir(join(swtpmDirectory, 'tpm2'), { recursive: true });
        await symlink(join(elsewhere, PERMALL), permall);
      },
    ],
    ['the file is a directory', () => mkdir(permall, { recursive: true })],
    [
      'the file is a FIFO',
      async () => {
        await mkdir(join(swtpmDirectory, 'tpm2'), { recursive: true });
        execFileSync('mkfifo', [permall]);
      },
    ],
    ['the domain directory is a file', () => writeFile(swtpmDirectory, '')],
  ];
  for (const [what, place] of places) {
    await place();
    t.equal(await codeOf(readState(reader(host), host.paths)), 'STATE_INVALID', what);
    await rm(swtpmDirectory, { recursive: true, force: true });
  }
  t.ok(await stat(join(elsewhere, PERMALL)), 'the target is untouched');
});

t.test('a file that is too long for state is refused before it is read', async (t) => {
  const host = await makeHost(t);
  await put(host.paths.swtpmDirectory, { [PERMALL]: '' });
  execFileSync('truncate', ['-s', '17M', join(host.paths.swtpmDirectory, PERMALL)]);
  await t.rejects(readStateNow(reader(host), host.paths), {
    code: 'STATE_INVALID',
    message: /17825792 bytes long or longer, expected at most 16777216/,
  });
});

t.test('a disk error is HOST_IO, at once', async (t) => {
  const host = await makeHost(t);
  await put(host.paths.swtpmDirectory, { [PERMALL]: blob('used.permall') });
  const fs = interceptFileSystem(host.context.fs, (call, proceed) =>
    call.method === 'read'
      ? Promise.reject(Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' }))
      : proceed(),
  );
  await t.rejects(readState({ ...reader(host), fs }, host.paths), { code: 'HOST_IO', message: /EIO/ });
});

/** Everything that can stand in the place of NVRAM and is none, with what it is called. */
const UNFIT: readonly (readonly [string, (path: string) => Promise<void> | void, RegExp])[] = [
  ['a link to a file', (path) => linkTo(path, `${path}.real`, true), /symbolic link/],
  ['a link to nothing', (path) => linkTo(path, '/nowhere', false), /symbolic link/],
  ['a link to itself', (path) => linkTo(path, path, false), /symbolic link/],
  ['a directory', (path) => mkdir(path).then(() => undefined), /directory/],
  ['a FIFO', (path) => void execFileSync('mkfifo', [path]), /special file/],
  [
    'a device that is not there',
    (path) => void execFileSync('mknod', [path, 'b', '7', '250']),
    /device|not readable|special file/,
  ],
  ['a character device', (path) => void execFileSync('mknod', [path, 'c', '1', '5']), /special file/],
  ['an empty file', (path) => writeFile(path, ''), /empty/],
  ['a file above the bound', (path) => writeFile(path, '').then(() => truncate(path, 2 ** 40)), /bytes long/],
  ['nothing', () => undefined, /missing/],
];

async function linkTo(path: string, target: string, isThere: boolean): Promise<void> {
  if (isThere) await writeFile(target, 'variables');
  await symlink(target, path);
}

for (const [what, make, reason] of UNFIT) {
  t.test(`G4: ${what} in the place of NVRAM does not keep a TPM from being captured`, async (t) => {
    const host = await makeHost(t);
    await put(host.paths.swtpmDirectory, { [PERMALL]: blob('used.permall') });
    await make(host.nvramPath);
    for (const capture of [
      await readState(reader(host), host.paths),
      await readStateNow(reader(host), host.paths),
    ]) {
      t.strictSame(
        capture.files.map(({ role }) => role),
        ['tpm2'],
      );
      t.equal(capture.absent?.length, 1);
      t.match(capture.absent?.[0]?.reason, reason);
      t.equal(capture.absent?.[0]?.path, host.nvramPath);
    }
  });
}

t.test(
  'G4: NVRAM that never rests holds the TPM up for two looks, whatever becomes of it then',
  async (t) => {
    const host = await makeHost(t);
    await put(host.paths.swtpmDirectory, { [PERMALL]: blob('used.permall') });
    let looks = 1;
    const write = (): Promise<void> => writeFile(host.nvramPath, `version ${looks++}`);
    await write();
    const capture = await readState(reader(host, write), host.paths);
    t.equal(looks, 4, 'one write at first, one between each two of three looks');
    t.strictSame(
      capture.files.map(({ role }) => role),
      ['tpm2'],
    );
    t.match(capture.absent, [{ role: 'nvram', kind: 'passing', reason: /written to/ }]);
    t.equal((await readState(reader(host), host.paths)).absent, undefined, 'it joins when it rests');
  },
);
