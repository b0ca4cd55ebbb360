/**
 * program: the command line: which commands there are, and how a failure leaves the program.
 */
import { Command, CommanderError } from 'commander';
import { MirrorError } from '../model/errors.js';
import { agentCommand } from './agent.js';
import { captureCommand } from './capture.js';
import { cloneCommand } from './clone.js';
import { completionCommand, completionDomainsCommand } from './completion.js';
import { doctorCommand } from './doctor.js';
import { domainCommand } from './domain.js';
import type { CliEnvironment } from './environment.js';
import { exportCommand } from './export.js';
import { forgetCommand } from './forget.js';
import { historyCommand } from './history.js';
import { hookCommand } from './hook.js';
import { importCommand } from './import.js';
import { rekeyCommand } from './rekey.js';
import { reportError } from './report-error.js';
import { installCommand, uninstallCommand } from './install.js';
import { manualCommand } from './manual.js';
import { purgeCommand } from './purge.js';
import { resolveCommand } from './resolve.js';
import { restoreCommand } from './restore.js';
import { rollbackCommand } from './rollback.js';
import { hostCommand } from './host.js';
import { shareCommand } from './share.js';
import { snapshotCommand } from './snapshot.js';
import { statusCommand } from './status.js';
import { takeOverCommand } from './take-over.js';
import { undefineCommand } from './undefine.js';
import { verifyCommand } from './verify.js';

const USAGE_STATUS = 2;

/**
 * Runs one command.
 *
 * @param args the words after the program's name
 * @returns the exit status
 */
export async function runProgram(environment: CliEnvironment, args: readonly string[]): Promise<number> {
  try {
    await build(environment).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportError(environment.terminal, error);
    // commander has printed the help, asked for or in place of a missing command.
    if (error.exitCode === 0) return 0;
    return error.code === 'commander.help'
      ? USAGE_STATUS
      : reportError(environment.terminal, usageError(error));
  }
}

/** commander's own words in the form of every other error. */
function usageError({ message }: CommanderError): MirrorError {
  const words = message
    .replace(/^error: /, '')
    .replaceAll(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
  return new MirrorError('USAGE', words, {
    next: 'see `swtpm-mirror --help` and `swtpm-mirror COMMAND --help`',
  });
}

function build(environment: CliEnvironment): Command {
  const program = new Command('swtpm-mirror')
    .description("mirrors the state of virtual machines' emulated TPMs to shared storage")
    .version(environment.version);
  const commands = [
    shareCommand,
    agentCommand,
    hookCommand,
    domainCommand,
    statusCommand,
    captureCommand,
    historyCommand,
    restoreCommand,
    rollbackCommand,
    snapshotCommand,
    exportCommand,
    importCommand,
    cloneCommand,
    takeOverCommand,
    hostCommand,
    resolveCommand,
    verifyCommand,
    rekeyCommand,
    undefineCommand,
    forgetCommand,
    purgeCommand,
    doctorCommand,
    installCommand,
    uninstallCommand,
    completionCommand,
  ];
  for (const make of commands) program.addCommand(make(environment));
  // For scripts, not for people.
  for (const make of [completionDomainsCommand, manualCommand]) {
    program.addCommand(make(environment), { hidden: true });
  }
  return prepared(program, environment);
}

/** Settings that commander does not hand down to commands made apart. */
function prepared(command: Command, environment: CliEnvironment): Command {
  const { terminal } = environment;
  command.exitOverride().configureOutput({
    writeOut: (text) => {
      terminal.out(text);
    },
    writeErr: (text) => {
      terminal.err(text);
    },
    outputError: () => undefined,
  });
  for (const child of command.commands) prepared(child, environment);
  return command;
}
