/**
 * driver: works inside a guest for the lab: starts programs, TPMs and requests, and tells what happens. See `driver-protocol.ts`.
 */
import { createReadStream, openSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { sendRequest } from './control-request.js';
import type { DriverCall, DriverMessage, DriverRequest } from './driver-protocol.js';
import { Programs } from './programs.js';
import { TpmWriter } from './tpm-writer.js';

const [, , portPath = ''] = process.argv;
const port = openSync(portPath, 'r+');
const programs = new Programs({
  line: (name, line) => {
    tell({ kind: 'line', name, line });
  },
  exited: (name, how) => {
    tell({ kind: 'exited', name, how });
  },
});
const tpms = new Map<string, TpmWriter>();

function tell(message: DriverMessage): void {
  writeSync(port, `${JSON.stringify(message)}\n`);
}

async function perform(call: DriverCall): Promise<unknown> {
  switch (call.kind) {
    case 'spawn':
      programs.start(call.name, call.program, call.args);
      return null;
    case 'signal':
      programs.signal(call.name, call.signal);
      return null;
    case 'request':
      return await sendRequest(call);
    case 'tpm-start':
      return await startTpm(call.tpm, call.state, call.run);
    case 'tpm-define':
      await tpmNamed(call.tpm).define();
      return null;
    case 'tpm-write':
      tpmNamed(call.tpm).begin(call);
      return null;
    case 'tpm-rest':
      return await tpmNamed(call.tpm).rest();
    case 'tpm-read':
      return await tpmNamed(call.tpm).read();
    case 'tpm-kill':
      await tpms.get(call.tpm)?.kill();
      tpms.delete(call.tpm);
      return null;
    case 'clear':
      programs.killAll();
      await Promise.all([...tpms.values()].map((tpm) => tpm.kill()));
      tpms.clear();
      return null;
  }
}

async function startTpm(tpm: string, state: string, run: string): Promise<null> {
  const writer = await TpmWriter.start(state, run, {
    writing: (value) => {
      tell({ kind: 'writing', tpm, value });
    },
    wrote: (value, digest) => {
      tell({ kind: 'wrote', tpm, value, digest });
    },
  });
  tpms.set(tpm, writer);
  return null;
}

function tpmNamed(name: string): TpmWriter {
  const tpm = tpms.get(name);
  if (!tpm) throw new Error(`no TPM ${name} runs here`);
  return tpm;
}

async function serve({ id, call }: DriverRequest): Promise<void> {
  try {
    tell({ kind: 'answer', id, result: await perform(call) });
  } catch (error) {
    tell({ kind: 'failure', id, message: error instanceof Error ? error.message : String(error) });
  }
}

createInterface(createReadStream('', { fd: port })).on('line', (line) => {
  void serve(JSON.parse(line) as DriverRequest);
});
tell({ kind: 'ready' });
