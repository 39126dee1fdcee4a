/** A job's place among others, by its creation. */
export interface IndexEntry {
  id: string;
  /** ms epoch */
  createdAt: number;
}
