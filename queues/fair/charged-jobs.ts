/** What a job's run time costs its group when it ends, as of its start. */
export interface RunCharge {
  /** Each so many ms count as one more job. */
  runMs: number;
  /** The group's weight in the queue. */
  weight: number;
}

/** What a claimed job has beside BullMQ's fields. */
export interface Charged {
  /** Absent where run time is not charged. */
  charge?: RunCharge;
}

/** The field `slot` of a job whose time is charged, see limits.lua. */
const CHARGED_SLOT = /^\d+\/(\d+)\/([^:]+):/;

/**
 * What the field `slot` says in the reply to a claim, as Redis gave it: BullMQ's decoder drops the fields it does not know.
 * Undefined where no job was claimed, or its time is not charged.
 */
export function chargeIn(reply: unknown): RunCharge | undefined {
  const fields: unknown = Array.isArray(reply) ? reply[0] : null;
  if (!Array.isArray(fields)) return undefined;
  const at = fields.findLastIndex((field, place) => place % 2 === 0 && field === 'slot');
  const found = CHARGED_SLOT.exec(at < 0 ? '' : String(fields[at + 1]));
  return found ? { runMs: Number(found[1]), weight: Number(found[2]) } : undefined;
}
