/** Bounds on what a caller may send. All of them can be set when the engine is opened. */
export interface Limits {
  bodyBytes: number;
  payloadBytes: number;
  batchJobs: number;
  flowNodes: number;
  flowDepth: number;
  /** Nesting of a request's JSON; deeper input would overflow the stack of whoever serialises it. */
  jsonDepth: number;
}

export const defaultLimits: Limits = {
  bodyBytes: 1024 * 1024,
  payloadBytes: 256 * 1024,
  batchJobs: 1000,
  flowNodes: 1000,
  flowDepth: 50,
  jsonDepth: 200,
};

/** What a job returns may take as JSON, unless the worker is told otherwise. */
export const DEFAULT_RESULT_BYTES = 1024 * 1024;

const DAY_MS = 86_400_000;

/** BullMQ keeps a due time in 41 bits of milliseconds (year 2039), so a delay must stay well below that. */
export const MAX_DELAY_MS = 5 * 365 * DAY_MS;
/** The last moment that ISO 8601 writes with four digits of a year. */
export const MAX_MOMENT_MS = Date.UTC(9999, 11, 31);
export const MAX_RETAIN_MS = 90 * DAY_MS;
export const MAX_TIMEOUT_MS = 7 * DAY_MS;
export const DEFAULT_RETAIN_MS = { completed: DAY_MS, failed: 7 * DAY_MS };
