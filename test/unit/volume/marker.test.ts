import t from 'tap';
import { interceptFileSystem, type Interceptor } from '../../fakes/intercepting-filesystem.js';
import { holdBack } from '../../fixtures/held-back.js';
import { tpmCapture, UUID } from '../../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import {
  claimCall,
  close,
  diverge,
  hold,
  publish,
  read,
  tryPublish,
  type Hold,
} from '../../fixtures/volume-steps.js';
import type { ShareService } from '../../../src/volume/share-administration.js';
import { injectAt } from '../../sim/injection.js';
import { systemError } from '../../sim/system-error.js';

const MARKER = `${SHARE}/swtpm-mirror.json`;

t.test('a directory that holds anything else is left as it is', async (t) => {
  for (const name of ['notes.txt', 'swtpm-mirror.json.bak', '.snapshot']) {
    const hosts = new VolumeHosts();
    await hosts.files.mkdir('test:mkdir', SHARE, 0o755);
    await hosts.plant(`${SHARE}/${name}`, 'mine');
    await t.rejects(hosts.start('kvm-a').store.initialise({}), { code: 'USAGE', message: new RegExp(name) });
    t.strictSame(await hosts.files.readdir('test:readdir', SHARE), [name]);
  }
});

t.test('a share whose marker was removed is not made again over its volumes', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  await store.claim(claimCall());
  await hosts.files.unlink('test:unlink', MARKER);
  await t.rejects(store.initialise({}), { code: 'USAGE', message: /"(hosts|volumes)"/ });
  await t.rejects(store.identify({}), { code: 'SHARE_NOT_INITIALIZED' });
  await t.rejects(
    read(store),
    { code: 'SHARE_NOT_INITIALIZED' },
    'G8: it never looks like a share without volumes',
  );
});

t.test('the top of a file system may be a share, with its lost+found', async (t) => {
  const hosts = new VolumeHosts();
  await hosts.files.mkdir('test:mkdir', SHARE, 0o755);
  await hosts.files.mkdir('test:mkdir', `${SHARE}/lost+found`, 0o700);
  await hosts.start('kvm-a').store.initialise({});
  const names = await hosts.files.readdir('test:readdir', SHARE);
  t.strictSame(names.sort(), ['hosts', 'lost+found', 'swtpm-mirror.json', 'volumes']);
});

t.test('a share in use is called one, and a file no directory', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  const { id } = await store.initialise({});
  await hosts.files.mkdir('test:mkdir', `${SHARE}/hosts/kvm-b`, 0o700);
  await t.rejects(store.initialise({}), { code: 'USAGE', message: `${SHARE} is a share already (id ${id})` });
  const elsewhere = new VolumeHosts();
  const file = await elsewhere.files.open('test:open', SHARE, 'create', 0o600);
  await file.close('test:close');
  await t.rejects(elsewhere.start('kvm-a').store.initialise({}), {
    code: 'USAGE',
    message: `${SHARE} is not a directory`,
  });
});

t.test('an interrupted run leaves nothing that the next one minds or keeps', async (t) => {
  for (const site of ['init:write', 'init:fsync', 'init:link', 'init:unlink'] as const) {
    const hosts = new VolumeHosts();
    const { store, process } = hosts.start('kvm-a', {
      inject: injectAt(site, { kind: 'kill', executed: false }),
    });
    const killed = new Promise<void>((resolve) => process.onEnd(resolve));
    void store.initialise({});
    await killed;
    const next = hosts.start('kvm-a').store;
    if (site === 'init:unlink') {
      await t.rejects(next.initialise({}), { code: 'USAGE', message: /is a share already/ });
    } else await next.initialise({});
    t.match(await next.identify({}), { format: 1 }, site);
  }
});

t.test('two hosts that make one share at once make one share, at every interleaving', async (t) => {
  for (let seed = 0; seed < 40; seed++) {
    const hosts = new VolumeHosts(seed);
    const stores = ['kvm-a', 'kvm-b'].map((name) => hosts.start(name, { wrap: hosts.shuffling() }).store);
    const outcomes = await Promise.allSettled(stores.map((store) => store.initialise({})));
    const { id } = await hosts.start('kvm-c').store.identify({});
    for (const outcome of outcomes) {
      if (outcome.status === 'fulfilled') t.equal(outcome.value.id, id);
      else t.match(outcome.reason, { code: 'USAGE' });
    }
    t.ok(outcomes.some(({ status }) => status === 'fulfilled'));
  }
});

