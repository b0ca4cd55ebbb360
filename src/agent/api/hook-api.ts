/**
 * hook-api: `POST /v1/hook/RUN?operation=O&extra=E&caller=P`: libvirt's hook as a shell asks it, with the
 * domain's XML as the body. The answer is a text:
 *
 *   hook STATUS        the hook's exit status
 *   …                  what it says to whoever starts the domain, if anything
 *
 * RUN names this run of the agent (`host/hook-note.ts`): what was meant for another one is not answered so,
 * and nothing is done.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { mustSucceed } from '../../libvirt/hook-operation.js';
import { asMirrorError } from '../../model/errors.js';
import { answerHook, type RequestHandler } from './control-api.js';
import type { HookHost } from './libvirt-hook.js';
import type { Supervisor } from '../watch/supervisor.js';

export interface HookApiOptions {
  readonly run: string;
  /** A failure in the words of the command line. */
  readonly errorText: (error: unknown) => string;
}

export function hookApi(
  host: HookHost,
  supervisor: Supervisor,
  { run, errorText }: HookApiOptions,
  otherwise: RequestHandler,
): RequestHandler {
  return (request, response) => {
    const [path] = (request.url ?? '').split('?');
    if (request.method !== 'POST' || path !== `/v1/hook/${run}`) {
      otherwise(request, response);
      return;
    }
    void answerOf(request, response).then((text) => {
      send(response, text);
    });
  };

  async function answerOf(request: IncomingMessage, response: ServerResponse): Promise<string> {
    try {
      await answerHook(host, supervisor, request, response);
      return 'hook 0\n';
    } catch (error) {
      const words = new URLSearchParams((request.url ?? '').split('?')[1]);
      const isHarmless = mustSucceed(words.get('operation') ?? '');
      const status = isHarmless ? 0 : asMirrorError(error).exitStatus;
      return `hook ${String(status)}\n${errorText(error)}`;
    }
  }
}

function send(response: ServerResponse, text: string): void {
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
