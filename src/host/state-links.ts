/**
 * state-links: symbolic links where a domain's TPM directories should be, taken away before libvirt can follow them.
 *
 * When a domain is undefined, libvirt deletes the tree `<swtpm_dir>/<uuid>`. Where `<uuid>` itself is a link it empties the link's target.
 *
 *   <swtpm_dir>/<uuid>         ->  moves to  <swtpm_dir>/.<uuid>.swtpm-mirror-link
 *   <swtpm_dir>/<uuid>/tpm2    ->  moves to  <swtpm_dir>/.<uuid>.tpm2.swtpm-mirror-link
 *
 * I1 (G7) Only links are moved or removed, never what they point to.
 * I2 (G8) Somebody's own link stays on this host under a name that libvirt never looks for, until a restore has put the domain's state in place:
 *    what it points to may be the only copy, and a start without any state would make a blank TPM.
 */
import { isDomainUuid, type DomainUuid } from '../model/identifiers.js';
import type { FileSystem } from '../model/filesystem.js';
import {
  movedLinkPath,
  parseMovedLinkName,
  swtpmRoot,
  TPM_DIRECTORY_NAMES,
  tpmDirectory,
  type DomainPaths,
} from './domain-paths.js';
import { ifAny, lstatIfAny, namesIn } from './files.js';
import { orHostError } from './host-error.js';

export interface TakenLink {
  /** Where the link was. */
  readonly path: string;
  /** Where it pointed: there the state still is. */
  readonly target: string;
  /** Whether this program made it. */
  readonly isOurs: boolean;
}

/** Somebody's own link, kept under another name. */
export interface MovedLink {
  readonly uuid: DomainUuid;
  /** Where the link was. */
  readonly path: string;
  readonly target: string;
}

/**
 * @param isOurs whether this program made a link with this target, so that nothing need remember it
 * @returns the links that were taken away
 * @throws MirrorError `HOST_IO`
 */
export async function takeLinksAway(
  fs: FileSystem,
  paths: DomainPaths,
  isOurs: (target: string) => boolean = () => false,
): Promise<TakenLink[]> {
  return await orHostError(`take the links of ${paths.uuid} away`, async () => {
    const taken: TakenLink[] = [];
    for (const [path, moved] of placesOf(paths)) {
      const kind = (await lstatIfAny(fs, 'state-links:lstat', path))?.kind;
      // Nothing lies below it.
      if (kind === undefined && path === paths.swtpmDirectory) break;
      if (kind !== 'symlink') continue;
      const target = await fs.readlink('state-links:readlink', path);
      const link = { path, target, isOurs: isOurs(target) };
      if (link.isOurs) await fs.unlink('state-links:unlink', path);
      else await fs.rename('state-links:rename', path, moved);
      taken.push(link);
      // Nothing lies below it any more.
      if (path === paths.swtpmDirectory) break;
    }
    if (taken.length > 0) {
      await fs.syncDirectory('state-links:sync-root', swtpmRoot(paths));
      await ifAny(() => fs.syncDirectory('state-links:sync', paths.swtpmDirectory));
    }
    return taken;
  });
}

/** A link that was taken away and that no restore has made needless, if there is one. */
export async function movedLink(fs: FileSystem, paths: DomainPaths): Promise<MovedLink | undefined> {
  for (const [path, moved] of placesOf(paths)) {
    if (!(await isLink(fs, moved))) continue;
    return { uuid: paths.uuid, path, target: await fs.readlink('state-links:readlink', moved) };
  }
  return undefined;
}

/**
 * Links of all domains that were taken away, by whatever run of the program, and in whose place there is nothing yet.
 *
 * @throws MirrorError `HOST_IO`
 */
export async function movedLinks(fs: FileSystem, swtpmRootPath: string): Promise<MovedLink[]> {
  return await orHostError('look for links that were taken away', async () => {
    const names = await namesIn(fs, 'state-links:readdir', swtpmRootPath);
    const uuids = new Set(names.flatMap((name) => parseMovedLinkName(name) ?? []));
    const found: MovedLink[] = [];
    for (const uuid of uuids) {
      const link = await movedLink(fs, { uuid, swtpmDirectory: `${swtpmRootPath}/${uuid}` });
      if (link && !(await lstatIfAny(fs, 'state-links:lstat', link.path))) found.push(link);
    }
    return found;
  });
}

/** The domain has its state: what was taken away is needed no more. */
export async function forgetMovedLinks(fs: FileSystem, paths: DomainPaths): Promise<void> {
  for (const [, moved] of placesOf(paths)) {
    await ifAny(() => fs.unlink('state-links:forget', moved));
  }
}

/**
 * The domains with a link in place of one of their TPM directories.
 *
 * @throws MirrorError `HOST_IO`
 */
export async function linkedDomains(fs: FileSystem, swtpmRootPath: string): Promise<DomainUuid[]> {
  return await orHostError('look for links in place of TPM directories', async () => {
    const linked: DomainUuid[] = [];
    for (const name of await namesIn(fs, 'state-links:readdir', swtpmRootPath)) {
      if (!isDomainUuid(name)) continue;
      const own = { uuid: name, swtpmDirectory: `${swtpmRootPath}/${name}` };
      for (const [path] of placesOf(own)) {
        if (!(await isLink(fs, path))) continue;
        linked.push(name);
        break;
      }
    }
    return linked;
  });
}

/** Where a link may stand, outermost first, and where it goes. */
function placesOf(paths: DomainPaths): [path: string, moved: string][] {
  return [
    [paths.swtpmDirectory, movedLinkPath(paths)],
    ...TPM_DIRECTORY_NAMES.map((role): [string, string] => [
      tpmDirectory(paths, role),
      movedLinkPath(paths, role),
    ]),
  ];
}

async function isLink(fs: FileSystem, path: string): Promise<boolean> {
  return (await lstatIfAny(fs, 'state-links:lstat', path))?.kind === 'symlink';
}