t.test(
  'a host whose unfinished marker was taken for a leftover accepts the share of the quicker one',
  async (t) => {
    const hosts = new VolumeHosts();
    const { wrap, reached, letGo } = holdBack('init:link');
    const late = hosts.start('kvm-a', { wrap }).store.initialise({});
    await reached;
    const { id } = await hosts.start('kvm-b').store.initialise({});
    letGo();
    t.equal((await late).id, id);
  },
);

t.test('a marker that cannot be trusted is refused by name', async (t) => {
  const id = 'a'.repeat(32);
  for (const [text, code] of [
    ['', 'VOLUME_DAMAGED'],
    ['{"format":1', 'VOLUME_DAMAGED'],
    ['[]', 'VOLUME_DAMAGED'],
    ['{"format":1,"id":"../../etc"}', 'VOLUME_DAMAGED'],
    [`{"format":"1","id":"${id}"}`, 'VOLUME_DAMAGED'],
    [`{"format":3,"id":"${id}"}`, 'SHARE_VERSION'],
    [`{"format":2,"id":"${id}"}`, 'VOLUME_DAMAGED'],
    [`{"format":1,"id":"${id}","escrow":"age1x"}`, 'VOLUME_DAMAGED'],
    [`{"format":2,"id":"${id}","escrow":"me"}`, 'VOLUME_DAMAGED'],
  ] as const) {
    const hosts = new VolumeHosts();
    const { store } = hosts.start('kvm-a');
    await store.initialise({});
    await hosts.plant(MARKER, text);
    await t.rejects(store.identify({}), { code, retriable: false }, text);
    await t.rejects(store.claim(claimCall()), { code }, text);
    await t.rejects(store.initialise({}), { code }, 'nor is it written anew');
  }
});

t.test('a marker of a later minor version, with fields that we do not know, is read', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  await hosts.plant(MARKER, JSON.stringify({ format: 1, id: 'b'.repeat(32), createdAt: 'then', site: 'x' }));
  t.strictSame(await store.identify({}), { id: 'b'.repeat(32), format: 1, createdAt: 'then' });
});

t.test('another share under the same path is noticed before anything is written to it', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  const { id: shareId } = await store.initialise({});
  await store.beat({ shareId });
  await hosts.plant(MARKER, JSON.stringify({ format: 1, id: 'c'.repeat(32) }));
  await hosts.files.rename('test:rename', `${SHARE}/hosts`, '/gone');
  await hosts.files.mkdir('test:mkdir', `${SHARE}/hosts`, 0o700);
  await t.rejects(store.claim({ ...claimCall(), shareId }), {
    code: 'SHARE_WRONG',
    message: new RegExp(shareId),
  });
  t.strictSame(await hosts.files.readdir('test:readdir', `${SHARE}/hosts`), []);
});

t.test('a claim reads the marker anew, unless a start has read it a moment ago', async (t) => {
  const readings = async (
    between: (hosts: VolumeHosts, store: ShareService, shareId: string) => Promise<unknown>,
    named = true,
  ): Promise<number> => {
    const hosts = new VolumeHosts();
    const { id } = await hosts.start('kvm-b').store.initialise({});
    let count = 0;
    const counted: Interceptor = (call, proceed) => {
      if (call.site === 'marker:open') count += 1;
      return proceed();
    };
    const { store } = hosts.start('kvm-a', { wrap: (fs) => interceptFileSystem(fs, counted) });
    await between(hosts, store, id);
    count = 0;
    await store.claim({ ...claimCall(), shareId: named ? id : undefined });
    return count;
  };
  const inspected = async (store: ShareService, shareId: string): Promise<unknown> =>
    store.inspect({ uuid: UUID, withHead: true, since: 0, shareId, hostExpiryMs: 30_000 });

  t.equal(await readings((_, store, id) => inspected(store, id)), 0, 'a start');
  t.equal(await readings(() => Promise.resolve()), 1, 'nothing was read before');
  t.equal(await readings((_, store, id) => inspected(store, id), false), 1, 'of whatever share it is');
  const later = async (hosts: VolumeHosts, store: ShareService, id: string): Promise<void> => {
    await inspected(store, id);
    await hosts.pass(3_000);
  };
  t.equal(await readings(later), 1, 'too long ago');
  const replaced = async (hosts: VolumeHosts, store: ShareService, id: string): Promise<void> => {
    await inspected(store, id);
    await hosts.files.rename('test:rename', MARKER, `${MARKER}.old`);
    await hosts.plant(MARKER, JSON.stringify({ format: 1, id, createdAt: '2026-01-01T00:00:00.000Z' }));
  };
  t.equal(await readings(replaced), 1, 'it is another file');
});

