/**
 * host-error: a system error of this host's own file systems as `HOST_IO`, with the operator's next step.
 */
import { errnoOf, MirrorError } from '../model/errors.js';

/**
 * Runs `work`; a system error becomes `HOST_IO`. Every other failure passes unchanged.
 *
 * @param action what could not be done, in the infinitive: `restore the state of …`
 */
export async function orHostError<T>(action: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw asHostError(action, error);
  }
}

export function asHostError(action: string, error: unknown): unknown {
  const errno = errnoOf(error);
  if (errno === undefined || !(error instanceof Error)) return error;
  return new MirrorError('HOST_IO', `cannot ${action}: ${error.message}`, {
    next: nextStep(errno),
    cause: error,
  });
}

function nextStep(errno: string): string {
  switch (errno) {
    case 'ENOSPC':
    case 'EDQUOT':
      return 'free space on this host, then try again: `df` shows which file system is full';
    case 'EACCES':
    case 'EPERM':
      return 'run as root, and let `swtpm-mirror doctor` check the directories and the security profile';
    case 'EROFS':
      return 'the file system was mounted or remounted read-only: look for its errors in the kernel log';
    case 'EEXIST':
    case 'EISDIR':
    case 'ELOOP':
    case 'ENOTDIR':
    case 'ENOTEMPTY':
      return 'look at the path named above: something else than swtpm-mirror expects stands there';
    case 'ENOENT':
      return 'make what is missing, or correct the path, which is from the command line or the configuration';
    case 'EMFILE':
    case 'ENFILE':
      return 'raise the limit of open files of the service';
    default:
      return 'look for errors of the disk in the kernel log';
  }
}
