/**
 * power-loss: brings a tree to what its disk holds after the power failed.
 *
 * I1 Entries are those that the journal kept. I2 A file that was synced keeps its content; one that was written since has its old content, its new
 * one, a prefix of the new one (none of it, too), or a prefix followed by what was there before or by zeros. I3 What has lost its last name has `links` 0.
 */
import type { DirectoryInode, FileInode, Inode } from './inode.js';
import type { CrashModel, MetadataJournal } from './metadata-journal.js';
import type { SeededRandom } from './random.js';

/** What the surviving inodes take. */
export interface Remainder {
  usedBytes: number;
  inodes: number;
}

export function recover(
  root: DirectoryInode,
  journal: MetadataJournal,
  model: CrashModel,
  random: SeededRandom,
): Remainder {
  forgetNames(root);
  journal.powerLoss(model, random);
  root.links = 1;
  const remainder = { usedBytes: 0, inodes: 1 };
  recoverEntries(root, random, remainder);
  return remainder;
}

function forgetNames(directory: DirectoryInode): void {
  directory.links = 0;
  for (const inode of directory.entries.values()) {
    inode.links = 0;
    if (inode.kind === 'directory') forgetNames(inode);
  }
}

function recoverEntries(directory: DirectoryInode, random: SeededRandom, remainder: Remainder): void {
  directory.entries = new Map(directory.durableEntries);
  directory.change += 1;
  for (const [name, inode] of directory.entries) {
    // Two kept renames may leave a directory under two names, which no checked file system has.
    if (inode.kind === 'directory' && inode.links > 0) {
      directory.entries.delete(name);
      directory.durableEntries.delete(name);
      continue;
    }
    inode.links += 1;
    if (inode.links === 1) recoverInode(inode, directory, random, remainder);
  }
}

function recoverInode(
  inode: Inode,
  parent: DirectoryInode,
  random: SeededRandom,
  remainder: Remainder,
): void {
  remainder.inodes += 1;
  if (inode.kind === 'directory') {
    inode.parent = parent;
    recoverEntries(inode, random, remainder);
  } else if (inode.kind === 'file') {
    inode.opens = 0;
    inode.data = survivingData(inode, random);
    inode.durableData = inode.data;
    inode.change += 1;
    remainder.usedBytes += inode.data.length;
  }
}

function survivingData({ data, durableData }: FileInode, random: SeededRandom): Uint8Array {
  if (data === durableData) return data;
  const prefix = data.subarray(0, random.int(0, data.length));
  switch (random.pick(['old', 'new', 'empty', 'prefix', 'prefix-and-old', 'prefix-and-zeros'] as const)) {
    case 'old':
      return durableData;
    case 'new':
      return data;
    case 'empty':
      return data.subarray(0, 0);
    case 'prefix':
      return prefix;
    case 'prefix-and-old':
      return padded(prefix, durableData.subarray(prefix.length));
    case 'prefix-and-zeros':
      return padded(prefix, new Uint8Array(data.length - prefix.length));
  }
}

function padded(start: Uint8Array, rest: Uint8Array): Uint8Array {
  const result = new Uint8Array(start.length + rest.length);
  result.set(start);
  result.set(rest, start.length);
  return result;
}
