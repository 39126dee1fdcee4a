import type { Api } from './api.ts';

interface ExpiringKey {
  id: string;
  secret: string;
  expiresAt: string;
}

/** An API key of `tenant` that expires within a second. One that would be made too late for that is refused, and made anew. */
export async function soonExpiringKey(api: Api, tenant: string): Promise<ExpiringKey> {
  for (;;) {
    const expiresAt = new Date(Date.now() + 1000).toISOString();
    const answer = await api.admin('POST', `/v1/tenants/${tenant}/keys`, { body: { expiresAt } });
    if (answer.status === 201) return answer.json as ExpiringKey;
  }
}
