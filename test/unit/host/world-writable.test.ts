import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { readIdentities } from '../../../src/host/key-file.js';
import { ensureOwnDirectory } from '../../../src/host/node-directories.js';
import { watchError } from '../../../src/host/watcher.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { readConfigFile } from '../../../src/wiring/config-file.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

/** Of a directory: the mode, and whether everybody could exchange what is in it. */
const DIRECTORY_MODES = [
  [0o700, false],
  [0o755, false],
  [0o775, false],
  [0o1777, false],
  [0o777, true],
  [0o702, true],
  [0o703, true],
] as const;
const KEY = `AGE-SECRET-KEY-1${'Q'.repeat(58)}\n`;

t.test('a configuration, a key or a state that everybody could exchange is refused', async (t) => {
  for (const [mode, refused] of DIRECTORY_MODES) {
    const directory = join(await temporaryDirectory(t), 'd');
    await mkdir(directory);
    const [config, key] = [join(directory, 'config.toml'), join(directory, 'age.key')];
    await writeFile(config, '# nothing\n', { mode: 0o644 });
    await writeFile(key, KEY, { mode: 0o600 });
    await chmod(directory, mode);
    const title = mode.toString(8);
    const [ensured, identities] = [
      ensureOwnDirectory(directory),
      readIdentities(new NodeFileSystem(), key, process.getuid?.() ?? 0),
    ];
    if (refused) {
      t.throws(() => readConfigFile(config), { code: 'CONFIG_INVALID', next: /chmod o-w/ }, title);
      await t.rejects(ensured, { code: 'HOST_IO', next: /chmod o-w/ }, title);
      await t.rejects(identities, { code: 'KEY_UNUSABLE', message: /everybody/ }, title);
    } else {
      t.equal(readConfigFile(config), '# nothing\n', title);
      await t.resolves(ensured, title);
      t.equal((await identities).length, 1, title);
    }
    await chmod(directory, 0o700);
  }
});

t.test('a configuration file that everybody can write is refused, whatever else its mode says', async (t) => {
  const path = join(await temporaryDirectory(t), 'config.toml');
  await writeFile(path, '');
  for (const [mode, refused] of [
    [0o600, false],
    [0o644, false],
    [0o664, false],
    [0o666, true],
    [0o602, true],
    [0o1646, true],
  ] as const) {
    await chmod(path, mode);
    if (refused) t.throws(() => readConfigFile(path), { code: 'CONFIG_INVALID' }, mode.toString(8));
    else t.equal(readConfigFile(path), '', mode.toString(8));
  }
});

t.test('what inotify runs out of is told with its effect and the sysctl', (t) => {
  for (const [code, key] of [
    ['ENOSPC', 'fs.inotify.max_user_watches'],
    ['EMFILE', 'fs.inotify.max_user_instances'],
  ] as const) {
    const { message, next } = watchError(Object.assign(new Error(`${code}: inotify_add_watch`), { code }));
    t.match(message, /30 s.*instead of within 0\.1 s/);
    t.match(next, new RegExp(`sysctl ${key}=\\d+`));
  }
  const other = watchError(Object.assign(new Error('EACCES: denied'), { code: 'EACCES' }));
  t.notMatch(other.next, /sysctl/);
  t.end();
});
