/**
 * system-error: failures in the shape in which Node reports those of system calls.
 */

/** A simulated errno; `syscall` and `path` are added where the call is known, see `describeError`. */
export function systemError(code: string, detail = 'simulated'): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(`${code}: ${detail}`);
  error.code = code;
  return error;
}

/** The same error, telling which call on which path failed; errors that are no system errors stay as they are. */
export function describeError<E>(error: E, syscall: string, path: string): E {
  if (!(error instanceof Error) || !('code' in error)) return error;
  const described = error as NodeJS.ErrnoException;
  described.message = `${described.message}, ${syscall} '${path}'`;
  described.syscall = syscall;
  described.path = path;
  return error;
}
