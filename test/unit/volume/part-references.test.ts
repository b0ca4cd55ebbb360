/**
 * What did not change beside a TPM is written once in an epoch: what follows has a reference, which leads to it whatever
 * is pruned, pinned, lost to another host, encrypted or exported.
 */
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { injectAt } from '../../sim/injection.js';
import { referring } from '../../../src/agent/share/part-references.js';
import type { Capture, PartRole, StateFile } from '../../../src/model/capture.js';
import { compareStateFiles, partFileName } from '../../../src/model/capture.js';
import { wholeContent, withoutTail } from '../../../src/model/content.js';
import { parseGenerationName } from '../../../src/model/generation-name.js';
import { contentDigest, sha256 } from '../../../src/model/hash.js';
import { parseSnapshotName } from '../../../src/model/identifiers.js';
import type { ShareService } from '../../../src/volume/share-administration.js';
import { decodeState, encodeState } from '../../../src/cli/state-formats.js';
import type { Compressor } from '../../../src/bundle/ovirt.js';
import { fakeSealing } from '../../fixtures/sealings.js';
import { PLAIN_TPM2_FIXTURES, readStateBlob } from '../../fixtures/state-blobs.js';
import { NOTE, UUID } from '../../fixtures/tpm-captures.js';
import { fetchHead, hold, type Hold } from '../../fixtures/volume-steps.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';

const TPMS = PLAIN_TPM2_FIXTURES.map((fixture) => readStateBlob(fixture));
const VOLUME = `${SHARE}/volumes/${UUID}`;
const COMPRESSOR: Compressor = {
  compress: () => Promise.reject(new Error('not used')),
  decompress: () => Promise.reject(new Error('not used')),
};

interface State {
  readonly tpm: number;
  /** None: the domain has a TPM alone. */
  readonly variables: string | undefined;
  readonly role?: PartRole;
}

function captureOf({ tpm, variables, role = 'nvram' }: State, mode = 0o600): Capture {
  const { data, name } = TPMS[tpm % TPMS.length] ?? readStateBlob('used.permall');
  const files: StateFile[] = [{ role: 'tpm2', name, mode: 0o600, mtimeNs: 1n, data, sha256: sha256(data) }];
  if (variables !== undefined) {
    const bytes = Buffer.concat([
      Buffer.from(variables),
      Buffer.alloc(variables.length === 5 ? 2 << 20 : 9, 0xff),
    ]);
    const owner = { uid: 7, gid: 8, user: 'qemu', group: 'kvm' };
    const part = { role, name: partFileName(role), mode, mtimeNs: 2n, ...withoutTail(bytes), owner };
    files.push({ ...part, sha256: sha256(bytes) });
  }
  files.sort(compareStateFiles);
  return { uuid: UUID, files, digest: contentDigest(files), identity: undefined };
}

function contentOf({ files }: Capture): object[] {
  return files.map((file) => {
    const { role, name, mode, mtimeNs, owner, in: reference } = file;
    return {
      role,
      name,
      mode,
      mtimeNs,
      owner,
      reference,
      data: Buffer.from(wholeContent(file)).toString('base64'),
    };
  });
}

/** @returns the slot; `undefined` for a host that is fenced */
async function publish(held: Hold, capture: Capture): Promise<number | undefined> {
  const { store, uuid, epoch, next: slot, parent } = held;
  const outcome = await store.publish({ uuid, epoch, slot, parent, capture, note: NOTE });
  if (outcome.kind !== 'committed') return undefined;
  held.parent = slot;
  held.next = slot + 1;
  return slot;
}

async function makeVolume(
  sealing?: Parameters<typeof fakeSealing>,
): Promise<{ hosts: VolumeHosts; store: ShareService }> {
  const hosts = new VolumeHosts(1, sealing && fakeSealing(...sealing));
  const store = referring(hosts.start('kvm-a').store);
  await store.initialise({});
  return { hosts, store };
}

async function namesIn(hosts: VolumeHosts, directory: string): Promise<string[]> {
  return (await hosts.files.readdir('test:readdir', `${VOLUME}/${directory}`)).sort();
}

async function contentsOf(hosts: VolumeHosts, path: string): Promise<Uint8Array> {
  const file = await hosts.files.open('test:open', path, 'read');
  const data = await file.read('test:read', 1 << 20, 0);
  await file.close('test:close');
  return data;
}

