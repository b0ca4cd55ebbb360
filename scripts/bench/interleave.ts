/**
 * interleave: repetitions of several things in turn, A B C A B C, so that whatever changes on the machine meanwhile meets all of them alike.
 */
export type Trials<Name extends string> = Readonly<Record<Name, () => Promise<number>>>;

/** @returns each one's samples, without the first round, which finds everything cold */
export async function interleave<Name extends string>(
  trials: Trials<Name>,
  rounds: number,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(trials) as Name[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let round = 0; round <= rounds; round += 1) {
    for (const name of names) {
      const sample = await trials[name]();
      if (round > 0) samples[name].push(sample);
    }
  }
  return samples;
}

/** How long it takes, ms. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}
