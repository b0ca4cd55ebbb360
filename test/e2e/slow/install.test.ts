import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFile,
  chmod,
  mkdir,
  readdir,
  readFile,
  rm,
  rmdir,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FIRST_CONFIG } from '../../../src/cli/first-config.js';
import { hookScript, isOwnWork, marked, unitFile } from '../../../src/cli/install-files.js';
import { OWN_ID } from '../../../src/cli/storage-user.js';
import { CONFIG_KEYS } from '../../../src/model/config-schema.js';
import { parseConfig } from '../../../src/model/config.js';
import { ownUuid } from '../../fixtures/domain-uuid.js';
import { domainXml } from '../../fixtures/domain-xml.js';
import { runCommand, type CommandResult } from '../../fixtures/process.js';
import { builtProgram, runProgram, type ProgramResult } from '../../fixtures/program.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

const UUID = ownUuid('6b0c2d4e');
const UNIT = 'etc/systemd/system/swtpm-mirror.service';
const HOOK = 'etc/libvirt/hooks/qemu.d/50-swtpm-mirror';
const CONFIG = 'etc/swtpm-mirror/config.toml';
const INSTALLATION = {
  node: '/usr/bin/node',
  program: '/opt/swtpm-mirror/main.cjs',
  config: '/etc/swtpm-mirror/config.toml',
  runDir: '/run/swtpm-mirror',
};

interface Report {
  readonly changes: readonly { readonly path: string; readonly action: string }[];
}

async function run(root: string, ...args: readonly string[]): Promise<ProgramResult> {
  return await runProgram([...args, '--root', root]);
}

/** What a run did, by path below the root. */
async function changes(root: string, ...args: readonly string[]): Promise<Record<string, string>> {
  const { status, stdout, stderr } = await run(root, ...args, '--json');
  if (status !== 0) throw new Error(stderr);
  const report = JSON.parse(stdout) as Report;
  return Object.fromEntries(report.changes.map(({ path, action }) => [path.slice(1), action]));
}

async function modeOf(root: string, path: string): Promise<string> {
  return ((await stat(join(root, path))).mode & 0o777).toString(8);
}

t.test(
  'a new host works on its share as nobody else, where it was told the share',
  { skip: process.getuid?.() !== 0 && 'only root can install' },
  async (t) => {
    const root = await temporaryDirectory(t);
    await mkdir(join(root, 'mnt/tpm'), { recursive: true });
    await chmod(root, 0o755);
    const tell = async (...args: readonly string[]): Promise<{ storage?: object }> => {
      const { stdout, stderr } = await run(root, 'install', '--share', '/mnt/tpm', '--json', ...args);
      t.equal(stderr, '');
      return JSON.parse(stdout) as { storage?: object };
    };
    t.match(await tell('--dry-run'), { storage: { uid: OWN_ID, why: /would be given/ } });
    t.strictSame(await readdir(root), ['mnt'], 'a dry run makes nothing');
    t.strictSame(await changes(root, 'install'), { [CONFIG]: 'made', [UNIT]: 'made', [HOOK]: 'made' });
    t.match(await tell(), {
      changes: [{ action: 'updated' }, { action: 'unchanged' }, { action: 'unchanged' }],
      storage: { uid: OWN_ID, gid: OWN_ID, why: /has been given/ },
    });
    const config = parseConfig(await readFile(join(root, CONFIG), 'utf8'), { hostName: 'a', path: '' });
    t.match(config, { share: '/mnt/tpm', storage: { uid: OWN_ID, gid: OWN_ID } });
    t.equal((await stat(join(root, 'mnt/tpm'))).uid, OWN_ID);
    const again = await run(root, 'install', '--share', '/mnt/other');
    t.match(again, { status: 2, stderr: /is there already/ }, 'an existing one is the operator’s');
    t.match(await changes(root, 'install'), { [CONFIG]: 'kept' });
  },
);

