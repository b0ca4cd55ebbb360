/**
 * The Debian package, from its making to its purge, on a whole system of its own: systemd, dpkg and libvirt's directories are real, and nothing of the product was there.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { hookScript } from '../../../src/cli/install-files.js';
import { sha256 } from '../../../src/model/hash.js';
import { runChecked } from '../../fixtures/process.js';
import { domainXml } from '../../fixtures/domain-xml.js';
import { PROGRAM as BUILD, SystemdHost } from '../../fixtures/systemd-host.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const NAME = 'swtpm-mirror';
const DOMAIN = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const UNIT = `${NAME}.service`;
const LIB = `/usr/lib/${NAME}`;
const PROGRAM = `/usr/bin/${NAME}`;
const CONFIG = `/etc/${NAME}/config.toml`;
const STATE = `/var/lib/${NAME}`;
const HOOK = `/etc/libvirt/hooks/qemu.d/50-${NAME}`;
const FOREIGN_HOOK = '/etc/libvirt/hooks/qemu';
const EARLIER_UNIT = `/etc/systemd/system/${UNIT}`;
const ENABLED = `/etc/systemd/system/multi-user.target.wants/${UNIT}`;
/** It starts and stops services, on a busy machine. */
const PATIENT = { timeoutMs: 120_000 };
const EPOCH = '1767225600';

async function makePackage(directory: string): Promise<string> {
  const options = { env: { SOURCE_DATE_EPOCH: EPOCH }, ...PATIENT };
  return (await runChecked(join(ROOT, 'scripts/package'), [directory], options)).toString().trim();
}

/** The same package as an earlier version: another hook, and another first configuration. */
async function earlierOf(path: string, directory: string): Promise<string> {
  const tree = join(directory, 'tree');
  await runChecked('dpkg-deb', ['--raw-extract', path, tree]);
  const control = join(tree, 'DEBIAN/control');
  await writeFile(control, (await readFile(control, 'utf8')).replace(/^Version: .*$/m, 'Version: 0.0.1'));
  const earlier = {
    node: '/usr/bin/nodejs',
    program: `${LIB}/${NAME}.cjs`,
    config: CONFIG,
    runDir: `/run/${NAME}`,
  };
  await writeFile(join(tree, LIB, 'libvirt-hook'), hookScript(earlier));
  await writeFile(join(tree, CONFIG), '# the first configuration of an earlier version\n');
  await runChecked('sed', ['-i', '/libvirt-hook$/d', join(tree, 'DEBIAN/md5sums')]);
  const made = join(directory, 'earlier.deb');
  await runChecked('dpkg-deb', ['--root-owner-group', '--build', tree, made]);
  return made;
}

/** What this machine got otherwise than as a package, the package may still depend on. */
async function provideNode(directory: string, host: SystemdHost): Promise<void> {
  const { stdout } = await host.run(['dpkg-query', '--show', '--showformat=${db:Status-Status}', 'nodejs']);
  if (stdout.toString() === 'installed') return;
  const tree = join(directory, 'nodejs');
  const control = `Package: nodejs\nVersion: ${process.versions.node}\nArchitecture: all\nMaintainer: test <test@localhost>\nDescription: stands in for Node\n`;
  await runChecked('mkdir', ['-p', join(tree, 'DEBIAN')]);
  await writeFile(join(tree, 'DEBIAN/control'), control);
  await runChecked('dpkg-deb', ['--root-owner-group', '--build', tree, join(directory, 'nodejs.deb')]);
  await host.exec(['dpkg', '-i', join(directory, 'nodejs.deb')]);
  await host.exec(['sh', '-c', '[ -e /usr/bin/node ] || ln -s "$0" /usr/bin/node', process.execPath]);
}

interface Site {
  readonly host: SystemdHost;
  readonly earlier: string;
  readonly current: string;
}

async function cleanSystem(t: TestScope): Promise<Site> {
  const directory = await temporaryDirectory(t);
  const current = await makePackage(directory);
  const earlier = await earlierOf(current, directory);
  const host = await SystemdHost.boot(t, [directory]);
  const remains = [PROGRAM, LIB, `/etc/${NAME}`, STATE, HOOK, EARLIER_UNIT, ENABLED, '/usr/sbin/policy-rc.d'];
  await host.exec(['rm', '-rf', ...remains]);
  await provideNode(directory, host);
  return { host, earlier, current };
}

/** @returns what it told its user */
async function dpkg(host: SystemdHost, ...args: readonly string[]): Promise<string> {
  const options = ['--no-triggers', '--force-confdef', '--force-confold'];
  const { status, stdout, stderr } = await host.run(['dpkg', ...options, ...args], PATIENT);
  if (status !== 0) throw new Error(`dpkg ${args.join(' ')}: ${stdout.toString()}${stderr}`);
  return stderr;
}

async function has(host: SystemdHost, path: string): Promise<boolean> {
  return (await host.run(['test', '-e', path])).status === 0;
}

async function text(host: SystemdHost, path: string): Promise<string> {
  return await host.exec(['cat', path]);
}

t.test('the same sources give the same package', async (t) => {
  const digests = new Set<string>();
  for (let count = 0; count < 2; count++) {
    digests.add(sha256(await readFile(await makePackage(await temporaryDirectory(t)))));
  }
  t.equal(digests.size, 1);
});

