import type { Limited, OverallLimitsInput } from '../shared/overall-schemas.ts';
import { pathOf } from './transport.ts';
import type { CallOptions, Transport } from './transport.ts';

/** What whole queues, or whole tasks, may do over all tenants, for the admin. */
export class OverallLimitsClient {
  readonly #transport: Transport;
  readonly #kind: 'queues' | 'tasks';

  constructor(transport: Transport, kind: 'queues' | 'tasks') {
    this.#transport = transport;
    this.#kind = kind;
  }

  /** All that have limits, by name. */
  async list({ signal }: CallOptions = {}): Promise<Limited[]> {
    const kind = this.#kind;
    const path = pathOf`/v1/${kind}`;
    const listed = await this.#transport.json<Record<string, Limited[]>>({ method: 'GET', path, signal });
    return listed[kind] ?? [];
  }

  get(name: string, { signal }: CallOptions = {}): Promise<Limited> {
    return this.#transport.json({ method: 'GET', path: pathOf`/v1/${this.#kind}/${name}`, signal });
  }

  put(name: string, limits: OverallLimitsInput, { signal }: CallOptions = {}): Promise<Limited> {
    const path = pathOf`/v1/${this.#kind}/${name}`;
    return this.#transport.json({ method: 'PUT', path, body: limits, signal });
  }

  /** Takes the limits away. */
  remove(name: string, { signal }: CallOptions = {}): Promise<void> {
    return this.#transport.json({ method: 'DELETE', path: pathOf`/v1/${this.#kind}/${name}`, signal });
  }
}