async function expectWhole(
  t: Test,
  store: ShareService,
  published: ReadonlyMap<number, Capture>,
): Promise<void> {
  const { damaged, problems } = await store.verify({ uuid: UUID });
  t.strictSame([damaged, problems], [[], []]);
  const lines = (await store.history({ uuid: UUID })).filter(({ kind }) => kind === 'publish');
  t.equal(lines[0]?.slot, Math.max(...published.keys()));
  for (const { slot, unread } of lines) {
    const { generation } = await store.fetch({ uuid: UUID, slot, fallBack: false });
    const expected = published.get(slot);
    t.strictSame(
      contentOf(generation.capture),
      expected && contentOf(expected),
      `generation ${String(slot)}`,
    );
    t.equal(generation.manifest.digest, expected?.digest);
    t.same([unread, generation.lost], [undefined, undefined]);
  }
}

t.test(
  'G1: a part that did not change is written once in an epoch, and stands in every generation',
  async (t) => {
    const { hosts, store } = await makeVolume();
    const held = await hold(store);
    const states = [0, 1, 2].map((tpm) => captureOf({ tpm, variables: 'boots' }, 0o600 + tpm));
    for (const state of states) await publish(held, state);
    const files = await namesIn(hosts, 'gen');
    t.same(
      files.map((file) => parseGenerationName(file)?.partsIn),
      [undefined, 2, 2],
      'none leads to another',
    );
    for (const [at, file] of files.entries()) {
      const isInIt = gunzipSync(await contentsOf(hosts, `${VOLUME}/gen/${file}`)).includes('nvram/nvram.fd');
      t.equal(isInIt, at === 0, file);
    }
    const slots = new Map(states.map((state, at) => [at + 2, state]));
    await expectWhole(t, store, slots);
    await expectWhole(t, hosts.start('kvm-b').store, slots);
  },
);

t.test('a part that changed is written, and so is all in another epoch', async (t) => {
  const { hosts, store } = await makeVolume();
  const first = await hold(store);
  for (const variables of ['one', 'one', 'two', 'one', 'one']) {
    await publish(first, captureOf({ tpm: 0, variables }));
  }
  const second = await hold(store, 'own');
  for (const variables of ['one', 'one', undefined, 'one']) {
    await publish(second, captureOf({ tpm: 1, variables }));
  }
  const role = 'varstore' as const;
  for (let time = 0; time < 2; time++) await publish(second, captureOf({ tpm: 1, variables: 'one', role }));
  const files = await namesIn(hosts, 'gen');
  t.same(
    files.map((file) => parseGenerationName(file)?.partsIn),
    [undefined, 2, undefined, undefined, 5, undefined, 8, undefined, undefined, undefined, 12],
  );
});

t.test('a volume that was purged and made anew has nothing of what is remembered', async (t) => {
  const { hosts, store } = await makeVolume();
  await publish(await hold(store), captureOf({ tpm: 0, variables: 'one' }));
  await hosts.start('kvm-b').store.purge({ uuid: UUID, hostExpiryMs: 0, shareId: undefined, unread: true });
  const anew = await hold(store);
  t.equal(anew.epoch, 1, 'the same number');
  await publish(anew, captureOf({ tpm: 1, variables: 'one' }));
  t.same(
    (await namesIn(hosts, 'gen')).map((file) => parseGenerationName(file)?.partsIn),
    [undefined],
  );
  t.match(await store.verify({ uuid: UUID }), { damaged: { length: 0 } });
});

type Step =
  | { readonly kind: 'publish'; readonly tpm: number; readonly variables: string | undefined }
  | { readonly kind: 'claim' | 'take-over' | 'pin' | 'late' | 'die' }
  | { readonly kind: 'tidy'; readonly keep: number };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('publish' as const),
      tpm: fc.nat(5),
      variables: fc.option(fc.constantFrom('a', 'bb', 'tails'), { nil: undefined, freq: 8 }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom('claim', 'take-over', 'pin', 'late', 'die') }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('tidy' as const), keep: fc.integer({ min: 1, max: 3 }) }),
  },
);

/** Two hosts at one volume. */
class Play {
  readonly published = new Map<number, Capture>();
  readonly #hosts: VolumeHosts;
  readonly #stores: ShareService[];
  readonly #pinned = new Map<string, Capture>();
  readonly #fenced: { readonly held: Hold; readonly variables: string | undefined }[] = [];
  #at = 0;
  #held: Hold;
  #variables: string | undefined;

  private constructor(hosts: VolumeHosts, stores: ShareService[], held: Hold) {
    this.#hosts = hosts;
    this.#stores = stores;
    this.#held = held;
  }

