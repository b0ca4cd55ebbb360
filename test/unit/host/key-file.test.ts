import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readIdentities } from '../../../src/host/key-file.js';
import { asMirrorError, type MirrorError } from '../../../src/model/errors.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';

const FIRST = 'AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ';
const SECOND = 'AGE-SECRET-KEY-PQ-1PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPP';
const fs = new NodeFileSystem();
const USER = process.getuid?.() ?? 0;

async function keyFile(t: Test, text: string, mode = 0o600): Promise<string> {
  const path = join(t.testdir({ key: text }), 'key');
  await chmod(path, mode);
  return path;
}

async function refusal(path: string, userId = USER): Promise<MirrorError> {
  return asMirrorError(
    await readIdentities(fs, path, userId).then(
      () => new Error('accepted'),
      (error: unknown) => error,
    ),
  );
}

t.test('the identities of a key file, as age-keygen writes them, and several', async (t) => {
  const text = `# created: 2026-01-01T00:00:00Z\n# public key: age1x\n${FIRST}\n\n  ${SECOND}\r\n`;
  t.strictSame(await readIdentities(fs, await keyFile(t, text), USER), [FIRST, SECOND]);
  t.strictSame(await readIdentities(fs, await keyFile(t, FIRST, 0o400), USER), [FIRST]);
});

t.test('a key that others may have read is not used', async (t) => {
  for (const mode of [0o640, 0o604, 0o660, 0o644]) {
    const path = await keyFile(t, FIRST, mode);
    t.match(await refusal(path), { code: 'KEY_UNUSABLE', exitStatus: 2, next: `chmod 600 ${path}` });
  }
});

t.test('nor one of another user', async (t) => {
  const path = await keyFile(t, FIRST);
  if (USER === 0) t.match(await readIdentities(fs, path, 4711), [FIRST], 'root is nobody else');
  else t.match(await refusal(path, 4711), { code: 'KEY_UNUSABLE', message: 'expected 4711' });
});

t.test('what is no key file is refused, and nothing of it is repeated', async (t) => {
  const secret = FIRST.toLowerCase();
  for (const [text, message] of [
    ['', /no age identity/],
    ['# only a comment\n', /no age identity/],
    [`${FIRST}\n${secret}\n`, /line 2: this is no age identity/],
    ['age-encryption.org/v1\n-> scrypt x\n', /itself encrypted/],
    ['-----BEGIN AGE ENCRYPTED FILE-----\n', /itself encrypted/],
    ['-----BEGIN OPENSSH PRIVATE KEY-----\n', /another kind/],
    ['AGE-PLUGIN-YUBIKEY-1QQ\n', /another kind/],
  ] as const) {
    const error = await refusal(await keyFile(t, text));
    t.match(error, { code: 'KEY_UNUSABLE', message });
    t.notMatch(`${error.message}${error.next}`.toLowerCase(), secret.slice(0, 30));
  }
});

t.test('nor what is no file', async (t) => {
  const directory = t.testdir();
  await writeFile(join(directory, 'key'), FIRST, { mode: 0o600 });
  await symlink('key', join(directory, 'link'));
  await mkdir(join(directory, 'directory'));
  for (const [name, message] of [
    ['missing', /ENOENT/],
    ['link', /a symbolic link/],
    ['directory', /a directory/],
  ] as const) {
    t.match(await refusal(join(directory, name)), { code: 'KEY_UNUSABLE', message });
  }
});
