import { eventually } from '../../../support/eventually.ts';
import type { Api } from '../api.ts';
import type { JsonSchema } from './from-schema.ts';
import type { Known } from './requests.ts';

export interface Seeded {
  document: JsonSchema;
  known: Known;
  hostile: { token: string };
  victim: {
    token: string;
    /** Ids of its jobs: others may know them, and get nothing for it. */
    ids: string[];
    /** Text that stands in its objects and nowhere else. */
    secrets: string[];
  };
}

/** Two tenants with a job that has run, one that waits, and a flow. */
export async function seedTenants(api: Api): Promise<Seeded> {
  const document = (await api.call('GET', '/openapi.json')).json as JsonSchema;
  const scopes = document['components'].schemas.Scope.enum as string[];
  const victim = await api.key('victim', scopes);
  const hostile = await api.key('hostile', scopes);
  const [foreign, own] = [await objectsOf(api, victim, 'sesame'), await objectsOf(api, hostile, 'plain')];
  await usageIsBooked(api, victim);
  return {
    document,
    known: { own, foreign: [...foreign, 'victim'] },
    hostile: { token: hostile },
    victim: { token: victim, ids: foreign, secrets: ['sesame', victim] },
  };
}

async function objectsOf(api: Api, token: string, word: string): Promise<string[]> {
  const about = { payload: `${word}-payload`, tags: [`${word}-tag`], correlationId: `${word}-correlation` };
  const done = await api.call('POST', '/v1/jobs', {
    token,
    headers: { Prefer: 'wait=60' },
    body: { task: 'echo', ...about },
  });
  if (done.json.state !== 'completed') throw new Error(`the worker ran no job: ${done.text}`);
  const later = { task: 'echo', delayMs: 3_600_000, ...about };
  const waiting = await api.call('POST', '/v1/jobs', { token, body: { ...later, key: `${word}-key` } });
  const flow = await api.call('POST', '/v1/flows', {
    token,
    body: { tree: { task: 'echo', ...about, children: [later] } },
  });
  return [done.json.id, waiting.json.id, ...Object.values<string>(flow.json.jobs)];
}

/** Workers book what was used a moment later; nothing of the tenant changes by itself after that. */
async function usageIsBooked(api: Api, token: string): Promise<void> {
  await eventually('the use of the job is booked', async () => {
    const { json } = await api.call('GET', '/v1/me', { token });
    return json.windows[2].finished.completed === 1;
  });
}
