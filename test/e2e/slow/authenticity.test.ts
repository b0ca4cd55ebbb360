/**
 * Somebody who can write to the share puts a TPM of his own into a volume: nobody starts with it in silence.
 */
import { hostNamed } from '../../fixtures/host-identity.js';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { systemClock, systemRandom } from '../../../src/host/node-environment.js';
import { contentDigest, sha256 } from '../../../src/model/hash.js';
import { parseDomainUuid } from '../../../src/model/identifiers.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { createLocalShareStore } from '../../../src/volume/local-share-store.js';
import { makeKey } from '../../fixtures/age-keys.js';
import { DOMAIN, Guest, mustRun, OTHER_DOMAIN } from '../../fixtures/guest.js';
import { isRefused } from '../../fixtures/refused-start.js';
import { Site } from '../../fixtures/site.js';
import { readStateBlob } from '../../fixtures/state-blobs.js';

const VALUE = Buffer.from('worth keeping');

/** A TPM of the attacker's making, put into the domain's volume in good order: claim, generation, release. */
async function plant(site: Site): Promise<void> {
  const store = createLocalShareStore({
    fs: new NodeFileSystem(),
    root: site.share,
    self: hostNamed('kvm-mallory'),
    clock: systemClock,
    random: systemRandom,
  });
  const uuid = parseDomainUuid(DOMAIN);
  const claim = await store.claim({
    uuid,
    reason: 'start',
    scope: 'free',
    hostExpiryMs: 30_000,
    revive: false,
    shareId: undefined,
  });
  if (claim.kind !== 'claimed') throw new Error(`the volume is ${claim.kind}`);
  const { epoch } = claim;
  const { role, name, data } = readStateBlob('fresh-b.permall');
  const file = { role, name, mode: 0o600, mtimeNs: 1n, data, sha256: sha256(data) };
  const capture = { uuid, files: [file], digest: contentDigest([file]), identity: undefined };
  const note = { domainName: 'vm', reason: 'change', bootId: 'boot', swtpm: '', libtpms: '' } as const;
  await store.publish({ uuid, epoch, slot: epoch + 1, parent: 0, capture, note });
  await store.closeEpoch({ uuid, kind: 'release', epoch, slot: epoch + 2, reason: 'shutdown' });
  await store.leave({});
  await rm(join(site.share, 'hosts', 'kvm-mallory'), { recursive: true });
}

t.test(
  'a generation of another TPM, with a claim and a release of a host that does not exist, is refused and told',
  async (t) => {
    const site = await Site.create(t);
    const own = await makeKey(site.base, 'own');
    const encryption = { recipients: [own.recipient], identity_file: own.file };
    const a = await site.host('kvm-a', { encryption });
    const guest = await Guest.start(t, a);
    await guest.keep(VALUE);
    await guest.stop();
    const { slot } = await site.volumeOf(guest).expectHead();

    // In the clear: he knows no key, and no recipient.
    await plant(site);
    await isRefused(t, a, {
      status: 3,
      code: 'PLAIN_REFUSED',
      says: /stored in the clear/,
      next: /accept_plain/,
    });
    const verified = await a.run(['verify', DOMAIN]);
    t.not(verified.status, 0);
    t.match(verified.stdout, /stored in the clear/);
    t.match(verified.stdout, /kvm-mallory.* has no record on the share/);
    t.match((await a.run(['status', '--all-hosts'])).stdout, /stored in the clear|PLAIN_REFUSED/);
    t.match(await mustRun(a, ['history', DOMAIN, '--all']), /kvm-mallory.*no record on the share/);

    // While a change-over accepts it, it is another TPM all the same.
    await a.configure({ encryption: { ...encryption, accept_plain: true } });
    await isRefused(t, a, {
      status: 3,
      code: 'FOREIGN_TPM',
      says: /written as host kvm-mallory .*another TPM than the one that this host knows/,
      next: /resolve .* --keep head/,
    });

    // The former TPM comes back by the operator's word.
    await mustRun(a, ['rollback', DOMAIN, String(slot)]);
    const again = await Guest.start(t, a);
    t.strictSame(await again.read(VALUE.length), VALUE);
    await again.stop();
  },
);

t.test(
  "an operator's replacement reaches a host that knows the former TPM by resolve, and no other way",
  async (t) => {
    const site = await Site.create(t);
    const a = await site.host('kvm-a');
    const b = await site.host('kvm-b');
    const guest = await Guest.start(t, a);
    await guest.keep(VALUE);
    await guest.stop();
    const onB = await Guest.start(t, b);
    await onB.stop();
    const other = await Guest.start(t, b, { uuid: OTHER_DOMAIN });
    await other.keep(Buffer.from('replacement'));
    await other.stop();
    const file = join(site.base, 'replacement');
    await mustRun(b, ['export', OTHER_DOMAIN, file]);
    await mustRun(b, ['import', file, '--as', DOMAIN, '--yes']);

    const here = await Guest.start(t, b);
    t.equal((await here.read(11)).toString(), 'replacement', 'the host on which it was said goes on at once');
    await here.stop();
    await isRefused(t, a, { status: 3, code: 'FOREIGN_TPM', says: /kvm-b/, next: /resolve .* --keep head/ });
    await mustRun(a, ['resolve', DOMAIN, '--keep', 'head']);
    const there = await Guest.start(t, a);
    t.equal((await there.read(11)).toString(), 'replacement');
    await there.stop();
  },
);
