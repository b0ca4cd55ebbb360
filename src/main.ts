/**
 * main: which of its lives this process begins. Each of them loads its own part of the program and nothing else: libvirt waits for the hook, and a
 * share that hangs for a new storage process.
 */
import { emptyCoreDumps } from './storage/confine-process.js';
import { STORAGE_PROCESS_COMMAND } from './storage/storage-command.js';
import { live } from './wiring/life.js';

// Whatever this program makes is for its own user alone.
process.umask(0o077);
emptyCoreDumps();

const args = process.argv.slice(2);

switch (args[0]) {
  case STORAGE_PROCESS_COMMAND:
    // It lives as long as its channel, and ends by a signal.
    process.exitCode = 1;
    void import('./wiring/storage-entry.js').then(({ serveShare }) => {
      serveShare();
    });
    break;
  case 'hook':
    live(
      async () => await (await import('./wiring/hook-entry.js')).runHook(args),
      // libvirt waits for its hook without a limit: nothing that is still open here may hold it up.
      (status) => process.exit(status),
    );
    break;
  default:
    live(async () => await (await import('./wiring/command-line.js')).runCommandLine(args));
}
