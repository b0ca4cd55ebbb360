/**
 * install: `swtpm-mirror install` and `uninstall`: the systemd unit, libvirt's hook, a first configuration and their directories.
 *
 * Both may be run again: what is as it should be stays. A file that this program did not write, or that was edited since, is neither
 * replaced nor removed; all are looked at before the first is touched. State and configuration are never removed.
 *
 * What a package of the system's installed belongs to its package manager, and is refused; but for the share
 * of a first configuration, which no package knows.
 */
import { chmod, mkdir, readFile, readlink, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { findLibvirtDaemon } from '../host/node-libvirt-daemon.js';
import { probeHook } from '../libvirt/hook-probe-adapter.js';
import { readAgentPlace } from '../model/agent-place.js';
import { DEFAULT_RUN_DIR } from '../model/config-defaults.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { CliEnvironment } from './environment.js';
import { FIRST_CONFIG, firstConfig } from './first-config.js';
import { hookScript, isOwnWork, unitFile, type Installation } from './install-files.js';
import type { CommonOptions } from './options.js';
import { chooseStorageUser, type StorageUser } from './storage-user.js';

interface InstallOptions extends CommonOptions {
  readonly root: string;
  readonly node?: string;
  readonly program?: string;
  readonly dryRun?: boolean;
  readonly share?: string;
}

/** A file that an installation has. */
interface OwnFile {
  /** Absolute, as the installed system sees it. */
  readonly path: string;
  readonly text: string;
  readonly mode: number;
  /** `once`: the operator's own as soon as it is there, unless it is still as it was written (`untouched`). */
  readonly kept: 'once' | 'current';
  readonly untouched?: string;
}

type Action = 'made' | 'updated' | 'unchanged' | 'removed' | 'kept';

interface Change {
  readonly path: string;
  readonly action: Action;
}

const DEFAULT_CONFIG = '/etc/swtpm-mirror/config.toml';
const HOOK = '/etc/libvirt/hooks/qemu.d/50-swtpm-mirror';
const UNIT = '/etc/systemd/system/swtpm-mirror.service';
/** What `systemctl enable` made of the unit; without the unit it takes nothing away any more. */
const ENABLED = '/etc/systemd/system/multi-user.target.wants/swtpm-mirror.service';
/** Where the Debian package has the program. */
const PACKAGED = '/usr/lib/swtpm-mirror/';
const TEMPORARY = /^\/(var\/)?tmp\//;
const STATE_DIRECTORY = '/var/lib/swtpm-mirror';
const PRIVATE_DIRECTORY = 0o700;
const SHARED_DIRECTORY = 0o755;

const ENABLE = 'run `systemctl daemon-reload` and `systemctl enable --now swtpm-mirror`';
const AFTER_INSTALL = [
  'run `systemctl reload libvirtd` (or virtqemud): then it looks for hooks, and no VM notices; a restart is not needed',
  'see with `swtpm-mirror doctor` that the hook runs: it is proved at the next start or stop of any VM',
];
const AFTER_UNINSTALL = [
  'run `systemctl stop swtpm-mirror`, then `systemctl daemon-reload`; running domains go on, and start without the product from now on',
  'configuration, journal and spool are still there, and so is everything on the share',
];

export function installCommand(environment: CliEnvironment): Command {
  return action(
    environment,
    'install',
    'write the systemd unit, the libvirt hook and a first configuration',
    install,
  ).option('--share <dir>', 'the share of a first configuration; who works there is found out');
}

export function uninstallCommand(environment: CliEnvironment): Command {
  return action(
    environment,
    'uninstall',
    'remove the systemd unit and the libvirt hook; state and configuration stay',
    uninstall,
  );
}

interface Done {
  readonly changes: Change[];
  readonly next: readonly string[];
  /** As whom the host works on the share that it was given. */
  readonly storage?: StorageUser | undefined;
}

type Work = (
  files: readonly OwnFile[],
  options: InstallOptions,
  environment: CliEnvironment,
) => Promise<Done>;

function action(environment: CliEnvironment, name: string, description: string, work: Work): Command {
  const { terminal, program } = environment;
  return new Command(name)
    .description(description)
    .option('--root <dir>', 'the root of the system to work on', '/')
    .option('--config <file>', 'the configuration file that agent and hook shall use', DEFAULT_CONFIG)
    .option('--node <file>', 'Node, as the installed system sees it (default: the one that runs this)')
    .option('--program <file>', 'this program, as the installed system sees it (default: itself)')
    .option('--dry-run', 'only say what would be done')
    .option('--json', 'print JSON')
    .action(async (options: InstallOptions) => {
      const isPackaged = program.program.startsWith(PACKAGED);
      if (isPackaged && options.share === undefined) throw packaged(name);
      const installation = {
        node: resolve(options.node ?? program.node),
        program: resolve(options.program ?? program.program),
        config: resolve(options.config ?? DEFAULT_CONFIG),
        runDir: await runDirOf(join(options.root, resolve(options.config ?? DEFAULT_CONFIG))),
      };
      if (name === 'install' && resolve(options.root) === '/') expectSeenByService(installation);
      const files = filesOf(installation).filter(({ kept }) => !isPackaged || kept === 'once');
      const { changes, next, storage } = await work(files, options, environment);
      terminal.out(
        options.json
          ? `${JSON.stringify({ dryRun: options.dryRun ?? false, changes, ...(storage && { storage }), next })}\n`
          : text(changes, next, storage),
      );
    });
}

/** As the configuration says, if there is one yet. One that is changed later costs starts of Node, no more. */
async function runDirOf(configPath: string): Promise<string> {
  const text = await readFile(configPath, 'utf8').catch(() => '');
  return readAgentPlace(text)?.runDir ?? DEFAULT_RUN_DIR;
}

function packaged(name: string): MirrorError {
  return new MirrorError(
    'USAGE',
    `this program was installed by a package, which does what \`${name}\` does`,
    {
      next: 'use `apt`: reinstalling the package places what is missing, removing it takes away unit and hook',
    },
  );
}

function filesOf(installation: Installation): OwnFile[] {
  return [
    { path: installation.config, text: FIRST_CONFIG, mode: 0o600, kept: 'once', untouched: FIRST_CONFIG },
    { path: UNIT, text: unitFile(installation), mode: 0o644, kept: 'current' },
    { path: HOOK, text: hookScript(installation), mode: 0o755, kept: 'current' },
  ];
}

/**
 * The unit has directories for temporary files of its own (`PrivateTmp`), in which the machine's are not.
 *
 * @throws MirrorError `USAGE` for a file that the service would not find
 */
function expectSeenByService({ node, program, config }: Installation): void {
  const hidden = [node, program, config].find((path) => TEMPORARY.test(path));
  if (hidden === undefined) return;
  throw new MirrorError('USAGE', `the service would not find ${hidden}: it has a /tmp of its own`, {
    next: 'put it where it is to stay, for instance below /opt, and run `install` from there',
  });
}

const install: Work = async (given, options, environment) => {
  const { root, dryRun } = options;
  const { files, storage } = await withShare(given, options, environment);
  const planned = await Promise.all(files.map((file) => plan(file, root)));
  if (!dryRun) {
    await makeDirectory(join(root, STATE_DIRECTORY), PRIVATE_DIRECTORY);
    for (const { file, change } of planned) {
      if (change.action !== 'unchanged' && change.action !== 'kept') await write(root, file);
    }
    // Of another system's root nobody can tell from here how it will be mounted.
    if (resolve(root) === '/') await expectHookRuns();
  }
  const begin = storage ? ENABLE : `set the share in the configuration, then ${ENABLE}`;
  return { changes: planned.map(({ change }) => change), next: [begin, ...AFTER_INSTALL], storage };
};

/**
 * Puts the share that was named into the first configuration, with the user who shall work there.
 *
 * @throws MirrorError `USAGE` where the configuration is the operator's by now
 */
async function withShare(
  files: readonly OwnFile[],
  { root, share, dryRun = false }: InstallOptions,
  { fs, tryWriting }: CliEnvironment,
): Promise<{ readonly files: readonly OwnFile[]; readonly storage?: StorageUser }> {
  const config = files.find(({ kept }) => kept === 'once');
  if (share === undefined || !config) return { files };
  const present = await readIfAny(join(root, config.path));
  if (present !== undefined && present !== config.untouched) throw ownConfig(config.path);
  const path = resolve(share);
  const storage = await chooseStorageUser({ directory: join(root, path), fs, dryRun, tryWriting });
  const text = firstConfig({ share: path, ...storage });
  return { files: files.map((file) => (file === config ? { ...file, text } : file)), storage };
}

function ownConfig(path: string): MirrorError {
  return new MirrorError('USAGE', `${path} is there already, and --share changes none`, {
    next: 'set `share`, `storage.uid` and `storage.gid` in it yourself, and run `install` without --share',
  });
}

/**
 * A hook that cannot be executed refuses every start, and lets a restarted libvirtd end every running VM.
 *
 * @throws MirrorError `HOOK_UNUSABLE`, and the hook is gone again
 */
async function expectHookRuns(): Promise<void> {
  const { verdict, why } = await probeHook({ hook: HOOK, pid: (await findLibvirtDaemon())?.pid });
  if (verdict !== 'denied') return;
  await remove('/', HOOK);
  throw new MirrorError(
    'HOOK_UNUSABLE',
    `${HOOK} cannot be executed (${why}), so it was taken away again; VMs start without the product`,
    {
      next: 'mount that file system without noexec, or mend what denies it, then run `swtpm-mirror install` again',
    },
  );
}

const uninstall: Work = async (files, { root, dryRun }) => {
  const changes: Change[] = [];
  for (const file of files) {
    const { change } = await plan(file, root);
    if (change.action === 'made') continue;
    changes.push({ path: file.path, action: file.kept === 'once' ? 'kept' : 'removed' });
  }
  if (await isEnabled(root)) changes.push({ path: ENABLED, action: 'removed' });
  if (!dryRun) {
    for (const { path } of changes.filter((change) => change.action === 'removed')) await remove(root, path);
  }
  return { changes, next: AFTER_UNINSTALL };
};

async function isEnabled(root: string): Promise<boolean> {
  return (await readlink(join(root, ENABLED)).catch(() => '')) === UNIT;
}

interface Planned {
  readonly file: OwnFile;
  readonly change: Change;
}

/** @throws MirrorError `USAGE` for a file that is not our own work */
async function plan(file: OwnFile, root: string): Promise<Planned> {
  const present = await readIfAny(join(root, file.path));
  const decided = (action: Action): Planned => ({ file, change: { path: file.path, action } });
  if (present === undefined) return decided('made');
  if (present === file.text) return decided(file.kept === 'once' ? 'kept' : 'unchanged');
  if (file.kept === 'once') return decided(present === file.untouched ? 'updated' : 'kept');
  if (isOwnWork(present)) return decided('updated');
  throw new MirrorError(
    'USAGE',
    `${join(root, file.path)} was not written by this program, or was edited since`,
    {
      next: 'move it away, then try again; nothing was changed',
    },
  );
}

async function readIfAny(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw hostError(path, error);
  }
}