/** Every operation by which a holder writes. */
const WRITES: readonly (readonly [name: string, write: (held: Hold) => Promise<unknown>])[] = [
  ['publish', (held) => tryPublish(held, 9)],
  ['release', (held) => close(held)],
  ['diverge', (held) => diverge(held, 9)],
  ['tidy', ({ store, epoch }) => store.tidy({ uuid: UUID, epoch, keep: 1 })],
  ['beat', ({ store }) => store.beat({ shareId: undefined })],
  ['claim', ({ store }) => store.claim(claimCall('own'))],
  ['place', ({ store, epoch }) => store.placeLive({ uuid: UUID, live: epoch, capture: tpmCapture(9) })],
];

/** Each path below the share, with its size. */
async function pathsIn({ files }: Pick<VolumeHosts, 'files'>, directory = SHARE): Promise<string[]> {
  const paths: string[] = [];
  for (const name of await files.readdir('test:readdir', directory)) {
    const path = `${directory}/${name}`;
    const { kind, size } = await files.lstat('test:lstat', path);
    paths.push(`${path} ${String(size)}`, ...(kind === 'directory' ? await pathsIn({ files }, path) : []));
  }
  return paths.sort();
}

for (const [what, code] of [
  ['emptied', 'SHARE_NOT_INITIALIZED'],
  ['replaced', 'SHARE_WRONG'],
] as const) {
  t.test(`G7: a share that is ${what} under a holder is not written to`, async (t) => {
    for (const [name, write] of WRITES) {
      const hosts = new VolumeHosts();
      const { store } = hosts.start('kvm-a');
      const { id: shareId } = await store.initialise({});
      await store.beat({ shareId });
      const held = await hold(store);
      await publish(held, 1);
      await hosts.files.rename('test:rename', SHARE, '/aside');
      await hosts.files.mkdir('test:mkdir', SHARE, 0o700);
      if (what === 'replaced') {
        const other = hosts.start('kvm-b').store;
        await other.initialise({});
        // A volume in which this host's operations would find what they look for.
        await publish(await hold(other), 1);
      }
      const before = await pathsIn(hosts);
      await t.rejects(write(held), { code }, name);
      t.strictSame(await pathsIn(hosts), before, `${name} leaves it as it was`);
    }
  });
}

/** A share on which calls of one kind fail, or do not do what they ought to. */
const UNSUITABLE: readonly {
  readonly name: string;
  readonly intercept: Interceptor;
  readonly told: RegExp;
}[] = [
  ...['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EPERM', 'EINVAL'].flatMap((errno) =>
    ['symlink', 'link', 'rename', 'readlink'].map((method) => ({
      name: `${method} fails with ${errno}`,
      intercept: failingMethod(method, errno),
      told: new RegExp(errno),
    })),
  ),
  { name: 'fsync fails', intercept: failingMethod('sync', 'EINVAL'), told: /EINVAL/ },
  {
    name: 'a second symbolic link in one place succeeds',
    intercept: async (call, proceed) =>
      call.method === 'symlink'
        ? await proceed().catch(() => undefined as Awaited<ReturnType<typeof proceed>>)
        : await proceed(),
    told: /a second symbolic link in one place gave none/,
  },
];

function failingMethod(method: string, errno: string): Interceptor {
  return async (call, proceed) => {
    if (call.method === method) throw systemError(errno);
    return await proceed();
  };
}

t.test('a directory whose file system lacks what the protocol needs never becomes a share', async (t) => {
  for (const { name, intercept, told } of UNSUITABLE) {
    const hosts = new VolumeHosts();
    const { store } = hosts.start('kvm-a', { wrap: (fs) => interceptFileSystem(fs, intercept) });
    await t.rejects(store.initialise({}), { message: told }, name);
    await t.rejects(
      hosts.start('kvm-a').store.identify({}),
      { code: 'SHARE_NOT_INITIALIZED' },
      `${name}: no marker`,
    );
    const again = await hosts.start('kvm-a').store.initialise({});
    t.match(again.id, /^[0-9a-f]{32}$/, `${name}: what the trial left is in nobody's way`);
  }
});
