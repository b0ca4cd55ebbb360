import t from 'tap';
import { parseSnapshotName } from '../../../src/model/identifiers.js';
import { UUID } from '../../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import { diverge, hold, publish } from '../../fixtures/volume-steps.js';

const VOLUME = `${SHARE}/volumes/${UUID}`;

/** Slots 1 to 5: a claim with two generations, another with one; a snapshot of slot 3 and a diverged copy. */
async function makeVolume(): Promise<VolumeHosts> {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  const former = await hold(store);
  for (const number of [1, 2]) await publish(former, number);
  await store.pin({ uuid: UUID, name: parseSnapshotName('kept'), slot: 'head' });
  await publish(await hold(store, 'own'), 3);
  await diverge(former, 9);
  return hosts;
}

async function nameOf({ files }: VolumeHosts, directory: string, prefix: string): Promise<string> {
  const names = await files.readdir('test:readdir', `${VOLUME}/${directory}`);
  return `${VOLUME}/${directory}/${names.find((name) => name.startsWith(prefix)) ?? ''}`;
}

const DAMAGES: readonly [name: string, found: RegExp, (hosts: VolumeHosts) => Promise<void>][] = [
  [
    'a generation of the past that is torn',
    /^2: /,
    async (hosts) => hosts.plant(await nameOf(hosts, 'gen', '00000002'), 'x'),
  ],
  [
    'the head is missing',
    /^5: .*missing/,
    async (hosts) => hosts.files.unlink('test:unlink', await nameOf(hosts, 'gen', '00000005')),
  ],
  [
    'one generation in the place of another',
    /^2: .*its manifest says/,
    async (hosts) => {
      const victim = await nameOf(hosts, 'gen', '00000002');
      await hosts.files.unlink('test:unlink', victim);
      await hosts.files.link('test:link', await nameOf(hosts, 'gen', '00000005'), victim);
    },
  ],
  [
    'a snapshot that is torn',
    /snapshot kept: /,
    async (hosts) => {
      // In the generation's own file, which it is a link of, both would be.
      await hosts.files.unlink('test:unlink', `${VOLUME}/pins/kept.tar.gz`);
      await hosts.plant(`${VOLUME}/pins/kept.tar.gz`, 'x');
    },
  ],
  [
    'a diverged copy that is torn',
    /^2: /,
    async (hosts) => hosts.plant(await nameOf(hosts, 'diverged', '0'), 'x'),
  ],
  ['a gap in the log', /gap/, (hosts) => hosts.files.unlink('test:unlink', `${VOLUME}/log/00000004`)],
  [
    'a slot that nobody can read',
    /slot 6 .*cannot be read/,
    (hosts) => hosts.files.symlink('test:symlink', 'nonsense', `${VOLUME}/log/00000006`),
  ],
  [
    'a log that is gone',
    /log .* is empty/,
    async ({ files }) => {
      for (const slot of await files.readdir('test:readdir', `${VOLUME}/log`)) {
        await files.unlink('test:unlink', `${VOLUME}/log/${slot}`);
      }
    },
  ],
];

t.test('G6: verify finds every damage that was planted, and only that', async (t) => {
  const whole = await (await makeVolume()).start('kvm-b').store.verify({ uuid: UUID });
  t.match(whole, { checked: 5, damaged: { length: 0 }, problems: { length: 0 } });
  for (const [name, found, plant] of DAMAGES) {
    const hosts = await makeVolume();
    await plant(hosts);
    const { damaged, problems } = await hosts.start('kvm-b').store.verify({ uuid: UUID });
    const findings = [
      ...damaged.map(({ name: { slot }, error }) => `${String(slot)}: ${error.message}`),
      ...problems.map(({ message }) => message),
    ];
    t.match(findings, [found], name);
    t.equal(findings.length, 1, name);
  }
});

t.test('a log that cannot be read does not hide a damaged generation', async (t) => {
  const hosts = await makeVolume();
  await hosts.files.unlink('test:unlink', `${VOLUME}/log/00000004`);
  await hosts.plant(await nameOf(hosts, 'gen', '00000003'), 'x');
  const result = await hosts.start('kvm-b').store.verify({ uuid: UUID });
  t.match(result, {
    checked: 5,
    damaged: [{ name: { slot: 3 } }],
    problems: [{ code: 'VOLUME_DAMAGED' }, { message: /^snapshot kept: / }],
  });
});
