/** What the board calls a queue in a shard. It tells queues apart by name alone, and every shard has one of the same name. */
export function boardName(queue: string, shard: number): string {
  return `${queue} (shard ${shard})`;
}

/** Where the board shows a job. @param path where the dashboard is mounted */
export function boardJobPath(path: string, queue: string, shard: number, jobId: string): string {
  return `${path}/queue/${encodeURIComponent(boardName(queue, shard))}/${encodeURIComponent(jobId)}`;
}
