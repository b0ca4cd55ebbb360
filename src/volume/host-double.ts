/**
 * host-double: two machines under one identity, told to whoever has to tell them apart.
 */
import { MirrorError } from '../model/errors.js';
import type { Double } from './own-beat.js';

/** @throws MirrorError `HOST_DOUBLED` when there is one */
export function refuseDouble(double: Double | undefined): void {
  if (double) throw hostDoubled(double);
}

export function hostDoubled({ host, bootId, addresses, isSeen, silentMs, expiryMs }: Double): MirrorError {
  const where = addresses.length > 0 ? ` at ${addresses.join(', ')}` : '';
  const who = `${host}${where} (boot ${bootId})`;
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
  if (isSeen) {
    return new MirrorError(
      'HOST_DOUBLED',
      `two machines run under the identity of this host: the other one is ${who}, last seen ${seconds(silentMs)} ago`,
      {
        next: 'find out which of them is the copy, of a disk image or a state directory; stop its agent, give it a name of its own (`host` in its configuration), run `swtpm-mirror host separate` there, and start its agent again',
        retriable: false,
      },
    );
  }
  return new MirrorError(
    'HOST_DOUBLED',
    `another machine may run under the identity of this host: ${who} beat ${seconds(silentMs)} ago, and is known to be gone when it has not for ${seconds(expiryMs)}`,
    {
      next: 'wait: it was this host itself before a restart, and is known to be gone soon, or there are two, and both say so',
      retriable: true,
    },
  );
}
