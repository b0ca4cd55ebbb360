import t from 'tap';
import { judgeRuns, lastDenial } from '../../../src/cli/doctor-hook.js';
import { checkVersion } from '../../../src/cli/doctor-libvirt.js';
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

t.test('what the mount lets others plant is told, and is no fault', async (t) => {
  const told = (options: string): string =>
    verdictOn(options).find((line) => line.includes('nosymfollow') || line.includes('no link')) ?? '';
  t.match(told('rw,vers=4.2,hard'), /^ok .+mounted without `nosymfollow,nodev,nosuid`/);
  t.match(told('rw,nodev,nosuid,hard'), /^ok .+mounted without `nosymfollow`/);
  t.match(told('rw,nosymfollow,nodev,nosuid,hard'), /^ok .+lets no link, device or suid file work/);
});

t.test('a libvirt that does not run hooks in qemu.d is a problem', async (t) => {
  const using = (version: string): string =>
    `Using library: libvirt ${version}\nUsing API: QEMU ${version}\n`;
  t.match(checkVersion(using('9.0.0')), { verdict: 'ok', message: 'libvirt 9.0.0' });
  t.match(checkVersion(using('6.5.0')), { verdict: 'ok' });
  t.match(checkVersion(using('6.4.9')), { verdict: 'problem', code: 'LIBVIRT_FAILED' });
  t.match(checkVersion(using('5.9.0')), { verdict: 'problem' });
});

t.test(
  'a hook runs if the daemon that runs now was seen to run it, and nothing else proves it',
  async (t) => {
    const at = '2026-11-30T15:00:00.000Z';
    const runs = { verdict: 'runs', why: '' } as const;
    for (const name of ['libvirtd', 'virtqemud'] as const) {
      const daemon = { daemon: name, pid: 711, startTime: '8123' };
      const seen = { ...daemon, at };
      for (const isOlder of [true, false]) {
        const facts = { daemon, seen, probe: runs, isOlder };
        t.match(judgeRuns(facts), { verdict: 'ok', message: `${name} (process 711) was seen to run it` });
        for (const other of [undefined, { ...seen, pid: 712 }, { ...seen, startTime: '9000' }]) {
          const found = judgeRuns({ ...facts, seen: other });
          t.match(found, { verdict: 'warning', message: /^not proved yet/ });
          t.equal(found.next?.includes(`systemctl reload ${name}`), !isOlder);
        }
        const denied = judgeRuns({ ...facts, probe: { verdict: 'denied', why: 'EACCES' } });
        t.match(denied, {
          verdict: 'problem',
          code: 'HOOK_UNUSABLE',
          message: /EACCES/,
          next: /do not restart/,
        });
      }
    }
    const unseen = { daemon: undefined, seen: undefined, probe: runs, isOlder: false };
    t.match(judgeRuns(unseen), { verdict: 'warning', message: /^not proved/ });
  },
);

t.test('of what SELinux denied, the last that concerns the hook is told', async (t) => {
  const denial =
    'type=AVC msg=audit(1:2): avc:  denied  { execute } for  pid=7 comm="rpc-virtqemud" name="50-swtpm-mirror" tclass=file';
  t.match(
    lastDenial(`type=AVC msg=audit(0:1): avc:  denied  { read } for pid=1 name="x"\n${denial}\n`),
    /^avc: .*execute/,
  );
  t.equal(lastDenial('type=AVC msg=audit(0:1): avc:  denied  { read } for pid=1 name="x"\n'), undefined);
  t.equal(lastDenial(''), undefined);
});
