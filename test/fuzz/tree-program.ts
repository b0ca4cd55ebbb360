/**
 * tree-program: the whole program in a world of planted trees: its commands, and an agent for the
 * length of a domain's run, in this process and over the same file system as the single operations.
 */
import { join } from 'node:path';
import { DomainFeed } from '../../src/agent/domain-feed.js';
import type { AgentContext } from '../../src/agent/agent-context.js';
import { Metrics } from '../../src/agent/api/metrics.js';
import { hostStateFiles } from '../../src/agent/state-files.js';
import { Supervisor } from '../../src/agent/watch/supervisor.js';
import type { OpenContext } from '../../src/cli/environment.js';
import { runProgram } from '../../src/cli/program.js';
import { FileJournal } from '../../src/host/journal.js';
import { FileKnownShare } from '../../src/host/known-share.js';
import { systemClock } from '../../src/host/node-environment.js';
import { Spool } from '../../src/host/spool.js';
import type { Clock, Random } from '../../src/model/environment.js';
import { parseConfig, type Config } from '../../src/model/config.js';
import type { ErrorCode } from '../../src/model/errors.js';
import { MirrorError } from '../../src/model/errors.js';
import type { FileSystem } from '../../src/model/filesystem.js';
import type { DomainUuid } from '../../src/model/identifiers.js';
import type { ShareService } from '../../src/volume/share-administration.js';
import { hostNamed } from '../fixtures/host-identity.js';
import type { Placement } from './tree-operations.js';
import type { TreeWorld } from './tree-world.js';

/** What a program needs of a played tree. */
export interface ProgramSite {
  readonly world: TreeWorld;
  readonly fs: FileSystem;
  readonly store: ShareService;
  readonly random: Random;
  readonly placement: Placement;
}

/** What a program waits for comes so many times as soon. */
const HASTE = 20;
const hastyClock: Clock = {
  nowMs: () => systemClock.nowMs(),
  monotonicMs: () => systemClock.monotonicMs() * HASTE,
  after: (delayMs, callback) => systemClock.after(delayMs / HASTE, callback),
};

const NOTHING = (): Promise<undefined> => Promise.resolve(undefined);
const SILENT = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

function configOf({ world, placement }: ProgramSite): Config {
  return parseConfig(
    `
    share = "${world.share}"
    state_dir = "${world.stateDirectory}"
    run_dir = "${join(world.host, 'run')}"
    placement = "${placement}"
    [libvirt]
    swtpm_dir = "${world.swtpmRoot}"
    [timing]
    settle = "1ms"
    heartbeat = "5s"
    share_deadline = "1s"
    start_deadline = "20s"
    stop_deadline = "10s"
    `,
    { hostName: 'kvm-a', path: '' },
  );
}

function contextOf(site: ProgramSite, running: () => ReadonlySet<DomainUuid>): AgentContext {
  const { fs, store, random, world } = site;
  const config = configOf(site);
  const host = { fs, clock: hastyClock, random, stateDirectory: world.stateDirectory };
  return {
    config,
    identity: hostNamed('kvm-a'),
    bootId: hostNamed('kvm-a').bootId,
    bootedAtMs: 0,
    share: store,
    snapshots: store,
    knownShare: new FileKnownShare(host),
    journal: new FileJournal(host),
    spool: new Spool(host, { spoolBytesMax: config.limits.spoolBytesMax }),
    files: hostStateFiles(host, config, store),
    running: {
      list: () => Promise.resolve(running()),
      takesGuestIn: () => Promise.resolve(false),
      guest: (uuid) => Promise.resolve(running().has(uuid) ? 'runs' : 'unknown'),
    },
    guests: {
      list: NOTHING,
      defined: NOTHING,
      inactive: NOTHING,
      known: NOTHING,
      describe: NOTHING,
    },
    locks: { withDomain: (_uuid, work) => work() },
    clock: hastyClock,
    random,
    log: SILENT,
  };
}

/** One domain's start, change and stop under an agent. @throws MirrorError of whatever did not succeed first */
export async function runAgent(site: ProgramSite, uuid: DomainUuid): Promise<void> {
  const running = new Set<DomainUuid>();
  const context = contextOf(site, () => running);
  const unwatched = { watch: NOTHING, unwatch: NOTHING, close: NOTHING };
  const supervisor = new Supervisor(context, () => unwatched);
  try {
    await supervisor.start();
    await supervisor.prepare(uuid, { name: 'vm', nvramPath: site.world.nvramPath, incoming: false });
    running.add(uuid);
    await supervisor.started(uuid);
    await supervisor.captureNow(uuid);
    supervisor.attention();
    running.delete(uuid);
    await supervisor.stopped(uuid, 'shutdown');
  } finally {
    await supervisor.close();
  }
}

const FAILURE = /^swtpm-mirror: ([A-Z_]+): (.*)$/m;

/** Runs a command. @throws MirrorError with what it told as its failure */
export async function runCommand(site: ProgramSite, args: readonly string[]): Promise<void> {
  let [out, err] = ['', ''];
  const config = configOf(site);
  const opened = (): OpenContext => ({
    context: contextOf(site, () => new Set()),
    metrics: new Metrics('0'),
    feed: new DomainFeed(),
    administration: site.store,
    fs: site.fs,
    forgetDomain: async (uuid) => {
      await new FileJournal({ fs: site.fs, stateDirectory: config.stateDir }).remove(uuid);
    },
    changes: () => ({ watch: NOTHING, unwatch: NOTHING, close: NOTHING }),
    holdAgentLock: () => Promise.reject(new Error('no agent is played by a command')),
    uninterrupted: (work) => work(),
    close: NOTHING,
  });
  const environment = {
    terminal: {
      out: (text: string) => (out += text),
      err: (text: string) => (err += text),
      ...{ isInteractive: false, isWatched: false, isColoured: false, columns: 80, rows: 24 },
    },
    version: '0',
    fs: site.fs,
    clock: hastyClock,
    loadConfig: () => Promise.resolve(config),
    openContext: () => Promise.resolve(opened()),
    openShare: () => Promise.resolve({ share: site.store, close: NOTHING }),
    openSealing: NOTHING,
    peekIdentity: () => Promise.resolve(hostNamed('kvm-a')),
    interrupted: () => new Promise<string>(() => undefined),
    pause: NOTHING,
  };
  const status = await runProgram(environment as never, args);
  if (status === 0) return;
  const [, code, message] = FAILURE.exec(err) ?? [];
  if (code === undefined) throw new Error(`status ${String(status)}, and it said ${err || out || 'nothing'}`);
  throw new MirrorError(code as ErrorCode, message ?? '', { next: '' });
}
