/**
 * driver-protocol: what the lab asks of the driver in a guest, and what the driver tells without being asked; one JSON text a line.
 *
 * An event is written before the driver goes on, so that what the lab has seen of it is true even when the guest loses its power then.
 */

export type DriverCall =
  /** Starts a program that runs until it ends by itself, by a signal, or with the driver. */
  | {
      readonly kind: 'spawn';
      readonly name: string;
      readonly program: string;
      readonly args: readonly string[];
    }
  | { readonly kind: 'signal'; readonly name: string; readonly signal: 'SIGKILL' | 'SIGTERM' }
  /** One HTTP request on a unix socket. */
  | {
      readonly kind: 'request';
      readonly socket: string;
      readonly method: 'GET' | 'POST';
      readonly path: string;
      readonly body?: object;
    }
  /** A real swtpm on `state`; with no state there, a new TPM. */
  | { readonly kind: 'tpm-start'; readonly tpm: string; readonly state: string; readonly run: string }
  | { readonly kind: 'tpm-define'; readonly tpm: string }
  /** Writes `from`, `from + 1` and so on until it is told to stop; or `from` alone. */
  | { readonly kind: 'tpm-write'; readonly tpm: string; readonly from: number; readonly once: boolean }
  | { readonly kind: 'tpm-rest'; readonly tpm: string }
  | { readonly kind: 'tpm-read'; readonly tpm: string }
  | { readonly kind: 'tpm-kill'; readonly tpm: string }
  /** Kills whatever the driver has started. */
  | { readonly kind: 'clear' };

export interface DriverRequest {
  readonly id: number;
  readonly call: DriverCall;
}

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

export type DriverMessage =
  | { readonly kind: 'ready' }
  | { readonly kind: 'answer'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly message: string }
  /** The TPM may have this value from now on. */
  | { readonly kind: 'writing'; readonly tpm: string; readonly value: number }
  /** The TPM has it, and its state file has this content digest (see `contentDigest`). */
  | { readonly kind: 'wrote'; readonly tpm: string; readonly value: number; readonly digest: string }
  | { readonly kind: 'line'; readonly name: string; readonly line: string }
  | { readonly kind: 'exited'; readonly name: string; readonly how: string };
