/**
 * operations: what the sweep breaks, each with the world before it, and what the next hook or operator does after it.
 *
 * The world is made once for each operation, with a real swtpm: a first value that the share has acknowledged, and a second one that only
 * the local state has, or, for a start, a share that has both.
 */
import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DOMAIN, Guest, mustRun, nameOf } from '../fixtures/guest.js';
import type { HostFixture } from '../fixtures/host.js';
import type { Site } from '../fixtures/site.js';
import type { TestScope } from '../fixtures/temporary-directory.js';

export const FIRST = Buffer.from('the first value.');
export const SECOND = Buffer.from('the second value');

export interface Operation {
  readonly name: string;
  /** Name of the host that the command is run on. */
  readonly host: string;
  readonly args: readonly string[];
  /** Where a success says that the newest local state is: on the share alone, or there or in the spool. A start stores nothing. */
  readonly stores?: 'share' | 'anywhere';
  /** What else than the newest state the head may be afterwards: an older one, or none, with its volume gone. */
  readonly mayLeave?: 'older' | 'nothing';
  /** Makes the world in which the command is run. */
  arrange(t: TestScope, site: Site): Promise<void>;
  /** Without faults, after the command: brings the domain to where it can start on `host`, or throws. */
  complete(host: HostFixture, site: Site): Promise<void>;
}

const PREPARE = ['domain', 'prepare', DOMAIN, '--name', nameOf(DOMAIN)];
const STOPPED = ['domain', 'stopped', DOMAIN, '--reason', 'shutdown'];
const SNAPSHOT = 'before-update';
const CREATE = ['snapshot', 'create', DOMAIN, SNAPSHOT];
const REVERT = ['snapshot', 'revert', DOMAIN, SNAPSHOT];
const PURGE = ['purge', DOMAIN, '--yes'];
const NO_SUCH_DOMAIN = 6;

export const OPERATIONS: readonly Operation[] = [
  {
    name: 'publish',
    host: 'kvm-a',
    args: ['capture', DOMAIN],
    stores: 'share',
    arrange: async (t, site) => {
      await (await changedGuest(t, site)).crash();
    },
    complete: async (host) => {
      await host.run(['capture', DOMAIN]);
      await mustRun(host, STOPPED);
      await mustRun(host, PREPARE);
    },
  },
  {
    name: 'stop',
    host: 'kvm-a',
    args: STOPPED,
    stores: 'anywhere',
    arrange: async (t, site) => {
      await (await changedGuest(t, site)).swtpm.stop();
    },
    complete: (host) => finishAndPrepare(host),
  },
  {
    name: 'stop into the spool',
    host: 'kvm-a',
    args: STOPPED,
    stores: 'anywhere',
    arrange: async (t, site) => {
      await (await changedGuest(t, site)).swtpm.stop();
      await rename(site.share, awayOf(site));
    },
    complete: async (host, site) => {
      await rm(site.share, { recursive: true, force: true });
      await rename(awayOf(site), site.share);
      await finishAndPrepare(host);
    },
  },
  {
    name: 'start',
    host: 'kvm-b',
    args: PREPARE,
    arrange: async (t, site) => {
      await (await changedGuest(t, site)).stop();
    },
    complete: (host) => finishAndPrepare(host),
  },
  {
    name: 'start over other state',
    host: 'kvm-a',
    args: PREPARE,
    arrange: async (t, site) => {
      const before = await Guest.start(t, await site.host('kvm-a'));
      await before.keep(FIRST);
      await before.stop();
      const guest = await Guest.start(t, await site.host('kvm-b'));
      await guest.write(SECOND);
      await guest.stop();
    },
    complete: (host) => finishAndPrepare(host),
  },
  {
    name: 'snapshot',
    host: 'kvm-a',
    args: CREATE,
    arrange: async (t, site) => {
      await (await changedGuest(t, site)).stop();
    },
    complete: async (host) => {
      await mustRun(host, CREATE);
      await mustRun(host, ['verify', DOMAIN]);
      await finishAndPrepare(host);
    },
  },
  {
    name: 'revert',
    host: 'kvm-a',
    args: REVERT,
    mayLeave: 'older',
    arrange: async (t, site) => {
      const host = await site.host('kvm-a');
      const guest = await Guest.start(t, host);
      await guest.keep(SECOND);
      await mustRun(host, ['capture', DOMAIN]);
      await mustRun(host, CREATE);
      await guest.write(FIRST);
      await guest.stop();
    },
    complete: async (host) => {
      await mustRun(host, REVERT);
      await finishAndPrepare(host);
    },
  },
  {
    name: 'purge',
    host: 'kvm-a',
    args: PURGE,
    mayLeave: 'nothing',
    arrange: async (t, site) => {
      await (await changedGuest(t, site)).stop();
    },
    complete: async (host, site) => {
      const { status, stderr } = await host.run(PURGE);
      if (status !== 0 && status !== NO_SUCH_DOMAIN) throw new Error(`a second purge fails: ${stderr}`);
      for (const name of ['volumes', 'purged']) await expectEmpty(join(site.share, name));
      // What this host has of its own is adopted anew.
      await finishAndPrepare(host);
    },
  },
];

async function expectEmpty(directory: string): Promise<void> {
  const left = await readdir(directory).catch(() => []);
  if (left.length > 0) throw new Error(`expected nothing in ${directory}, found ${left.join(', ')}`);
}

/** A running domain whose second value the share does not have yet. */
async function changedGuest(t: TestScope, site: Site): Promise<Guest> {
  const host = await site.host('kvm-a');
  const guest = await Guest.start(t, host);
  await guest.keep(FIRST);
  await mustRun(host, ['capture', DOMAIN]);
  await guest.write(SECOND);
  return guest;
}

/** A stop that failed is said again, as by an operator; then the domain starts. */
async function finishAndPrepare(host: HostFixture): Promise<void> {
  await host.run(STOPPED);
  await mustRun(host, PREPARE);
}

/** Where a share is while it is not mounted. */
export function awayOf(site: Site): string {
  return join(site.base, 'away');
}
