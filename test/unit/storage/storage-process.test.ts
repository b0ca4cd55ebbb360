import { hostNamed } from '../../fixtures/host-identity.js';
import t from 'tap';
import { MirrorError } from '../../../src/model/errors.js';
import type { ParentChannel, ParentListener } from '../../../src/storage/parent-channel.js';
import { runStorageProcess } from '../../../src/storage/storage-process.js';
import type { ChildMessage, StorageParameters } from '../../../src/storage/wire.js';
import type { ShareService } from '../../../src/volume/share-administration.js';
import { settled } from '../../fakes/manual-clock.js';

const PARAMETERS: StorageParameters = { root: '/share', self: hostNamed('kvm-a'), uid: 36, gid: 36 };

class FakeParent implements ParentChannel {
  readonly received: ChildMessage[] = [];
  hasExited = false;
  #listener: ParentListener | undefined;

  listen(listener: ParentListener): void {
    this.#listener = listener;
  }

  send(message: ChildMessage): void {
    structuredClone(message);
    this.received.push(message);
  }

  exit(): void {
    this.hasExited = true;
  }

  say(message: unknown): void {
    this.#listener?.message(message);
  }

  close(): void {
    this.#listener?.closed();
  }
}

/** The operations that a test needs of a store, and no others. */
function storeWith(operations: Partial<ShareService>): ShareService {
  return operations as ShareService;
}

t.test('it becomes who it shall be before it opens the store, then says that it is ready', (t) => {
  const parent = new FakeParent();
  const steps: unknown[] = [];
  runStorageProcess({
    channel: parent,
    confine: (parameters) => steps.push(['confine', parameters]),
    open: (parameters) => {
      steps.push(['open', parameters]);
      return storeWith({});
    },
  });
  t.same(steps, []);
  parent.say({ kind: 'start', parameters: PARAMETERS });
  t.same(steps, [
    ['confine', PARAMETERS],
    ['open', PARAMETERS],
  ]);
  t.same(parent.received, [{ kind: 'ready' }]);
  t.end();
});

t.test('when it may not become who it shall be, it opens no store and says why', (t) => {
  const parent = new FakeParent();
  const error = new MirrorError('CONFIG_INVALID', 'cannot become user 36', { next: 'run it as root' });
  runStorageProcess({
    channel: parent,
    confine: () => {
      throw error;
    },
    open: () => {
      t.fail('opened the store');
      return storeWith({});
    },
  });
  parent.say({ kind: 'start', parameters: PARAMETERS });
  t.same(parent.received, [{ kind: 'failed', error: error.toRecord() }]);
  t.end();
});

t.test('requests run side by side and each gets its own reply', async (t) => {
  const parent = new FakeParent();
  const release: (() => void)[] = [];
  const store = storeWith({
    list: async () => {
      await new Promise<void>((resolve) => release.push(resolve));
      return [];
    },
    beat: async ({ shareId }) => {
      t.equal(shareId, 'id');
      return { latencyMs: 3 };
    },
    identify: async () => {
      throw new MirrorError('SHARE_NOT_INITIALIZED', 'no marker', { next: 'init' });
    },
  });
  runStorageProcess({ channel: parent, confine: () => undefined, open: () => store });
  parent.say({ kind: 'start', parameters: PARAMETERS });
  parent.say({ kind: 'request', id: 1, operation: 'list', call: {} });
  parent.say({ kind: 'request', id: 2, operation: 'beat', call: { shareId: 'id' } });
  parent.say({ kind: 'request', id: 3, operation: 'identify', call: {} });
  await settled();
  release[0]?.();
  await settled();
  const error = { code: 'SHARE_NOT_INITIALIZED', message: 'no marker', next: 'init', retriable: false };
  t.same(parent.received.slice(1), [
    { kind: 'result', id: 2, result: { latencyMs: 3 } },
    { kind: 'error', id: 3, error },
    { kind: 'result', id: 1, result: [] },
  ]);
});

t.test('a fault of the program, or a result that cannot be sent, is still an answer', async (t) => {
  const parent = new FakeParent();
  const store = storeWith({
    list: async () => {
      throw new TypeError('x is not a function');
    },
    identify: async () => ({ id: 'i', format: 1, createdAt: '', extra: () => undefined }),
  });
  runStorageProcess({ channel: parent, confine: () => undefined, open: () => store });
  parent.say({ kind: 'start', parameters: PARAMETERS });
  parent.say({ kind: 'request', id: 1, operation: 'list', call: {} });
  parent.say({ kind: 'request', id: 2, operation: 'identify', call: {} });
  await settled();
  t.match(parent.received.slice(1), [
    { kind: 'error', id: 1, error: { code: 'INTERNAL', message: 'x is not a function' } },
    { kind: 'error', id: 2, error: { code: 'INTERNAL', message: /could not be cloned/ } },
  ]);
});

t.test('it is gone when its parent is', (t) => {
  const parent = new FakeParent();
  runStorageProcess({ channel: parent, confine: () => undefined, open: () => storeWith({}) });
  parent.close();
  t.ok(parent.hasExited);
  t.end();
});