t.test('an installation is made once, and running it again changes nothing', async (t) => {
  const root = await temporaryDirectory(t);
  t.strictSame(await changes(root, 'install', '--dry-run'), {
    [CONFIG]: 'made',
    [UNIT]: 'made',
    [HOOK]: 'made',
  });
  t.strictSame(await readdir(root), [], 'a dry run makes nothing');
  t.strictSame(await changes(root, 'install'), { [CONFIG]: 'made', [UNIT]: 'made', [HOOK]: 'made' });
  t.strictSame(await changes(root, 'install'), {
    [CONFIG]: 'kept',
    [UNIT]: 'unchanged',
    [HOOK]: 'unchanged',
  });
  t.equal(await modeOf(root, CONFIG), '600');
  t.equal(await modeOf(root, UNIT), '644');
  t.equal(await modeOf(root, HOOK), '755');
  t.equal(await modeOf(root, 'etc/libvirt/hooks/qemu.d'), '755');
  t.equal(await modeOf(root, 'var/lib/swtpm-mirror'), '700');
  t.strictSame(await readdir(join(root, 'etc/libvirt/hooks')), ['qemu.d'], 'nothing else is left');
});

t.test(
  'it says what is to be done next: a reload makes libvirtd notice a first hook, and ends no VM',
  async (t) => {
    const { stdout } = await run(await temporaryDirectory(t), 'install');
    t.match(stdout, /systemctl reload libvirtd/);
    t.notMatch(stdout, /systemctl restart/);
    t.match(stdout, /systemctl enable --now swtpm-mirror/);
  },
);

/** In a mount namespace whose places of an installation are its own, with these options for the hooks'. */
async function installedWith(t: Test, options: string): Promise<{ result: CommandResult; hooks: string }> {
  const mounts = ['/etc/systemd', '/etc/swtpm-mirror', '/var/lib/swtpm-mirror', '/etc/libvirt'];
  const base = await temporaryDirectory(t);
  t.teardown(() => Promise.all(mounts.map((place) => rmdir(place).catch(() => undefined))));
  const script = `set -e
    for d in ${mounts.join(' ')}; do mkdir -p $d; mount -t tmpfs tmpfs $d; done
    mkdir /etc/libvirt/hooks
    mount -t tmpfs -o ${options} tmpfs /etc/libvirt/hooks
    status=0; ${process.execPath} ${await builtProgram()} install --program /opt/swtpm-mirror.cjs || status=$?
    find /etc/libvirt/hooks -type f >${join(base, 'hooks')}
    exit $status`;
  const result = await runCommand('unshare', ['--mount', 'sh', '-c', script]);
  return { result, hooks: await readFile(join(base, 'hooks'), 'utf8') };
}

t.test('a hook that the kernel does not execute is taken away again, loudly', async (t) => {
  const denied = await installedWith(t, 'noexec');
  t.match(denied.result, { status: 1, stderr: /HOOK_UNUSABLE: .*cannot be executed.*taken away again/ });
  t.equal(denied.hooks, '');
  const allowed = await installedWith(t, 'rw');
  t.match(allowed.result, { status: 0, stderr: '' });
  t.equal(allowed.hooks.trim(), `/${HOOK}`);
});

t.test('a newer version replaces its own work', async (t) => {
  const root = await temporaryDirectory(t);
  await run(root, 'install');
  await writeFile(join(root, HOOK), hookScript({ ...INSTALLATION, program: '/old/place.cjs' }));
  t.strictSame(await changes(root, 'install'), { [CONFIG]: 'kept', [UNIT]: 'unchanged', [HOOK]: 'updated' });
  t.notMatch(await readFile(join(root, HOOK), 'utf8'), '/old/place.cjs');
});

t.test('what somebody else wrote or edited is neither replaced nor removed', async (t) => {
  const root = await temporaryDirectory(t);
  await run(root, 'install');
  await appendFile(join(root, UNIT), '# edited\n');
  for (const command of ['install', 'uninstall']) {
    const { status, stderr } = await run(root, command);
    t.equal(status, 2, command);
    t.match(stderr, `${UNIT} was not written by this program, or was edited since`);
  }
  t.ok(await readFile(join(root, HOOK), 'utf8'), 'nothing was changed');
  const another = await temporaryDirectory(t);
  await mkdir(join(another, 'etc/libvirt/hooks/qemu.d'), { recursive: true });
  await writeFile(join(another, HOOK), '#!/bin/sh\nexit 0\n');
  t.equal((await run(another, 'install')).status, 2);
  t.strictSame(await readdir(join(another, 'etc')), ['libvirt']);
});

