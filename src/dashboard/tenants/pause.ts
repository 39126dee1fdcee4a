import type { Tenant } from '../../shared/tenant-schemas.ts';
import { invalid } from '../../shared/validate.ts';
import { html } from './html.ts';
import type { Content } from './html.ts';
import { tenantPath } from './layout.ts';
import type { Places } from './layout.ts';

/** How long a pause may be, in ms as the form sends it; the API takes any length. */
const LENGTHS: readonly { value: string; text: string }[] = [
  { value: '', text: 'until it is resumed' },
  { value: '300000', text: '5 minutes' },
  { value: '3600000', text: '1 hour' },
  { value: '86400000', text: '1 day' },
];

/** The buttons to pause a tenant, and to resume it while it is paused. */
export function pauseForms(places: Places, { id, paused }: Tenant): Content {
  const path = tenantPath(places, id);
  const resume = html`<form method="post" action="${path}/resume">
    <button type="submit">Resume</button>
  </form>`;
  return html`<div class="acts">
    <form method="post" action="${path}/pause">
      <label for="untilMs">Start none of its jobs</label>
      <select id="untilMs" name="untilMs">
        ${LENGTHS.map(({ value, text }) => html`<option value="${value}">${text}</option>`)}
      </select>
      <button type="submit">Pause</button>
    </form>
    ${paused ? resume : ''}
  </div>`;
}

/** The length that was chosen, in ms; null = until it is resumed. @throws WaggleError validation */
export function chosenLength(form: URLSearchParams): number | null {
  const value = form.get('untilMs') ?? '';
  if (!LENGTHS.some((length) => length.value === value))
    throw invalid('validation', [{ path: 'untilMs', message: 'is none of the choices' }]);
  return value === '' ? null : Number(value);
}