t.test('installed, upgraded, removed and purged', async (t) => {
  const { host, earlier, current } = await cleanSystem(t);
  await host.write(FOREIGN_HOOK, '#!/bin/sh\nexit 0\n');
  const foreign = await text(host, FOREIGN_HOOK);

  t.match(await dpkg(host, '-i', earlier), /set the share in .*config\.toml/, 'it says what is next');
  const modes = await host.exec([
    'stat',
    '--format=%n %a %U:%G',
    PROGRAM,
    CONFIG,
    HOOK,
    STATE,
    `${LIB}/${NAME}.cjs`,
  ]);
  t.strictSame(modes.split('\n'), [
    `${PROGRAM} 777 root:root`,
    `${CONFIG} 600 root:root`,
    `${HOOK} 755 root:root`,
    `${STATE} 700 root:root`,
    `${LIB}/${NAME}.cjs 755 root:root`,
  ]);
  t.equal(await text(host, HOOK), await text(host, `${LIB}/libvirt-hook`));
  t.equal(await host.show(UNIT, 'ActiveState'), 'inactive', 'no agent before there is a share');
  t.equal(await host.show(UNIT, 'UnitFileState'), 'disabled');

  await host.exec(['mkdir', '-p', '/srv/tpm']);
  await host.exec([PROGRAM, 'share', 'init', '/srv/tpm']);
  await host.write(CONFIG, 'share = "/srv/tpm"\n');
  await host.exec(['systemctl', 'enable', '--now', UNIT], PATIENT);
  t.match(JSON.parse(await host.exec([PROGRAM, 'status', '--json'])), {
    share: { path: '/srv/tpm', state: 'online' },
  });
  const before = await host.show(UNIT, 'MainPID');

  await dpkg(host, '-i', current);
  const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  t.equal(await host.exec([PROGRAM, '--version']), version);
  t.equal(
    await host.exec(['dpkg-query', '--show', '--showformat=${Version} ${db:Status-Status}', NAME]),
    `${version} installed`,
  );
  t.equal(await text(host, CONFIG), 'share = "/srv/tpm"', "the configuration is the operator's");
  t.match(
    await host.exec(['sh', '-c', `dpkg --verify ${NAME} || true`]),
    /^(\S+ c [^\n]+)?$/,
    'every file is as it was made',
  );
  t.equal(await text(host, HOOK), await text(host, `${LIB}/libvirt-hook`), 'the hook is the new one');
  t.not(await host.show(UNIT, 'MainPID'), before, 'the agent was started anew');
  t.equal(await host.show(UNIT, 'ActiveState'), 'active');
  const { findings } = JSON.parse((await host.run([PROGRAM, 'doctor', '--json'])).stdout.toString()) as {
    findings: { check: string; verdict: string; message: string }[];
  };
  for (const check of ['share', 'versions', 'state_dir', 'agent', 'configuration']) {
    t.match(
      findings.find((finding) => finding.check === check),
      { verdict: 'ok' },
      check,
    );
  }
  t.match(await host.run([PROGRAM, 'install']), { status: 2, stderr: /installed by a package/ });

  await host.exec(['systemctl', 'start', 'libvirtd.service'], PATIENT);
  await host.write('/root/domain.xml', domainXml({ uuid: DOMAIN, name: 'web-1' }));
  await host.exec(['virsh', '--quiet', 'define', '/root/domain.xml']);
  await host.exec(['virsh', '--quiet', 'start', '--paused', 'web-1'], PATIENT);
  await host.exec([PROGRAM, 'capture', 'web-1']);
  const history = JSON.parse(await host.exec([PROGRAM, 'history', 'web-1', '--json'])) as unknown[];
  t.not(history.length, 0, 'a real VM started through the hook, and has its state on the share');

  const kept = await text(host, `${STATE}/share.json`);
  t.match(await dpkg(host, '-r', NAME), 'VMs run on');
  t.notOk(await has(host, HOOK), 'no hook that cannot run');
  t.equal(await host.show(UNIT, 'ActiveState'), 'inactive');
  t.equal(await host.exec(['virsh', '--quiet', 'domstate', 'web-1']), 'paused', 'the VM is there as before');
  t.equal(await text(host, CONFIG), 'share = "/srv/tpm"');
  t.match(await dpkg(host, '-P', NAME), `${STATE} stays`);
  for (const path of [PROGRAM, LIB, `/etc/${NAME}`, ENABLED]) t.notOk(await has(host, path), path);
  t.equal(await text(host, `${STATE}/share.json`), kept, 'state stays');
  t.ok(await has(host, '/srv/tpm/swtpm-mirror.json'), 'and so does the share');
  t.equal(await text(host, FOREIGN_HOOK), foreign);
});

t.test('what somebody edited stays, and what `swtpm-mirror install` wrote gives way', async (t) => {
  const { host, current } = await cleanSystem(t);
  await host.exec([process.execPath, BUILD, 'install']);
  t.ok(await has(host, EARLIER_UNIT));
  await dpkg(host, '-i', current);
  t.notOk(await has(host, EARLIER_UNIT), 'the unit is that of the package');
  t.match(await host.show(UNIT, 'FragmentPath'), `/lib/systemd/system/${UNIT}`);
  t.equal(await text(host, HOOK), await text(host, `${LIB}/libvirt-hook`));

  await host.exec(['sh', '-c', `echo '# edited' >>${HOOK}`]);
  const edited = await text(host, HOOK);
  t.match(await dpkg(host, '-i', current), /was edited since; it stays/);
  t.equal(await text(host, HOOK), edited);
  t.match(await dpkg(host, '-r', NAME), /was edited, and stays/);
  t.equal(await text(host, HOOK), edited);
});
