/**
 * pending-answers: questions to a guest that wait for their answers, by number.
 */
interface Waiting<Answer> {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export class PendingAnswers<Answer> {
  readonly #waiting = new Map<number, Waiting<Answer>>();
  #last = 0;

  /** @param ask is given the number under which the answer is awaited */
  wait(what: string, timeoutMs: number, ask: (id: number) => void): Promise<Answer> {
    this.#last += 1;
    const id = this.#last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`no answer within ${timeoutMs} ms: ${what}`));
      }, timeoutMs);
      this.#waiting.set(id, { resolve, reject, timer });
      ask(id);
    });
  }

  answer(id: number, answer: Answer): void {
    this.#take(id)?.resolve(answer);
  }

  fail(id: number, error: Error): void {
    this.#take(id)?.reject(error);
  }

  failAll(error: Error): void {
    for (const id of [...this.#waiting.keys()]) this.fail(id, error);
  }

  #take(id: number): Waiting<Answer> | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    clearTimeout(waiting?.timer);
    return waiting;
  }
}
