import t from 'tap';
import { checkVersion, judgeNoticed } from '../../../src/cli/doctor-libvirt.js';
import { checkMount } from '../../../src/cli/doctor-share.js';
import { parseConfig } from '../../../src/model/config.js';

const CONFIG = parseConfig('share = "/mnt/tpm"', { hostName: 'kvm-a' });
const ROOT = '22 1 8:1 / / rw - ext4 /dev/sda1 rw\n';

function verdictOn(options: string): string[] {
  const table = `${ROOT}40 22 0:45 / /mnt/tpm rw - nfs4 nas:/tpm ${options}\n`;
  return checkMount(CONFIG, table).map(({ verdict, message }) => `${verdict} ${message}`);
}

t.test('mounts that can lose or delay something are told', async (t) => {
  t.match(verdictOn('rw,vers=4.2,hard'), [/^ok .+NFS 4\.2, hard/, /^ok .+`sync` cannot be seen from here/]);
  t.match(verdictOn('rw,vers=4.2,soft'), [/^warning .+soft mount/, /`sync`/]);
  t.match(verdictOn('rw,vers=3,hard'), [/^ok .+NFS 3, which has no sessions/, /`sync`/]);
  t.match(verdictOn('rw,vers=4.0,soft'), [/soft mount/, /NFS 4\.0/, /`sync`/]);
  t.match(verdictOn('ro,vers=4.2,hard'), [/^problem .+read-only/]);
  t.match(checkMount(CONFIG, ROOT), [{ verdict: 'warning', message: /own root file system/ }]);
  const memory = `${ROOT}40 22 0:45 / /mnt/tpm rw - tmpfs tmpfs rw\n`;
  t.match(checkMount(CONFIG, memory), [{ verdict: 'warning', message: /is in memory/, next: /reboot/ }]);
  const alone = parseConfig('', { hostName: 'kvm-a' });
  t.match(checkMount(alone, ROOT), [{ verdict: 'warning', message: /this host alone/ }]);
});

t.test('a libvirt that does not run hooks in qemu.d is a problem', async (t) => {
  const using = (version: string): string =>
    `Using library: libvirt ${version}\nUsing API: QEMU ${version}\n`;
  t.match(checkVersion(using('9.0.0')), { verdict: 'ok', message: 'libvirt 9.0.0' });
  t.match(checkVersion(using('6.5.0')), { verdict: 'ok' });
  t.match(checkVersion(using('6.4.9')), { verdict: 'problem', code: 'LIBVIRT_FAILED' });
  t.match(checkVersion(using('5.9.0')), { verdict: 'problem' });
});

t.test("a hook that is newer than libvirt's daemon may never have been noticed", async (t) => {
  t.match(judgeNoticed(2_000, 1_000), { verdict: 'ok' });
  t.match(judgeNoticed(1_000, 2_000), { verdict: 'warning', next: /restart libvirtd/ });
  t.match(judgeNoticed(undefined, 2_000), { verdict: 'warning' });
});
