/**
 * outcome: how a simulated call ended, as a value that can be kept, replayed and delivered later.
 */

export type Outcome<T> =
  { readonly kind: 'done'; readonly value: T } | { readonly kind: 'failed'; readonly error: unknown };

export function attempt<T>(call: () => T): Outcome<T> {
  try {
    return { kind: 'done', value: call() };
  } catch (error) {
    return { kind: 'failed', error };
  }
}

/** Settles a promise as the call ended. */
export function deliver<T>(
  outcome: Outcome<T>,
  resolve: (value: T) => void,
  reject: (error: unknown) => void,
): void {
  if (outcome.kind === 'done') resolve(outcome.value);
  else reject(outcome.error);
}

export async function outcomeOf<T>(promise: Promise<T>): Promise<Outcome<T>> {
  try {
    return { kind: 'done', value: await promise };
  } catch (error) {
    return { kind: 'failed', error };
  }
}
