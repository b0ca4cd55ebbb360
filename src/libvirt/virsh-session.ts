/**
 * virsh-session: one long-lived virsh that carries out short commands, one after another, so that
 * each costs a line on a pipe and not the start of a program and its connection to libvirt.
 *
 * Never to be used in a hook: libvirt waits for the hook, and virsh would wait for libvirt.
 *
 *   stdin    COMMAND, then `echo MARK`
 *   output   what the command says (stderr too, in order), then MARK; without a pipe's other end a
 *            virsh that has nothing to do ends by itself
 *
 * I1 A command ends: when its mark comes, when virsh does, or at its deadline, where virsh is killed
 *    and the next command starts another. What a killed virsh was asked may take place all the same.
 * I2 Without virsh, or with one that fails, every command fails, and nothing else happens.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '../model/environment.js';
import type { Virsh } from './virsh-adapter.js';

type Shell = ChildProcessByStdio<Writable, Readable, null>;

/** Far more than a command of ours is answered with. */
const OUTPUT_CHARACTERS_MAX = 64 * 1024;
/** What is longer than virsh's line is no command of ours. */
const COMMAND_CHARACTERS_MAX = 2_000;
const UNFIT = /[\r\n\0]/;

export class VirshSession {
  readonly #virsh: Virsh;
  readonly #clock: Pick<Clock, 'after'>;
  #shell: Shell | undefined;
  #commands = 0;
  #last: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(virsh: Virsh, clock: Pick<Clock, 'after'>) {
    this.#virsh = virsh;
    this.#clock = clock;
  }

  /**
   * @param command one line, quoted for virsh
   * @returns whether virsh carried it out without an error
   */
  run(command: string): Promise<boolean> {
    const isFit = command.length <= COMMAND_CHARACTERS_MAX && !UNFIT.test(command);
    const outcome = this.#last.then(() => (isFit && !this.#isClosed ? this.#runNow(command) : false));
    this.#last = outcome;
    return outcome;
  }

  close(): void {
    this.#isClosed = true;
    this.#kill();
  }

  #runNow(command: string): Promise<boolean> {
    const shell = (this.#shell ??= this.#start());
    const mark = `swtpm-mirror-${String((this.#commands += 1))}`;
    return new Promise((resolve) => {
      let output = '';
      const end = (succeeded: boolean, isUsable: boolean): void => {
        cancel();
        shell.stdout.off('data', read);
        shell.off('close', gone);
        if (!isUsable) this.#kill();
        resolve(succeeded);
      };
      const read = (text: Buffer): void => {
        output += text.toString();
        const said = partBefore(mark, output);
        if (said !== undefined) end(!said.includes('error:'), true);
        else if (output.length > OUTPUT_CHARACTERS_MAX) end(false, false);
      };
      const gone = (): void => {
        end(false, false);
      };
      const cancel = this.#clock.after(this.#virsh.deadlineMs, gone);
      shell.stdout.on('data', read);
      shell.once('close', gone);
      shell.stdin.write(`${command}\necho ${mark}\n`);
    });
  }

  #start(): Shell {
    const { uri, program = 'virsh' } = this.#virsh;
    // The shell is gone at once; it only has errors come in order with everything else.
    const words = ['-c', 'exec "$0" "$@" 2>&1', program, '--connect', uri, '--quiet'];
    const shell = spawn('/bin/sh', words, {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    const forget = (): void => {
      if (this.#shell === shell) this.#shell = undefined;
    };
    shell.once('close', forget);
    shell.on('error', forget);
    shell.stdin.on('error', forget);
    // Neither holds this process when it has nothing else to do.
    shell.unref();
    return shell;
  }

  #kill(): void {
    const shell = this.#shell;
    this.#shell = undefined;
    shell?.kill('SIGKILL');
    shell?.stdin.destroy();
    shell?.stdout.destroy();
  }
}

/** virsh may show the line that it was given, too. @returns `undefined` until the mark has come */
function partBefore(mark: string, output: string): string | undefined {
  for (let at = output.indexOf(mark); at >= 0; at = output.indexOf(mark, at + 1)) {
    if (!output.slice(0, at).endsWith('echo ')) return output.slice(0, at);
  }
  return undefined;
}
