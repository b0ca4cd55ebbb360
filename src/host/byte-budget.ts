/**
 * byte-budget: keeps a store of files within a number of bytes without counting the store at every write.
 *
 * Not guaranteed: exactness while other processes write to the store; their bytes are noticed when the budget seems spent.
 */

export class ByteBudget {
  readonly bytesMax: number;
  readonly #count: () => Promise<number>;
  /** Bytes of whole entries; `undefined` until they were counted. */
  #stored: number | undefined;
  /** Bytes of entries that are being written. */
  #underWay = 0;

  /** @param count counts the bytes of the store on disk */
  constructor(bytesMax: number, count: () => Promise<number>) {
    this.bytesMax = bytesMax;
    this.#count = count;
  }

  /**
   * Runs `write` if `bytes` more fit, given that `freed` of the stored ones go right after.
   *
   * @throws whatever `refusal` makes, given the bytes stored, when they do not fit
   */
  async spend<T>(
    bytes: number,
    freed: number,
    refusal: (stored: number) => Error,
    write: () => Promise<T>,
  ): Promise<T> {
    const fits = (stored: number): boolean => stored + this.#underWay + bytes - freed <= this.bytesMax;
    this.#stored ??= await this.#count();
    // Somebody else may have made room since the last count.
    if (!fits(this.#stored)) this.#stored = await this.#count();
    if (!fits(this.#stored)) throw refusal(this.#stored);
    this.#underWay += bytes;
    try {
      const result = await write();
      this.#stored += bytes;
      return result;
    } finally {
      this.#underWay -= bytes;
    }
  }

  /** Tells that `bytes` of the store are gone. */
  giveBack(bytes: number): void {
    if (this.#stored !== undefined) this.#stored -= bytes;
  }
}
