/**
 * control-api: HTTP on a unix socket (mode 0600), for the commands on this host and for engines.
 *
 *   GET  /healthz                           200 while this process turns its event loop
 *   GET  /v1/status                         `Status`
 *   GET  /v1/domains/UUID                   `DomainStatus`
 *   GET  /v1/domains/UUID/hash              {digest, generation, published}, cheap: of the newest capture
 *   GET  /v1/domains/UUID/state?known=D     the same of the state as it is now, and files in base64 unless D is its digest
 *   GET  /v1/domains/UUID/dump?known=D      the same, and the domain's XML
 *   GET  /v1/events                         a stream of JSON lines: see `events-api.ts`
 *   GET  /metrics                           see `metrics-api.ts`
 *   POST /v1/domains/UUID/prepare           {name?, nvramPath?, incoming?, carried?, runClaim?, localState?} -> {decision, generation}
 *   POST /v1/domains/UUID/started           {name?, nvramPath?}
 *   POST /v1/domains/UUID/launched          the same, but an incoming domain is not yet taken to run
 *   POST /v1/domains/UUID/stopped           {reason?} -> {outcome}
 *   POST /v1/domains/UUID/capture           -> {generation}
 *   POST /v1/hook?operation=O&extra=E&caller=P   libvirt's hook, with the domain's XML as the body
 *   POST /v1/hook/RUN?…                     the same, answered to a shell: see `hook-api.ts`
 *   POST /v1/domains/UUID/dismiss           the agent lets go of a stopped domain
 *
 * A failure answers `{error: {code, message, next, retriable}}` with an HTTP status by kind.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import * as z from 'zod';
import { asMirrorError, MirrorError } from '../../model/errors.js';
import { isHostName, parseDomainUuid, type DomainUuid, type HostName } from '../../model/identifiers.js';
import { START_FAILED } from '../../model/log-entry.js';
import { DOMAIN_XML_LENGTH_MAX } from '../../libvirt/hook-operation.js';
import type { FileSystem } from '../../model/filesystem.js';
import type { AgentContext } from '../agent-context.js';
import { DOMAIN_NAME_CHARACTERS_MAX } from '../domain/domain-record.js';
import { carryOutHook, type HookedDomains, type HookHost } from './libvirt-hook.js';
import type { Prepared, StartRequest } from '../start/prepared.js';
import { dump, stateBody, stateHash } from './state-api.js';
import { domainStatus, hostStatus } from './status.js';
import type { Supervisor } from '../watch/supervisor.js';

/** A state from a domain's definition may be a part of it. */
const BODY_BYTES_MAX = DOMAIN_XML_LENGTH_MAX;
/** HTTP status by exit status of the same error. */
const HTTP_STATUS: Readonly<Record<number, number>> = { 2: 400, 3: 409, 4: 503, 5: 422, 6: 404 };
const HOST = z.custom<HostName>((value) => typeof value === 'string' && isHostName(value));
const BODY = z.strictObject({
  name: z.string().max(DOMAIN_NAME_CHARACTERS_MAX).optional(),
  nvramPath: z.string().startsWith('/').max(1024).optional(),
  incoming: z.boolean().optional(),
  tpm: z
    .strictObject({ role: z.enum(['tpm2', 'tpm1.2']), directory: z.string().startsWith('/').max(1024) })
    .nullish(),
  carried: z.strictObject({ encoding: z.string(), text: z.string() }).optional(),
  runClaim: z.strictObject({ host: HOST, epoch: z.int().positive(), token: z.string() }).optional(),
  localState: z.enum(['refuse', 'share', 'manager']).optional(),
  byHook: z.boolean().optional(),
  // Of any length: a stop is not refused for its reason, which the log cuts.
  reason: z.string().optional(),
});
type Body = z.output<typeof BODY>;

export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** @param fs this host's files, for what libvirt's hook says beside its arguments */
export function controlApi(context: AgentContext, supervisor: Supervisor, fs: FileSystem): RequestHandler {
  return (request, response) => {
    answer(context, calledBy(supervisor, response), fs, request)
      .then((result) => {
        send(response, 200, result);
      })
      .catch((error: unknown) => {
        const cause = asMirrorError(error);
        send(response, HTTP_STATUS[cause.exitStatus] ?? 500, { error: cause.toRecord() });
      });
  };
}

/** The supervisor, for one who calls and may give up: then nobody starts the domain that was prepared for it, nor says that it has stopped. */
interface Called {
  readonly supervisor: Supervisor;
  readonly prepare: (uuid: DomainUuid, start: StartRequest) => Promise<Prepared>;
}

function calledBy(supervisor: Supervisor, response: ServerResponse): Called {
  return {
    supervisor,
    prepare: async (uuid, start) => {
      const prepared = await supervisor.prepare(uuid, start);
      if (response.destroyed) await supervisor.stopped(uuid, START_FAILED);
      return prepared;
    },
  };
}