  static async begin(isSealed: boolean): Promise<Play> {
    const { hosts, store } = await makeVolume(isSealed ? [['age1one']] : undefined);
    return new Play(hosts, [store, referring(hosts.start('kvm-b').store)], await hold(store));
  }

  /** Of the host that has the volume. */
  get store(): ShareService {
    const store = this.#stores[this.#at];
    if (!store) throw new RangeError('there are two hosts');
    return store;
  }

  async take(step: Step, number: number): Promise<void> {
    switch (step.kind) {
      case 'publish': {
        const capture = captureOf(step);
        this.published.set((await publish(this.#held, capture)) ?? 0, capture);
        this.#variables = step.variables;
        return;
      }
      case 'take-over':
        this.#fenced.push({ held: this.#held, variables: this.#variables });
        this.#variables = undefined;
        this.#at = 1 - this.#at;
        this.#held = await hold(this.store, 'forced');
        return;
      case 'die':
        this.#stores[this.#at] = referring(this.#hosts.start(this.#at === 0 ? 'kvm-a' : 'kvm-b').store);
        this.#held = await hold(this.store, 'own');
        return;
      case 'claim':
        this.#held = await hold(this.store, 'own');
        return;
      case 'late': {
        const late = this.#fenced.pop();
        if (late) await this.#late(late.held, captureOf({ tpm: number, variables: late.variables }));
        return;
      }
      case 'tidy':
        await this.store.tidy({ uuid: UUID, epoch: this.#held.epoch, keep: step.keep });
        return;
      case 'pin':
        await this.#pin(`pin-${String(number)}`);
    }
  }

  /** What it has its variables in may be pruned already: then the copy that it keeps itself is the whole one. */
  async #late(held: Hold, capture: Capture): Promise<void> {
    const { store, uuid, epoch } = held;
    if ((await publish(held, capture)) !== undefined) throw new Error('a fenced host published');
    const isGone = (await store.verify({ uuid })).damaged.length > 0;
    if (isGone || epoch % 2 === 0) await store.diverge({ uuid, epoch, slot: epoch + 1, capture, note: NOTE });
  }

  async #pin(text: string): Promise<void> {
    const slot = Math.max(...this.published.keys());
    const capture = this.published.get(slot);
    if (!capture) return;
    await this.store.pin({ uuid: UUID, name: parseSnapshotName(text), slot });
    this.#pinned.set(text, capture);
  }

  async expectWhole(t: Test): Promise<void> {
    if (this.published.size === 0) return;
    await expectWhole(t, this.store, this.published);
    for (const [text, capture] of this.#pinned) {
      const pin = await this.store.fetchPin({ uuid: UUID, name: parseSnapshotName(text) });
      t.strictSame(contentOf(pin.capture), contentOf(capture), text);
    }
  }
}

t.test(
  'G1, G4, G5: whatever is pruned, pinned, taken over and late, nothing that can be read lacks a part',
  async (t) => {
    const property = fc.asyncProperty(
      fc.array(anyStep, { minLength: 5, maxLength: 40 }),
      fc.boolean(),
      async (steps, isSealed) => {
        const play = await Play.begin(isSealed);
        for (const [number, step] of steps.entries()) await play.take(step, number);
        await play.expectWhole(t);
      },
    );
    await fc.assert(property, { numRuns: 30 });
  },
);

const DAMAGE: Readonly<Record<string, (hosts: VolumeHosts, path: string) => Promise<void>>> = {
  'is gone': (hosts, path) => hosts.files.unlink('test:unlink', path),
  'is empty': (hosts, path) => hosts.plant(path, ''),
  'has a bit that turned': async (hosts, path) => {
    const data = Buffer.from(await contentsOf(hosts, path));
    data.writeUInt8((data[100] ?? 0) ^ 4, 100);
    await hosts.plant(path, data);
  },
  'is another one of its epoch under its name': async (hosts, path) => {
    const [other = ''] = (await namesIn(hosts, 'gen')).filter((file) => file.startsWith('00000004'));
    await hosts.plant(path, await contentsOf(hosts, `${VOLUME}/gen/${other}`));
  },
};

for (const [what, harm] of Object.entries(DAMAGE)) {
  t.test(
    `G4: a TPM is had whole although the generation with its NVRAM ${what}, and that is told`,
    async (t) => {
      const { hosts, store } = await makeVolume();
      const held = await hold(store);
      for (const tpm of [0, 1]) await publish(held, captureOf({ tpm, variables: 'one' }));
      await publish(held, captureOf({ tpm: 2, variables: 'two' }));
      await publish(held, captureOf({ tpm: 3, variables: 'two' }));
      const [first = ''] = await namesIn(hosts, 'gen');
      await harm(hosts, `${VOLUME}/gen/${first}`);
      const { generation, passedOver } = await store.fetch({ uuid: UUID, slot: 3, fallBack: true });
      t.same([generation.name.slot, passedOver], [3, []], 'no older TPM is taken for it');
      const tpm = captureOf({ tpm: 1, variables: undefined });
      t.strictSame(contentOf(generation.capture), contentOf(tpm));
      t.equal(generation.capture.digest, tpm.digest, 'what has the NVRAM is news');
      t.match(generation.lost, { code: 'GENERATION_DAMAGED' });
      t.match(generation.capture.absent, [{ role: 'nvram', kind: 'lost', reason: /damaged or gone/ }]);
      const lines = await store.history({ uuid: UUID });
      t.match(lines.find(({ slot }) => slot === 3)?.unread, [{ role: 'nvram', state: 'absent' }]);
      t.match(await store.verify({ uuid: UUID }), {
        checked: 4,
        damaged: [{ name: { slot: 2 } }, { name: { slot: 3 }, error: { message: /TPM is whole/ } }],
      });
      const exported = await encodeState(generation, 'bundle', COMPRESSOR);
      const { capture } = await decodeState(exported, 'bundle', undefined, {
        compressor: COMPRESSOR,
        sealing: undefined,
      });
      t.strictSame(contentOf(capture), contentOf(tpm));
      const name = parseSnapshotName('as-it-is');
      await store.pin({ uuid: UUID, name, slot: 3 });
      t.match(await store.fetchPin({ uuid: UUID, name }), { lost: { code: 'GENERATION_DAMAGED' } });
      await expectSame(t, store, 5, captureOf({ tpm: 3, variables: 'two' }));
    },
  );
}

async function expectSame(t: Test, store: ShareService, slot: number, capture: Capture): Promise<void> {
  const { generation } = await store.fetch({ uuid: UUID, slot, fallBack: false });
  t.strictSame(contentOf(generation.capture), contentOf(capture));
}

t.test('a share that does not answer has lost nothing', async (t) => {
  const { hosts, store } = await makeVolume();
  const held = await hold(store);
  for (const tpm of [0, 1]) await publish(held, captureOf({ tpm, variables: 'one' }));
  for (const nth of [0, 1]) {
    const inject = injectAt('fetch:read', { kind: 'fail', code: 'EIO', executed: false }, nth);
    const reading = fetchHead(hosts.start('kvm-b', { inject }).store);
    await t.rejects(reading, { code: 'SHARE_UNAVAILABLE' }, `read ${String(nth + 1)}`);
  }
});

t.test(
  'who has no key for the generation with the NVRAM is told that, and gets no half of the state',
  async (t) => {
    const { hosts, store } = await makeVolume([['age1one']]);
    const held = await hold(store);
    for (const tpm of [0, 1]) await publish(held, captureOf({ tpm, variables: 'one' }));
    const only = hosts.start('kvm-b', { sealing: fakeSealing(['age1two'], ['age1two']) });
    await t.rejects(fetchHead(only.store), { code: 'KEY_MISSING' });
    t.match(await only.store.verify({ uuid: UUID }), { checked: 2, unopened: 2, damaged: { length: 0 } });
  },
);

t.test(
  'an export has all in one file; a generation copied out of its volume is refused with what to do',
  async (t) => {
    const { hosts, store } = await makeVolume();
    const held = await hold(store);
    const states = [0, 1].map((tpm) => captureOf({ tpm, variables: 'one' }));
    for (const state of states) await publish(held, state);
    const head = await fetchHead(store);
    const exported = await encodeState(head, 'bundle', COMPRESSOR);
    const decoding = { compressor: COMPRESSOR, sealing: undefined };
    const { capture } = await decodeState(exported, 'bundle', undefined, decoding);
    t.strictSame(contentOf(capture), states[1] && contentOf(states[1]));
    const [, file = ''] = await namesIn(hosts, 'gen');
    const copy = await hosts.files.open('test:open', `${VOLUME}/gen/${file}`, 'read');
    const data = await copy.read('test:read', 1 << 20, 0);
    await copy.close('test:close');
    await t.rejects(decodeState({ data }, 'bundle', undefined, decoding), {
      code: 'GENERATION_DAMAGED',
      message: /its nvram is not in it, but in 00000002-/,
      next: /swtpm-mirror export/,
    });
  },
);