t.test('uninstall takes away unit and hook, and leaves configuration and state', async (t) => {
  const root = await temporaryDirectory(t);
  await run(root, 'install');
  t.strictSame(await changes(root, 'uninstall', '--dry-run'), {
    [CONFIG]: 'kept',
    [UNIT]: 'removed',
    [HOOK]: 'removed',
  });
  t.ok(await readFile(join(root, HOOK)));
  t.strictSame(await changes(root, 'uninstall'), { [CONFIG]: 'kept', [UNIT]: 'removed', [HOOK]: 'removed' });
  t.strictSame(await readdir(join(root, 'etc/libvirt/hooks')), []);
  t.strictSame(await readdir(join(root, 'var/lib')), ['swtpm-mirror']);
  t.strictSame(await changes(root, 'uninstall'), { [CONFIG]: 'kept' }, 'and again');
});

t.test('uninstall takes away what enabled the unit, and not what enabled another', async (t) => {
  const root = await temporaryDirectory(t);
  const wants = 'etc/systemd/system/multi-user.target.wants';
  await run(root, 'install');
  await mkdir(join(root, wants));
  const link = join(root, wants, 'swtpm-mirror.service');
  await symlink('/lib/systemd/system/swtpm-mirror.service', link);
  t.strictSame(await changes(root, 'uninstall'), { [CONFIG]: 'kept', [UNIT]: 'removed', [HOOK]: 'removed' });
  await rm(link);
  await run(root, 'install');
  await symlink(`/${UNIT}`, link);
  t.match(await changes(root, 'uninstall'), { [`${wants}/swtpm-mirror.service`]: 'removed' });
  t.strictSame(await readdir(join(root, wants)), []);
});