async function answer(
  context: AgentContext,
  called: Called,
  fs: FileSystem,
  request: IncomingMessage,
): Promise<object> {
  const { supervisor } = called;
  const [path = '', query] = (request.url ?? '').split('?');
  const [, version, noun, id, verb] = path.split('/');
  if (request.method === 'GET' && path === '/healthz') return { ok: true };
  if (request.method === 'GET' && path === '/v1/status') {
    return hostStatus(
      context,
      supervisor.health(),
      supervisor.replicators(),
      supervisor.attention(),
      supervisor.leftOutDomains(),
    );
  }
  if (request.method === 'POST' && path === '/v1/hook') {
    await carryOutCall({ ...context, fs }, called, request);
    return {};
  }
  if (version === 'v1' && noun === 'domains' && id !== undefined) {
    const uuid = parseDomainUuid(id);
    const result =
      request.method === 'POST'
        ? await act(called, uuid, verb, await readBody(request))
        : await look(context, supervisor, uuid, verb, new URLSearchParams(query));
    if (result) return result;
  }
  throw new MirrorError(
    'USAGE',
    `${request.method ?? '?'} ${path.slice(0, 100)} is not part of this interface`,
    {
      next: 'see `http-api.md` in the documentation',
    },
  );
}

async function carryOutCall(host: HookHost, called: Called, request: IncomingMessage): Promise<void> {
  const [, query] = (request.url ?? '').split('?');
  const words = new URLSearchParams(query);
  const call = { operation: words.get('operation') ?? '', extra: words.get('extra') ?? '' };
  const xml = await readText(request, DOMAIN_XML_LENGTH_MAX);
  called.supervisor.hookCalled(words.get('caller') ?? undefined);
  await carryOutHook(host, hookedDomains(called), call, xml);
}

/**
 * A call of libvirt's hook, whichever way its answer goes.
 *
 * @throws MirrorError why the operation is refused
 */
export async function answerHook(
  host: HookHost,
  supervisor: Supervisor,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  await carryOutCall(host, calledBy(supervisor, response), request);
}

function hookedDomains({ supervisor, prepare }: Called): HookedDomains {
  return {
    prepare,
    restoring: (uuid, claim) => supervisor.restoring(uuid, claim),
    launched: (uuid, facts) => supervisor.launched(uuid, facts),
    running: (uuid, facts) => supervisor.launched(uuid, facts),
    stopped: (uuid, reason) => supervisor.stopped(uuid, reason),
    leftOut: (uuid, why) => {
      supervisor.leftOut(uuid, why);
    },
    withoutTpm: (uuid, name) => {
      supervisor.withoutTpm(uuid, name);
    },
  };
}

async function act(
  { supervisor, prepare }: Called,
  uuid: DomainUuid,
  verb: string | undefined,
  { name, nvramPath, incoming, byHook, tpm, carried, runClaim, localState, reason }: Body,
): Promise<object | undefined> {
  switch (verb) {
    case 'prepare': {
      const { decision, published } = await prepare(uuid, {
        name: name ?? '',
        nvramPath,
        tpm: tpm ?? undefined,
        incoming: incoming ?? false,
        carried,
        runClaim,
        localState,
        byHook: byHook ?? false,
      });
      return { decision, generation: published?.slot ?? 0 };
    }
    case 'started':
      await supervisor.started(uuid, { name, nvramPath, tpm });
      return {};
    case 'launched':
      await supervisor.launched(uuid, { name, nvramPath, tpm });
      return {};
    case 'stopped':
      return { outcome: await supervisor.stopped(uuid, reason ?? 'stopped') };
    case 'dismiss':
      await supervisor.dismiss(uuid);
      return {};
    case 'capture':
      return { generation: await supervisor.captureNow(uuid) };
    default:
      return undefined;
  }
}

async function look(
  context: AgentContext,
  supervisor: Supervisor,
  uuid: DomainUuid,
  verb: string | undefined,
  query: URLSearchParams,
): Promise<object | undefined> {
  const replicator = supervisor.find(uuid);
  if (!replicator) {
    throw new MirrorError('NO_SUCH_DOMAIN', `this host has no domain ${uuid}`, {
      next: 'see the domains of this host with `swtpm-mirror status`',
    });
  }
  if (verb === undefined) return domainStatus(context, supervisor.health(), replicator);
  const known = query.get('known') ?? undefined;
  switch (verb) {
    case 'hash':
      return await stateHash(context, replicator);
    case 'state':
      return await stateBody(context, replicator, known);
    case 'dump':
      return await dump(context, replicator, known);
    default:
      return undefined;
  }
}

async function readBody(request: IncomingMessage): Promise<Body> {
  const text = await readText(request, BODY_BYTES_MAX);
  if (text === '') return {};
  try {
    return BODY.parse(JSON.parse(text));
  } catch {
    throw badBody('expected a JSON object with name, nvramPath, incoming, carried or reason');
  }
}

async function readText(request: IncomingMessage, bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > bytesMax) throw badBody(`${length} bytes or more, at most ${bytesMax} expected`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function badBody(why: string): MirrorError {
  return new MirrorError('USAGE', `cannot use the request's body: ${why}`, {
    next: 'see `http-api.md` in the documentation',
  });
}

function send(response: ServerResponse, status: number, body: object): void {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}
