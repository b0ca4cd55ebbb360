/**
 * replace-file: put a small record in the place of the one before: a temporary file beside it, fsync, rename (write-file-atomic).
 *
 * Not guaranteed: that a short write is noticed, or that the new name survives a power loss. The caller reads the record back, and syncs its
 * directory.
 */
import writeFileAtomic from 'write-file-atomic';
import { FILE_MODE } from '../model/durable-file.js';

export type ReplaceFile = (path: string, text: string) => Promise<void>;

export const replaceFile: ReplaceFile = (path, text) => writeFileAtomic(path, text, { mode: FILE_MODE });