t.test('the hook as installed passes its arguments on as they are, with nothing on stdout', async (t) => {
  const root = await temporaryDirectory(t);
  await run(root, 'install', '--config', join(root, "it's a file.toml"));
  const input = domainXml({ uuid: UUID, name: '--version', devices: '' });
  const hook = join(root, HOOK);
  const { status, stdout, stderr } = await runCommand(hook, ['--version', 'prepare', 'begin', '-'], {
    input,
  });
  t.strictSame({ status, stdout: stdout.toString(), stderr }, { status: 0, stdout: '', stderr: '' });
  const managed = domainXml({ uuid: UUID, name: 'a b' });
  const refused = await runCommand(hook, ['a b', 'prepare', 'begin', '-'], { input: managed });
  t.match(refused, { status: 2, stderr: /CONFIG_INVALID: cannot read .+it's a file\.toml/ });
});

const XML = domainXml({ uuid: UUID, name: 'guest' });
const BARE = domainXml({ uuid: UUID, name: 'guest', devices: '' });
/** All that libvirt calls a hook for, in the order of a life. */
const OPERATIONS = [
  'migrate',
  'prepare',
  'start',
  'started',
  'reconnect',
  'attach',
  'stopped',
  'release',
  'restore',
];

/** An installed hook that calls what `node` is instead of Node. */
async function hookThatRuns(
  t: Test,
  node: string,
): Promise<(operation: string, xml: string) => Promise<CommandResult>> {
  const hook = join(await temporaryDirectory(t), 'hook');
  await writeFile(hook, hookScript({ ...INSTALLATION, node }), { mode: 0o755 });
  return (operation, input) => runCommand(hook, ['guest', operation, 'begin', '-'], { input });
}

t.test(
  'G8: without Node, or without the program, a domain with a TPM is refused with what to do',
  async (t) => {
    for (const node of ['/none/node', process.execPath]) {
      const run = await hookThatRuns(t, node);
      const { status, stdout, stderr } = await run('prepare', XML);
      t.not(status, 0);
      t.equal(stdout.toString(), '');
      t.match(
        stderr,
        /swtpm-mirror: HOOK_MISSING: .*main\.cjs cannot be run \(status \d+\)[^\n]*\n +bring them back; or take .*\/hook away/,
      );
      for (const operation of ['reconnect', 'attach']) {
        t.equal((await run(operation, XML)).status, 0, `a running domain survives ${operation}`);
      }
    }
  },
);

t.test('whatever is wrong with the program, a domain without a TPM starts', async (t) => {
  const run = await hookThatRuns(t, '/none/node');
  for (const operation of OPERATIONS) {
    const { status, stdout, stderr } = await run(operation, BARE);
    t.strictSame(
      { status, stdout: stdout.toString(), stderr },
      { status: 0, stdout: '', stderr: '' },
      operation,
    );
  }
});

t.test(
  'the program is run where there is something to do, with the whole XML, and nowhere else',
  async (t) => {
    const directory = await temporaryDirectory(t);
    const seen = join(directory, 'seen');
    const node = join(directory, 'node');
    await writeFile(node, `#!/bin/sh\necho "$7 $(md5sum)" >>${seen}\nexit 3\n`, { mode: 0o755 });
    const long = XML.replace('</metadata>', `${'<a/>'.repeat(300_000)}</metadata>`);
    const run = await hookThatRuns(t, node);
    for (const operation of OPERATIONS) await run(operation, long);
    await run('prepare', BARE);
    await run('release', BARE);
    const sum = (text: string): string => createHash('md5').update(text).digest('hex');
    const busy = ['migrate', 'prepare', 'started', 'reconnect', 'attach', 'release', 'restore'];
    t.strictSame((await readFile(seen, 'utf8')).trimEnd().split('\n'), [
      ...busy.map((operation) => `${operation} ${sum(long)}  -`),
      `prepare ${sum(BARE)}  -`,
    ]);
    t.equal((await run('prepare', XML)).status, 3, "its status is the hook's");
    t.equal((await run('reconnect', XML)).status, 0);
  },
);

t.test('the unit is one that systemd understands', async (t) => {
  const root = await temporaryDirectory(t);
  await run(root, 'install');
  const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', join(root, UNIT)], {
    encoding: 'utf8',
  });
  t.equal(
    stderr
      .split('\n')
      .filter((line) => line.includes('swtpm-mirror'))
      .join('\n'),
    '',
  );
  t.equal(status, 0, stderr);
});

t.test('paths of any characters are quoted for shell and systemd', async (t) => {
  const odd = { ...INSTALLATION, program: '/opt/a b/100%/$x/"q"/main.cjs' };
  t.match(unitFile(odd), 'ExecStart=/usr/bin/node "/opt/a b/100%%/$$x/\\"q\\"/main.cjs" agent --config');
  t.match(hookScript(odd), `set -- /usr/bin/node '/opt/a b/100%/$x/"q"/main.cjs' hook --config`);
});

t.test('a mark tells own work from what was edited', async (t) => {
  t.ok(isOwnWork(marked('a\nb\n')));
  t.ok(isOwnWork(marked('#!/bin/sh\na\n')));
  t.notOk(isOwnWork(marked('a\nb\n').replace('b', 'c')));
  t.notOk(isOwnWork('a\nb\n'));
});

t.test('the first configuration holds the defaults, key by key', async (t) => {
  const machine = { hostName: 'kvm-a' };
  t.strictSame(parseConfig(FIRST_CONFIG, machine), parseConfig('', machine), 'as it is');
  const switchedOn = parseConfig(FIRST_CONFIG.replaceAll(/^#(?=\w+ =)/gm, ''), machine);
  t.strictSame(
    { ...switchedOn, shareIsDefault: true },
    parseConfig('', machine),
    'and with every key switched on',
  );
  for (const [section, keys] of Object.entries(CONFIG_KEYS)) {
    const head = FIRST_CONFIG.indexOf(section === '' ? '#' : `\n[${section}]\n`);
    const [own = ''] = FIRST_CONFIG.slice(head + 1).split(/\n\[/);
    for (const key of keys.filter((key) => !(section === '' && key in CONFIG_KEYS))) {
      t.match(own, new RegExp(`^#?${key} = `, 'm'), `${section}.${key}`);
    }
  }
});
