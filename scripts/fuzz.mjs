/**
 * fuzz: hostile input, made from seeds.
 *
 *   npm run fuzz -- --trees 10000                    planted trees: links, FIFOs, devices … on the share
 *                                                    and in directories of other users
 *   npm run fuzz -- --trees 1000 --first fixed-      seeds fixed-0 to fixed-999
 *   npm run fuzz -- --tree fixed-17                  one tree, again, with its story
 *
 *   npm run fuzz -- --cases 1000000                  mutated specimens through every decoder (of the slow
 *                                                    ones, which go over files or sockets, a part)
 *   npm run fuzz -- --cases 1000 --decoder ovirt     through that one
 *   npm run fuzz -- --decoder ovirt --case fixed-17  one case, again
 *
 * What is asked for is played, one kind after the other; without options a share of each.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const RUN = fileURLToPath(new URL('lib/run-program.mjs', import.meta.url));
const SHARE = 1000;

/** Each kind of input: its program, and its arguments when it is asked for. Add new ones here. */
const KINDS = [
  {
    program: 'test/fuzz/trees-command.ts',
    args: ({ trees, tree, first }) => {
      if (tree !== undefined) return ['--seed', tree];
      return trees === undefined ? undefined : ['--trees', trees, ...(first ? ['--first', first] : [])];
    },
    share: ['--trees', String(SHARE)],
  },
  {
    program: 'test/fuzz/decoders-command.ts',
    args: ({ cases, decoder, case: one, first }) => {
      if (cases === undefined && decoder === undefined && one === undefined) return undefined;
      const given = { cases, decoder, case: one, first };
      return Object.entries(given).flatMap(([name, value]) =>
        value === undefined ? [] : [`--${name}`, value],
      );
    },
    share: ['--cases', String(10 * SHARE)],
  },
];

const { values: options } = parseArgs({
  options: {
    trees: { type: 'string' },
    tree: { type: 'string' },
    cases: { type: 'string' },
    decoder: { type: 'string' },
    case: { type: 'string' },
    first: { type: 'string' },
  },
});

function run(program, args) {
  const child = spawn(process.execPath, [RUN, program, ...args], { stdio: 'inherit' });
  return new Promise((resolve) => child.on('close', (status) => resolve(status ?? 1)));
}

const asked = KINDS.filter(({ args }) => args(options) !== undefined);
process.exitCode = 1;
let status = 0;
for (const { program, args, share } of asked.length > 0 ? asked : KINDS) {
  status ||= await run(program, args(options) ?? share);
}
process.exitCode = status;
