/**
 * The unit as `install` writes it, under a real systemd with a real libvirtd.service.
 */
import { dirname, join } from 'node:path';
import t from 'tap';
import { domainXml } from '../../fixtures/domain-xml.js';
import { PROGRAM, SystemdHost } from '../../fixtures/systemd-host.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const UNIT = 'swtpm-mirror.service';
const DROP_IN = `/etc/systemd/system/${UNIT}.d/test.conf`;
const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const NAME = 'guest';
const PERMALL = `/var/lib/libvirt/swtpm/${UUID}/tpm2/tpm2-00.permall`;
const TIMEOUT_MS = 60_000;

async function define(host: SystemdHost): Promise<void> {
  await host.write('/root/domain.xml', domainXml({ uuid: UUID, name: NAME }));
  await host.exec(['virsh', '--quiet', 'define', '/root/domain.xml']);
}

t.test(
  'it is ready when it serves, libvirtd starts after it, and its confinement allows the work',
  async (t) => {
    const host = await SystemdHost.start(t);
    await host.exec(['systemctl', 'enable', UNIT]);
    await host.exec(['systemctl', 'start', 'libvirtd.service', UNIT]);
    t.match(
      await host.program('status', '--json'),
      { status: 0 },
      'it serves as soon as it counts as started',
    );
    t.equal(await host.show(UNIT, 'Type'), 'notify');
    const analysed = await host.run(['systemd-analyze', 'security', '--no-pager', UNIT]);
    const [, exposure] = /Overall exposure level for \S+: (\d+\.\d)/.exec(analysed.stdout.toString()) ?? [];
    t.ok(Number(exposure) <= 3, `exposure ${String(exposure)}, at most 3.0`);
    t.match(await host.show(UNIT, 'StatusText'), /^0 domains run here, share online$/);
    const started = async (unit: string): Promise<number> =>
      Number(await host.show(unit, 'ActiveEnterTimestampMonotonic'));
    t.ok((await started(UNIT)) <= (await started('libvirtd.service')));

    await define(host);
    await host.exec(['virsh', '--quiet', 'start', NAME]);
    const published = async (): Promise<true | undefined> => {
      const { stdout } = await host.program('history', UUID, '--json');
      return (JSON.parse(stdout.toString() || '[]') as unknown[]).length > 0 ? true : undefined;
    };
    await waitUntil('the running state to be published', TIMEOUT_MS, published);
    await host.exec(['virsh', '--quiet', 'destroy', NAME]);
    const left = await host.exec(['sha256sum', PERMALL]);
    await host.exec(['virsh', '--quiet', 'undefine', '--nvram', NAME]);
    await define(host);
    await host.exec(['virsh', '--quiet', 'start', '--paused', NAME]);
    t.equal(await host.exec(['sha256sum', PERMALL]), left, 'the same state');

    await host.exec(['systemctl', 'stop', UNIT]);
    t.equal(await host.show(UNIT, 'Result'), 'success');
    t.equal(await host.show(UNIT, 'ActiveState'), 'inactive');
    t.equal(await host.exec(['virsh', '--quiet', 'domstate', NAME]), 'paused');
  },
);

t.test('it shows signs of life, and a stuck one is started anew', async (t) => {
  const host = await SystemdHost.start(t);
  await host.write(DROP_IN, '[Service]\nWatchdogSec=3s\nTimeoutAbortSec=1s\n');
  await host.exec(['systemctl', 'daemon-reload']);
  await host.exec(['systemctl', 'start', UNIT]);
  const pid = await host.show(UNIT, 'MainPID');
  const beat = await host.show(UNIT, 'WatchdogTimestampMonotonic');
  await waitUntil('two signs of life', TIMEOUT_MS, async () =>
    Number(await host.show(UNIT, 'WatchdogTimestampMonotonic')) > Number(beat) + 2_000_000 ? true : undefined,
  );
  t.equal(await host.show(UNIT, 'NRestarts'), '0');
  await host.exec(['kill', '-STOP', pid]);
  await waitUntil('another agent', TIMEOUT_MS, async () =>
    (await host.show(UNIT, 'ActiveState')) === 'active' && (await host.show(UNIT, 'MainPID')) !== pid
      ? true
      : undefined,
  );
  t.match(await host.program('status', '--json'), { status: 0 });
});

t.test('what uninstall says to do next ends the agent for good', async (t) => {
  const host = await SystemdHost.start(t);
  await host.exec(['systemctl', 'enable', '--now', UNIT]);
  const { status, stdout } = await host.program('uninstall');
  t.equal(status, 0);
  const [first = ''] = /next:\n(.*)\n/.exec(stdout.toString())?.slice(1) ?? [];
  const steps = [...first.matchAll(/`(systemctl [^`]+)`/g)].map(([, step]) => step ?? '');
  t.equal(steps.length, 2);
  for (const step of steps) await host.exec(step.split(' '));
  t.equal(await host.show(UNIT, 'ActiveState'), 'inactive');
  t.equal(await host.show(UNIT, 'LoadState'), 'not-found');
  t.equal((await host.run(['find', '/etc/systemd/system', '-name', UNIT])).stdout.toString(), '');
});

t.test('with a configuration that it cannot use it says so once, and is not tried again', async (t) => {
  const host = await SystemdHost.start(t);
  await host.write('/etc/swtpm-mirror/config.toml', 'shore = "/mnt/tpm"\n');
  t.not((await host.run(['systemctl', 'start', UNIT])).status, 0);
  t.equal(await host.show(UNIT, 'ActiveState'), 'failed');
  t.equal(await host.show(UNIT, 'NRestarts'), '0');
  t.match(await host.exec(['journalctl', '--no-pager', '--unit', UNIT]), /CONFIG_INVALID: .*shore/);
});

t.test('a program that the service would not see is not installed', async (t) => {
  const host = await SystemdHost.boot(t);
  for (const place of ['/tmp/build', '/var/tmp/build']) {
    await host.exec(['cp', '-r', dirname(PROGRAM), place]);
    const { status, stderr } = await host.run([process.execPath, join(place, 'swtpm-mirror.cjs'), 'install']);
    t.equal(status, 2);
    t.match(stderr, /would not find .*swtpm-mirror\.cjs: it has a \/tmp of its own\n.*\/opt/);
  }
});