/** In one rename, so that libvirt never runs half a hook. */
async function write(root: string, { path, text, mode }: OwnFile): Promise<void> {
  const place = join(root, path);
  const directory = dirname(place);
  await makeDirectory(directory, SHARED_DIRECTORY);
  // libvirt runs whatever is executable in the hook's directory, so what becomes one is written above it.
  const aside = path === HOOK ? dirname(directory) : directory;
  const temporary = join(aside, `.${String(process.pid)}.swtpm-mirror`);
  try {
    await writeFile(temporary, text);
    await chmod(temporary, mode);
    await rename(temporary, place);
  } catch (error) {
    await rm(temporary, { force: true });
    throw hostError(place, error);
  }
}

/** Those that are there keep their mode; new ones get it whatever the umask is. */
async function makeDirectory(path: string, mode: number): Promise<void> {
  try {
    const first = await mkdir(path, { recursive: true, mode });
    for (let made = path; first !== undefined && made.length >= first.length; made = dirname(made)) {
      await chmod(made, made === path ? mode : SHARED_DIRECTORY);
    }
  } catch (error) {
    throw hostError(path, error);
  }
}

async function remove(root: string, path: string): Promise<void> {
  const place = join(root, path);
  try {
    await rm(place);
    if (path === HOOK) await rmdir(dirname(place));
  } catch (error) {
    // Other hooks are in that directory.
    if (errnoOf(error) !== 'ENOTEMPTY') throw hostError(place, error);
  }
}

function hostError(path: string, cause: unknown): unknown {
  const errno = errnoOf(cause);
  if (errno === undefined) return cause;
  return new MirrorError('HOST_IO', `cannot install ${path}: ${errno}`, {
    next: 'run as root, on a file system that can be written',
    cause,
  });
}

function text(changes: readonly Change[], next: readonly string[], storage: StorageUser | undefined): string {
  const lines = changes.map(({ path, action }) => `${action.padEnd(9)} ${path}\n`);
  if (storage) {
    const who = storage.uid === 0 ? 'root' : `user ${String(storage.uid)}`;
    lines.push(`works on the share as ${who}: ${storage.why}\n`);
  }
  return `${lines.join('')}next:\n${next.map((step) => `  ${step}\n`).join('')}`;
}
