/**
 * A share whose generations are encrypted: a TPM outlives its host as in the clear, where the key is; where it is not, the start is refused.
 */
import { chmod, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { makeKey, openByHand } from '../../fixtures/age-keys.js';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import { isError, isRefused } from '../../fixtures/refused-start.js';
import { Site } from '../../fixtures/site.js';

const VALUE = Buffer.from('worth keeping');
const MEMBER = 'tpm2/tpm2-00.permall';
const FOREIGN = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p';

t.test('G8: a TPM outlives its host in an encrypted volume, and nobody without a key gets it', async (t) => {
  const site = await Site.create(t);
  const [own, escrow, other] = [
    await makeKey(site.base, 'own'),
    await makeKey(site.base, 'escrow'),
    await makeKey(site.base, 'other'),
  ];
  const recipients = [own.recipient, escrow.recipient];
  const a = await site.host('kvm-a', { encryption: { recipients, identity_file: own.file } });
  t.match(await mustRun(a, ['share', 'escrow', escrow.recipient]), escrow.recipient);
  const guest = await Guest.start(t, a);
  await guest.keep(VALUE);
  await guest.stop();
  const permall = await guest.permall();

  const volume = site.volumeOf(guest);
  const archive = join(volume.log, String((await volume.expectHead()).slot).padStart(8, '0'));
  t.match((await readFile(archive, 'latin1')).slice(0, 22), 'age-encryption.org/v1\n');
  for (const key of [own, escrow]) {
    t.strictSame(await openByHand(key, archive, MEMBER), permall, 'age and tar open it without the program');
  }
  t.equal(await openByHand(other, archive, MEMBER), undefined);
  t.match(await mustRun(a, ['verify', DOMAIN]), /: \d+ checked, 0 damaged\n$/);

  // In the clear, without a key, with another key: nobody starts a blank TPM.
  const plain = await site.host('kvm-plain');
  const keyless = await site.host('kvm-keyless', { encryption: { recipients } });
  const wrong = await site.host('kvm-wrong', { encryption: { recipients, identity_file: other.file } });
  for (const host of [plain, keyless, wrong]) {
    await isRefused(t, host, {
      status: 3,
      code: 'KEY_MISSING',
      says: /the state is encrypted for recipients [0-9a-f]{16}, and /,
      next: /bring the identity that opens it to this host/,
    });
    const verified = await host.run(['verify', DOMAIN]);
    t.equal(verified.status, 0, 'what it cannot open, it calls damaged only where that shows');
    t.match(verified.stdout, / 0 damaged\n {2}\d+ of them by their structure alone: no key of this host/);
  }
  const doctor = await wrong.run(['doctor']);
  t.match(
    doctor.stdout,
    /^NO {2}keys: generations are encrypted for .+, none of which is of a key in .+\n {4}bring/m,
  );
  t.match((await plain.run(['doctor'])).stdout, /^NO {2}escrow: share .+ takes only what is encrypted for /m);

  const b = await site.host('kvm-b', { encryption: { recipients, identity_file: own.file } });
  t.match((await b.run(['doctor'])).stdout, /^ok {2}keys: .+, and this host opens them$/m);
  const moved = await Guest.start(t, b);
  t.strictSame(await moved.read(VALUE.length), VALUE);
  await moved.stop();
  t.strictSame((await readdir(b.stateDirectory)).includes('own.key'), false);
});

t.test(
  'a key that others may read, a cut recipient, and state in the clear beside encryption are refused',
  async (t) => {
    const site = await Site.create(t);
    const own = await makeKey(site.base, 'own');
    const encryption = { recipients: [own.recipient], identity_file: own.file };
    const host = await site.host('kvm-a', { encryption });
    await chmod(own.file, 0o644);
    isError(t, await host.run(['domain', 'prepare', DOMAIN]), {
      status: 2,
      code: 'KEY_UNUSABLE',
      says: /mode 644: others than its owner may read the key/,
      next: /chmod 600/,
    });
    t.match((await host.run(['doctor'])).stdout, /^NO {2}keys: .+mode 644/m);
    await chmod(own.file, 0o600);

    await host.configure({ encryption: { recipients: [`${FOREIGN.slice(0, -1)}q`] } });
    const agent = await host.run(['agent']);
    isError(t, agent, { status: 2, code: 'KEY_UNUSABLE', says: /no age recipient/, next: /age-keygen -y/ });

    await host.configure({ '': { placement: 'direct' }, encryption });
    isError(t, await host.run(['status']), {
      status: 2,
      code: 'CONFIG_INVALID',
      says: /placement is "direct" and encryption\.recipients is set/,
      next: /./,
    });
  },
);
