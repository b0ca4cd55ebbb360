/**
 * The RPM, from its making to its removal, on a whole system of its own: systemd, rpm and libvirt's directories are real,
 * and nothing of the product was there.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { sha256 } from '../../../src/model/hash.js';
import { runChecked, runCommand, type CommandResult } from '../../fixtures/process.js';
import { SystemdHost } from '../../fixtures/systemd-host.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const NAME = 'swtpm-mirror';
const UNIT = `${NAME}.service`;
const LIB = `/usr/lib/${NAME}`;
const PROGRAM = `/usr/bin/${NAME}`;
const CONFIG = `/etc/${NAME}/config.toml`;
const STATE = `/var/lib/${NAME}`;
const HOOK = `/etc/libvirt/hooks/qemu.d/50-${NAME}`;
const NODE = '/usr/bin/node';
const PATIENT = { timeoutMs: 120_000 };
const EPOCH = '1767225600';
/** rpm's database is this test's alone, and knows no package of a Debian system. */
const RPM = ['rpm', '--force-debian', '--nodeps', '--dbpath', '/var/lib/rpm-of-the-test'];

async function makePackage(directory: string): Promise<string> {
  const options = { env: { SOURCE_DATE_EPOCH: EPOCH }, ...PATIENT };
  return (await runChecked(join(ROOT, 'scripts/package'), ['--rpm', directory], options)).toString().trim();
}

async function rpm(host: SystemdHost, ...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await host.run([...RPM, ...args], PATIENT);
  if (status !== 0) throw new Error(`rpm ${args.join(' ')}: ${stdout.toString()}${stderr}`);
  return stderr;
}

async function has(host: SystemdHost, path: string): Promise<boolean> {
  return (await host.run(['test', '-e', path])).status === 0;
}

async function text(host: SystemdHost, path: string): Promise<string> {
  return await host.exec(['cat', path]);
}

t.test('the same sources give the same package, and the two packages install the same files', async (t) => {
  const directory = await temporaryDirectory(t);
  const path = await makePackage(directory);
  t.equal(
    sha256(await readFile(path)),
    sha256(await readFile(await makePackage(await temporaryDirectory(t)))),
  );
  const deb = (await runChecked(join(ROOT, 'scripts/package'), [directory], PATIENT)).toString().trim();
  const inDeb = (await runChecked('dpkg-deb', ['--fsys-tarfile', deb], PATIENT)).toString('latin1');
  const files = (await runChecked('rpm', ['-qpl', path], PATIENT)).toString().trim().split('\n');
  const missing = files.filter(
    (file) => !inDeb.includes(`.${file.replace('site-functions', 'vendor-completions')}`),
  );
  t.strictSame(missing, []);
});

t.test('a Node that is too old, or none, is told before anything is installed', async (t) => {
  const directory = await temporaryDirectory(t);
  const path = await makePackage(directory);
  const script = (await runChecked('rpm', ['-qp', '--queryformat', '%{PREIN}', path], PATIENT)).toString();
  const node = join(directory, 'node');
  const verdictOn = async (says: string): Promise<CommandResult> => {
    await writeFile(node, `#!/bin/sh\n${says}\n`, { mode: 0o755 });
    return await runCommand('sh', ['-c', script.replaceAll(NODE, node)]);
  };
  for (const version of ['v20.19.0', 'v20.20.2', 'v22.0.0', 'v24.21.3', 'v100.1.0']) {
    t.match(await verdictOn(`echo ${version}`), { status: 0, stderr: '' }, version);
  }
  for (const version of ['v18.20.4', 'v20.18.9', 'v12.22.9', 'v4', 'something', '']) {
    const refused = await verdictOn(`echo '${version}'`);
    t.match(refused, { status: 1, stderr: /expected 20\.19 or newer.*\n.*dnf/ }, version);
  }
  t.match(await verdictOn('exit 127'), { status: 1, stderr: /is none, expected 20\.19/ });
});

t.test('installed, verified, upgraded and removed', async (t) => {
  const directory = await temporaryDirectory(t);
  const path = await makePackage(directory);
  const host = await SystemdHost.boot(t, [directory]);
  await host.exec(['rm', '-rf', PROGRAM, LIB, `/etc/${NAME}`, STATE, HOOK, '/usr/sbin/policy-rc.d']);
  if (!(await has(host, NODE))) await host.exec(['ln', '-s', process.execPath, NODE]);

  t.match(await rpm(host, '--install', path), /set the share in .*config\.toml/, 'it says what is next');
  const modes = await host.exec(['stat', '--format=%n %a %U:%G', CONFIG, HOOK, STATE, `${LIB}/${NAME}.cjs`]);
  t.strictSame(modes.split('\n'), [
    `${CONFIG} 600 root:root`,
    `${HOOK} 755 root:root`,
    `${STATE} 700 root:root`,
    `${LIB}/${NAME}.cjs 755 root:root`,
  ]);
  t.equal(await text(host, HOOK), await text(host, `${LIB}/libvirt-hook`));
  t.equal(await rpm(host, '--verify', NAME), '', 'every file is as it was made');

  await host.exec(['mkdir', '-p', '/srv/tpm']);
  await host.exec([PROGRAM, 'share', 'init', '/srv/tpm']);
  await host.write(CONFIG, 'share = "/srv/tpm"\n');
  await host.exec(['systemctl', 'enable', '--now', UNIT], PATIENT);
  t.match(JSON.parse(await host.exec([PROGRAM, 'status', '--json'])), { share: { state: 'online' } });
  const before = await host.show(UNIT, 'MainPID');

  await rpm(host, '--upgrade', '--replacepkgs', path);
  t.not(await host.show(UNIT, 'MainPID'), before, 'the agent was started anew');
  t.equal(await host.show(UNIT, 'ActiveState'), 'active');
  t.equal(await text(host, CONFIG), 'share = "/srv/tpm"', "the configuration is the operator's");
  t.ok(await has(host, HOOK), 'an upgrade leaves the hook');

  const kept = await text(host, `${STATE}/share.json`);
  t.match(await rpm(host, '--erase', NAME), 'VMs run on');
  for (const gone of [PROGRAM, HOOK, LIB]) t.notOk(await has(host, gone), gone);
  t.equal(await host.show(UNIT, 'ActiveState'), 'inactive');
  t.equal(await text(host, `${STATE}/share.json`), kept, 'state stays');
  t.ok(await has(host, '/srv/tpm/swtpm-mirror.json'), 'and so does the share');
});
