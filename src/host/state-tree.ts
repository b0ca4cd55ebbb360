/**
 * state-tree: a capture's files in a directory of the operator's choice, apart from any live state.
 *
 *   DIR/tpm2/tpm2-00.permall
 *   DIR/nvram/nvram.fd
 */
import { errnoOf, MirrorError } from '../model/errors.js';
import type { Capture } from '../model/capture.js';
import type { FileSystem } from '../model/filesystem.js';
import { ensureDirectories, writeNewFile } from './files.js';
import { DIRECTORY_MODE } from './host-context.js';
import { orHostError } from './host-error.js';

/**
 * @param directory absolute path; it must be empty or new, its parent must exist
 * @returns the files' paths below `directory`
 * @throws MirrorError `USAGE` when the directory holds anything; `HOST_IO`
 */
export async function writeStateTree(fs: FileSystem, directory: string, capture: Capture): Promise<string[]> {
  return await orHostError(`write to ${directory}`, async () => {
    await fs.mkdir('state-tree:mkdir', directory, DIRECTORY_MODE).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw error;
    });
    const names = await fs.readdir('state-tree:readdir', directory).catch((error: unknown) => {
      throw errnoOf(error) === 'ENOTDIR' ? unfit(`${directory} is not a directory`) : error;
    });
    if (names.length > 0) throw unfit(`${directory} is not empty`);
    const written: string[] = [];
    for (const file of capture.files) {
      const parent = await ensureDirectories(fs, 'state-tree', directory, file.role);
      await writeNewFile(fs, 'state-tree', `${parent}/${file.name}`, file);
      written.push(`${file.role}/${file.name}`);
    }
    return written;
  });
}

function unfit(message: string): MirrorError {
  return new MirrorError('USAGE', message, { next: 'give an empty or new directory' });
}
