/**
 * state-links: symbolic links where a domain's TPM directories should be, taken away before libvirt can follow them.
 *
 * When a domain is undefined, libvirt deletes the tree `<swtpm_dir>/<uuid>`. Where `<uuid>` itself is a link it empties the link's target.
 * I1 Only links are removed, never what they point to.
 */
import type { FileSystem } from '../model/filesystem.js';
import { swtpmRoot, TPM_DIRECTORY_NAMES, tpmDirectory, type DomainPaths } from './domain-paths.js';
import { lstatIfAny } from './files.js';
import { orHostError } from './host-error.js';

export interface UnlinkedState {
  readonly path: string;
  /** Where the link pointed: there the state still is. */
  readonly target: string;
}

/**
 * @returns the links that were removed
 * @throws MirrorError `HOST_IO`
 */
export async function unlinkStateLinks(fs: FileSystem, paths: DomainPaths): Promise<UnlinkedState[]> {
  return await orHostError(`remove the links of ${paths.uuid}`, async () => {
    const own = await unlinkIfLink(fs, paths.swtpmDirectory);
    if (own) {
      await fs.syncDirectory('state-links:sync', swtpmRoot(paths));
      return [own];
    }
    const found: UnlinkedState[] = [];
    for (const role of TPM_DIRECTORY_NAMES) {
      const link = await unlinkIfLink(fs, tpmDirectory(paths, role));
      if (link) found.push(link);
    }
    if (found.length > 0) await fs.syncDirectory('state-links:sync', paths.swtpmDirectory);
    return found;
  });
}

async function unlinkIfLink(fs: FileSystem, path: string): Promise<UnlinkedState | undefined> {
  if ((await lstatIfAny(fs, 'state-links:lstat', path))?.kind !== 'symlink') return undefined;
  const target = await fs.readlink('state-links:readlink', path);
  await fs.unlink('state-links:unlink', path);
  return { path, target };
}
