/**
 * storage-command: the command word by which the program knows that it is a storage process.
 */
export const STORAGE_PROCESS_COMMAND = 'storage-process';
