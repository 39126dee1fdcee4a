/**
 * Keeps one event from setting off the work of thousands in one turn of the event loop, in which nobody else would be
 * served: acts run at once as long as there are few, the others in the turns that follow, in order.
 */
export class Pace {
  readonly #most: number;
  #left: number;
  #delayed: (() => void)[] = [];
  #turn: NodeJS.Immediate | undefined;

  /** @param most how many run in a turn */
  constructor(most: number) {
    this.#most = most;
    this.#left = most;
  }

  /** Runs `act`, now or later. It must not throw. */
  run(act: () => void): void {
    this.#turn ??= setImmediate(() => this.#nextTurn());
    if (this.#left === 0) {
      this.#delayed.push(act);
      return;
    }
    this.#left -= 1;
    act();
  }

  #nextTurn(): void {
    const due = this.#delayed.splice(0, this.#most);
    this.#left = this.#most - due.length;
    this.#turn = due.length > 0 ? setImmediate(() => this.#nextTurn()) : undefined;
    for (const act of due) act();
  }
}
