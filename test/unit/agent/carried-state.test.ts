import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { carriedUsed, readCarried } from '../../../src/agent/start/carried-state.js';
import { describeCapture, encodeBundle } from '../../../src/bundle/archive.js';
import type { CarriedState } from '../../../src/bundle/metadata-element.js';
import type { Capture } from '../../../src/model/capture.js';
import { contentDigest, sha256 } from '../../../src/model/hash.js';
import { parseHostName } from '../../../src/model/identifiers.js';
import { fakeSealing } from '../../fixtures/sealings.js';
import { NOTE, OTHER_UUID, tpmCapture, UUID } from '../../fixtures/tpm-captures.js';

const ENCODING = 'tar.gz+base64';
const TIME = '2026-11-20T10:00:00.000Z';

function carried(bundle: Uint8Array): CarriedState {
  const text = Buffer.from(bundle).toString('base64').replaceAll(/.{76}/g, '$&\n');
  return { encoding: ENCODING, text: `\n  ${text}\n` };
}

async function bundleOf(capture: Capture): Promise<Uint8Array> {
  const { domainName: name, ...note } = NOTE;
  const fields = { ...note, name, slot: 0, epoch: 0, parent: 0, host: parseHostName('kvm-z'), time: TIME };
  return await encodeBundle(describeCapture(capture, fields), capture);
}

t.test("a domain's own state is read, and tells where it is from", async (t) => {
  t.strictSame(await readCarried(UUID, undefined), { kind: 'none' });
  const capture = tpmCapture(7);
  const reading = await readCarried(UUID, carried(await bundleOf(capture)));
  t.match(reading, {
    kind: 'whole',
    capture: { digest: capture.digest },
    origin: { host: 'kvm-z', time: TIME },
  });
  if (reading.kind === 'whole') {
    t.match(carriedUsed(UUID, reading.origin).message, /kvm-z stored at 2026-11-20/);
    t.match(reading.capture.identity, /^[0-9a-f]{64}$/, 'as the state shows it');
  }
});

t.test("G6: another identity than the state's own is not believed", async (t) => {
  const reading = await readCarried(
    UUID,
    carried(await bundleOf({ ...tpmCapture(7), identity: 'f'.repeat(64) })),
  );
  t.equal(reading.kind === 'whole' && reading.capture.identity === 'f'.repeat(64), false);
});

t.test(
  'G6: what is no valid state of this very domain is unusable, and its content stands in no message',
  async (t) => {
    const whole = await bundleOf(tpmCapture(7));
    const flipped = Uint8Array.from(whole);
    const at = Math.floor(flipped.length / 2);
    flipped[at] = (flipped[at] ?? 0) ^ 0x40;
    const broken = tpmCapture(7);
    const files = broken.files.map((file) => {
      if (file.role === 'nvram') return file;
      const data = file.data.subarray(0, -1);
      return { ...file, data, sha256: sha256(data) };
    });
    const cases: readonly (readonly [what: string, state: CarriedState, code: string])[] = [
      ["another domain's", carried(await bundleOf(tpmCapture(7, OTHER_UUID))), 'CARRIED_INVALID'],
      [
        'a truncated TPM',
        carried(await bundleOf({ ...broken, files, digest: contentDigest(files) })),
        'STATE_INVALID',
      ],
      ['a damaged bundle', carried(flipped), 'GENERATION_DAMAGED'],
      ['half a bundle', carried(whole.subarray(0, whole.length / 2)), 'GENERATION_DAMAGED'],
      ['no bundle at all', carried(randomBytes(3000)), 'GENERATION_DAMAGED'],
      [
        'more than any bundle unpacks to',
        carried(gzipSync(Buffer.alloc(64 * 1024 * 1024))),
        'GENERATION_DAMAGED',
      ],
      ['an encrypted one', carried(await fakeSealing(['age1fake']).seal(whole)), 'KEY_MISSING'],
      ['no base64', { encoding: ENCODING, text: 'c2VjcmV0!' }, 'GENERATION_DAMAGED'],
      ['nothing', { encoding: ENCODING, text: '' }, 'GENERATION_DAMAGED'],
      ['another encoding', { encoding: 'rot13', text: 'c2VjcmV0' }, 'GENERATION_DAMAGED'],
    ];
    for (const [what, state, code] of cases) {
      const reading = await readCarried(UUID, state);
      t.match(reading, { kind: 'unusable', error: { code } }, what);
      if (reading.kind !== 'unusable') continue;
      const { message, next } = reading.error;
      for (let from = 0; from + 12 < state.text.length; from += 12) {
        const piece = state.text.slice(from, from + 12);
        if (`${message} ${next}`.includes(piece)) t.fail(`${what}: its content stands in the message`);
      }
    }
  },
);
