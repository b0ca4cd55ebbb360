/**
 * within: a bound for one call among others. A call that overruns it goes on; nobody waits for it.
 */
import type { Clock } from '../model/environment.js';

/**
 * @param ms `undefined`: as long as it takes
 * @param late what is thrown past the bound
 */
export async function within<Result>(
  clock: Pick<Clock, 'after'>,
  ms: number | undefined,
  call: () => Promise<Result>,
  late: () => Error,
): Promise<Result> {
  if (ms === undefined) return await call();
  const calling = call();
  return await new Promise<Result>((resolve, reject) => {
    const cancel = clock.after(ms, () => {
      reject(late());
    });
    calling.then(resolve, reject).finally(cancel);
  });
}
