/**
 * diverged: the copies of a volume that lost a race, as they lie in `diverged/`.
 */
import { errnoOf } from '../model/errors.js';
import { parseGenerationName, type GenerationName } from '../model/generation-name.js';
import type { DomainUuid } from '../model/identifiers.js';
import { volumePaths, type ShareContext } from './share-context.js';
import { shareError } from './share-errors.js';

/** Names in `diverged/`, parsed. */
export async function listDiverged(
  context: ShareContext,
  uuid: DomainUuid,
): Promise<{ file: string; generation: GenerationName }[]> {
  let files: string[];
  try {
    files = await context.fs.readdir('diverged:readdir', volumePaths(context, uuid).diverged);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw shareError(`list the diverged copies of ${uuid}`, error);
  }
  return files.flatMap((file) => {
    const generation = parseGenerationName(file);
    return generation ? [{ file, generation }] : [];
  });
}
