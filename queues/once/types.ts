/** What was answered. */
export interface StoredAnswer {
  status: number;
  headers: Record<string, string>;
  body: unknown;
}

/** A request that has its effect once, however often it is sent. */
export interface Once {
  /** Hash of its idempotency key. */
  readonly key: string;
  /** Of all that makes two requests the same. */
  readonly fingerprint: string;
  /** How long it takes to answer it at most; after that a repeat need not wait for whoever does. */
  readonly leaseMs: number;
  /** What became of its jobs when it came first, in the order of the request; nothing is added then. */
  readonly outcomes?: readonly string[];
  /** What is answered to a body, where that is the whole answer; it is then kept in the step that adds the jobs. */
  readonly answerOf?: ((body: unknown) => StoredAnswer) | undefined;
  /** Set when something of it is stored. */
  isStored?: boolean;
  /** Set when its answer is kept. */
  isAnswered?: boolean;
}

/** What is known of a request that came before. */
export interface OnceRecord {
  outcomes: string[];
  /** Null when whoever was to answer died before it could. */
  answer: StoredAnswer | null;
}

/** Nothing was added, because the request has been here before. */
export class SentBeforeError extends Error {
  readonly record: OnceRecord;

  constructor(record: OnceRecord) {
    super('the request was sent before');
    this.name = 'SentBeforeError';
    this.record = record;
  }
}

export interface Repeats {
  /**
   * What is known of a request; null when it is new.
   * @throws WaggleError idempotency_key_reused, idempotency_in_progress, redis_unavailable
   */
  find(tenant: string, once: Once): Promise<OnceRecord | null>;
  /** Keeps the answer, unless one is kept. @returns the one that is kept, which is what the caller should get */
  keep(tenant: string, once: Once, answer: StoredAnswer): Promise<StoredAnswer>;
  /** Says that a request under way gets no answer, so that a repeat of it need not wait. */
  giveUp(tenant: string, once: Once): Promise<void>;
}
