/**
 * virsh-events: follows libvirt's lifecycle events through `virsh event`, which prints each as a line of its own, at once, and ends when libvirtd does.
 *
 * A line names the domain and not its UUID, and lines are lost while libvirtd is away: none is read, each is a reason to look.
 *
 * A shell that cannot be started (no descriptors or processes left) is an end like any other.
 *
 * I1 virsh never outlives this process, however that ends: a shell holds the other end of a pipe that nobody else has, and kills it when the
 *    pipe closes. (virsh itself would notice only at the next event that it cannot write.)
 */
import { spawn, type ChildProcess } from 'node:child_process';
import type { Virsh } from './virsh-adapter.js';

/** The shell's own output closes, so that the end of virsh is the end of the output; it waits for it only after the kill, so the process id stays virsh's. */
const UNTIL_PIPE_CLOSES = `"$@" </dev/null 2>/dev/null &
virsh=$!
exec >/dev/null
read -r _
kill -KILL "$virsh"
wait "$virsh"`;

/**
 * @param onEnd once, when virsh has ended by itself: libvirtd is away, or there is no virsh
 * @returns ends it; nothing is called any more
 */
export function followDomainEvents(
  { uri, program = 'virsh' }: Pick<Virsh, 'uri' | 'program'>,
  onEvent: () => void,
  onEnd: () => void,
): () => void {
  const command = [program, '--connect', uri, 'event', '--event', 'lifecycle', '--loop'];
  // Without pipes when it could not be started, whatever the types of `spawn` say.
  let shell: ChildProcess | undefined;
  let isOver = false;
  const end = (): void => {
    isOver = true;
    shell?.stdin?.destroy();
    shell?.stdout?.destroy();
  };
  const ended = (): void => {
    if (isOver) return;
    end();
    onEnd();
  };
  try {
    shell = spawn('/bin/sh', ['-c', UNTIL_PIPE_CLOSES, 'sh', ...command], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { ...process.env, LC_ALL: 'C' },
    });
  } catch {
    queueMicrotask(ended);
    return end;
  }
  shell.on('error', ended);
  shell.stdout?.on('data', (lines: Buffer) => {
    // What virsh says when it ends is no event.
    if (!isOver && lines.includes("event 'lifecycle'")) onEvent();
  });
  shell.stdout?.on('close', ended);
  shell.stdin?.on('error', ended);
  return end;
}
