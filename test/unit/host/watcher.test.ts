import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { domainPaths } from '../../../src/host/domain-paths.js';
import { restoreState } from '../../../src/host/state-directory.js';
import { ChokidarStateWatcher } from '../../../src/host/watcher.js';
import type { MirrorError } from '../../../src/model/errors.js';
import type { DomainUuid } from '../../../src/model/identifiers.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
import { blob, captureOf, makeHost, OTHER_UUID, put, UUID, type HostRig } from '../../fakes/host-rig.js';

const PERMALL = 'tpm2/tpm2-00.permall';
const SAVED = captureOf({
  [PERMALL]: blob('used-restarted.permall'),
  'nvram/nvram.fd': 'restored variables',
});
/** Long after every event of the kernel has arrived. */
const QUIET_MS = 300;
const PATIENCE_MS = 5_000;

interface WatcherRig {
  readonly host: HostRig;
  readonly watcher: ChokidarStateWatcher;
  /** Runs once, after the watcher has looked for a path and before it learns the outcome. */
  afterLookFor(path: string, act: () => Promise<unknown>): void;
  /** Marks since the last call. */
  takeMarks(): DomainUuid[];
  /** Resolves when the watched domain was marked since the last `takeMarks`. */
  marked(): Promise<boolean>;
}

