/**
 * main: which of its lives this process begins. Each of them loads its own part of the program and nothing else: libvirt waits for the hook, and a
 * share that hangs for a new storage process.
 */
import { emptyCoreDumps } from './storage/confine-process.js';
import { STORAGE_PROCESS_COMMAND } from './storage/storage-command.js';

// Whatever this program makes is for its own user alone.
process.umask(0o077);
emptyCoreDumps();

const args = process.argv.slice(2);

switch (args[0]) {
  case STORAGE_PROCESS_COMMAND:
    void import('./wiring/storage-entry.js').then(({ serveShare }) => {
      serveShare();
    });
    break;
  case 'hook':
    void import('./wiring/hook-entry.js')
      .then(async ({ runHook }) => await runHook(args))
      .then((status) => {
        // libvirt waits for its hook without a limit: nothing that is still open here may hold it up.
        process.exit(status);
      });
    break;
  default:
    void import('./wiring/command-line.js')
      .then(async ({ runCommandLine }) => await runCommandLine(args))
      .then((status) => {
        process.exitCode = status;
      });
}