/** A scenario on real files, at the end of which the watcher has reported no error. */
function scenario(name: string, run: (t: Test, rig: WatcherRig) => Promise<void>): void {
  t.test(name, async (t) => {
    const host = await makeHost(t);
    let marks: DomainUuid[] = [];
    const errors: MirrorError[] = [];
    const acts = new Map<string, () => Promise<unknown>>();
    const fs = interceptFileSystem(host.context.fs, async ({ method, path }, proceed) => {
      const act = method === 'lstat' ? acts.get(path) : undefined;
      if (!act) return await proceed();
      acts.delete(path);
      return await proceed().finally(act);
    });
    const watcher = new ChokidarStateWatcher({
      fs,
      swtpmRoot: host.swtpmRoot,
      onDirty: (uuid) => marks.push(uuid),
      onError: (error) => errors.push(error),
    });
    t.teardown(() => watcher.close());
    const takeMarks = (): DomainUuid[] => {
      const taken = marks;
      marks = [];
      return taken;
    };
    const marked = async (): Promise<boolean> => {
      for (let waitedMs = 0; waitedMs < PATIENCE_MS && !marks.includes(UUID); waitedMs += 10) await pause(10);
      return marks.includes(UUID);
    };
    const afterLookFor = acts.set.bind(acts);
    await run(t, { host, watcher, afterLookFor, takeMarks, marked });
    t.strictSame(errors, []);
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** As swtpm does it. */
async function renameOver(host: HostRig, content: string): Promise<void> {
  const directory = join(host.paths.swtpmDirectory, 'tpm2');
  await writeFile(join(directory, 'TMP2-00.permall'), content);
  await rename(join(directory, 'TMP2-00.permall'), join(directory, 'tpm2-00.permall'));
}

scenario(
  'a state file renamed over marks the domain, again and again',
  async (t, { host, watcher, takeMarks, marked }) => {
    await put(host.paths.swtpmDirectory, { [PERMALL]: 'first' });
    await watcher.watch(host.paths);
    t.strictSame(takeMarks(), []);
    for (let round = 0; round < 5; round++) {
      await renameOver(host, `round ${round}`);
      t.ok(await marked());
      await pause(20);
      takeMarks();
    }
  },
);

scenario('every write in a burst is followed by a mark', async (t, { host, watcher, takeMarks, marked }) => {
  await put(host.paths.swtpmDirectory, { [PERMALL]: 'first' });
  await watcher.watch(host.paths);
  for (let round = 0; round < 20; round++) {
    takeMarks();
    await renameOver(host, `round ${round}`);
    if (!(await marked())) t.fail(`round ${round} was missed`);
  }
  t.pass();
});

scenario(
  'writes in place mark the domain, of state and of NVRAM',
  async (t, { host, watcher, takeMarks, marked }) => {
    await put(host.paths.swtpmDirectory, { [PERMALL]: 'first' });
    await writeFile(host.nvramPath, 'variables');
    await watcher.watch(host.paths);
    for (const path of [join(host.paths.swtpmDirectory, PERMALL), host.nvramPath]) {
      takeMarks();
      const file = await open(path, 'r+');
      await file.write('X', 2);
      t.ok(await marked(), path);
      await file.close();
      await pause(50);
    }
  },
);

scenario(
  'NVRAM that is replaced by a rename is watched on',
  async (t, { host, watcher, takeMarks, marked }) => {
    await put(host.paths.swtpmDirectory, { [PERMALL]: 'first' });
    await writeFile(host.nvramPath, 'variables');
    await watcher.watch(host.paths);
    await writeFile(`${host.nvramPath}.new`, 'others');
    await rename(`${host.nvramPath}.new`, host.nvramPath);
    t.ok(await marked());
    await pause(QUIET_MS);
    takeMarks();
    await writeFile(host.nvramPath, 'later');
    t.ok(await marked(), 'a write in place of the successor');
  },
);

scenario(
  'a domain whose directory does not exist yet is marked when its state appears',
  async (t, { host, watcher, takeMarks, marked }) => {
    await watcher.watch(host.paths);
    await put(host.paths.swtpmDirectory, { [PERMALL]: 'first' });
    t.ok(await marked());
    await pause(QUIET_MS);
    takeMarks();
    await renameOver(host, 'second');
    t.ok(await marked(), 'and watched from then on');
  },
);

scenario(
  'what comes or goes between the look for it and the watch on it is watched',
  async (t, { host, watcher, afterLookFor, takeMarks, marked }) => {
    const { swtpmDirectory } = host.paths;
    const tpm = join(swtpmDirectory, 'tpm2');
    await mkdir(swtpmDirectory, { recursive: true });
    afterLookFor(tpm, () => put(swtpmDirectory, { [PERMALL]: 'comes' }));
    await watcher.watch(host.paths);
    await renameOver(host, 'later');
    t.ok(await marked(), 'came');
    await watcher.unwatch(UUID);
    afterLookFor(tpm, async () => {
      await rename(tpm, `${tpm}.old`);
      await put(swtpmDirectory, { [PERMALL]: 'another' });
    });
    await watcher.watch(host.paths);
    takeMarks();
    await renameOver(host, 'later still');
    t.ok(await marked(), 'replaced');
  },
);

scenario(
  'directories that go and come back are watched on, whichever of them',
  async (t, { host, watcher, takeMarks, marked }) => {
    const { swtpmDirectory } = host.paths;
    await put(swtpmDirectory, { [PERMALL]: 'first' });
    await watcher.watch(host.paths);
    for (const gone of [join(swtpmDirectory, 'tpm2'), swtpmDirectory]) {
      await rm(gone, { recursive: true });
      await put(swtpmDirectory, { [PERMALL]: 'again' });
      t.ok(await marked(), gone);
      await pause(QUIET_MS);
      takeMarks();
      await renameOver(host, 'later');
      t.ok(await marked(), `after ${gone} came back`);
      await pause(QUIET_MS);
      takeMarks();
    }
  },
);

scenario(
  'a restore moves the watched directory away, and its successor is watched',
  async (t, { host, watcher, takeMarks, marked }) => {
    await put(host.paths.swtpmDirectory, { [PERMALL]: 'first' });
    await writeFile(host.nvramPath, 'variables');
    await watcher.watch(host.paths);
    await restoreState(host.context, host.paths, SAVED);
    t.ok(await marked());
    await pause(QUIET_MS);
    takeMarks();
    await renameOver(host, 'after the restore');
    t.ok(await marked(), 'state after the restore');
    await pause(QUIET_MS);
    takeMarks();
    await writeFile(host.nvramPath, 'after the restore');
    t.ok(await marked(), 'NVRAM after the restore');
  },
);

scenario(
  'a domain that is watched again is watched as it stands by then',
  async (t, { host, watcher, takeMarks, marked }) => {
    const { swtpmDirectory } = host.paths;
    await put(swtpmDirectory, { [PERMALL]: 'first' });
    await watcher.watch(host.paths);
    await watcher.watch(host.paths);
    takeMarks();
    await renameOver(host, 'second');
    t.ok(await marked(), 'its watches were left standing');
    await rm(swtpmDirectory, { recursive: true });
    await put(swtpmDirectory, { [PERMALL]: 'again' });
    await watcher.watch(host.paths);
    await pause(QUIET_MS);
    takeMarks();
    await renameOver(host, 'later');
    t.ok(await marked(), 'what took its place is watched');
    await pause(QUIET_MS);
    await writeFile(host.nvramPath, 'variables');
    await watcher.watch(host.paths);
    takeMarks();
    await writeFile(host.nvramPath, 'others');
    t.ok(await marked(), 'what was not there before is watched');
  },
);

scenario(
  'what is no state, and what is not watched, marks nothing',
  async (t, { host, watcher, takeMarks }) => {
    const other = domainPaths(host.swtpmRoot, OTHER_UUID);
    await put(host.paths.swtpmDirectory, { [PERMALL]: 'first' });
    await watcher.watch(host.paths);
    await watcher.watch(other);
    await watcher.unwatch(OTHER_UUID);
    await put(host.paths.swtpmDirectory, {
      'tpm2/.lock': '',
      'tpm2/TMP2-00.permall': 'x',
      'tpm2/tpm2-00.volatilestate': 'x',
    });
    await put(other.swtpmDirectory, { [PERMALL]: 'first' });
    await mkdir(join(host.swtpmRoot, 'stranger'));
    await pause(QUIET_MS);
    t.strictSame(takeMarks(), []);
  },
);

scenario('nothing is marked after close', async (t, { host, watcher, takeMarks }) => {
  await put(host.paths.swtpmDirectory, { [PERMALL]: 'first' });
  await watcher.watch(host.paths);
  await watcher.close();
  await renameOver(host, 'second');
  await pause(QUIET_MS);
  t.strictSame(takeMarks(), []);
});
