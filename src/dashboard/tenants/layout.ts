import { html } from './html.ts';
import type { Content } from './html.ts';
import { moment } from './words.ts';

/** Where things are. */
export interface Places {
  /** Where the dashboard is mounted. */
  board: string;
  tenants: string;
  style: string;
}

/** @param path where the dashboard is mounted */
export function placesIn(path: string): Places {
  const tenants = `${path}/tenants`;
  return { board: path, tenants, style: `${tenants}/tenants.css` };
}

/** @param id of a tenant, or `*` */
export function tenantPath({ tenants }: Places, id: string): string {
  return `${tenants}/${encodeURIComponent(id)}`;
}

/** A whole page: its figures are those of when it was asked for, and it does not load itself again. */
export function page(places: Places, title: string, heading: Content, content: Content): string {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${title} · Waggle</title>
        <link rel="icon" href="data:," />
        <link rel="stylesheet" href="${places.style}" />
      </head>
      <body>
        <header>
          <nav aria-label="Dashboard">
            <a href="${places.board}">Queues</a>
            <a href="${places.tenants}">Tenants</a>
            <a href="${places.board}/logout">Log out</a>
          </nav>
        </header>
        <main>
          <h1>${heading}</h1>
          ${content}
        </main>
        <footer>
          As of ${moment(new Date().toISOString())}, as all times UTC. Reload for newer figures.
        </footer>
      </body>
    </html> `.toString();
}

export interface Column {
  title: string;
  /** Its cells are figures, to be compared by place. */
  isNumber?: boolean;
}

/** A table whose first cells name their rows. */
export function table(
  caption: string,
  columns: readonly Column[],
  rows: readonly (readonly Content[])[],
): Content {
  if (rows.length === 0)
    return html`<h2>${caption}</h2>
      <p>None.</p>`;
  return html`<h2>${caption}</h2>
    <div class="wide" role="region" aria-label="${caption}" tabindex="0">
      <table>
        <thead>
          <tr>
            ${columns.map(({ title, isNumber }) => html`<th scope="col" class="${alignment(isNumber)}">${title}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${rows.map((cells) => row(columns, cells))}
        </tbody>
      </table>
    </div>`;
}

function row(columns: readonly Column[], [name = '', ...cells]: readonly Content[]): Content {
  const rest = cells.map(
    (cell, place) => html`<td class="${alignment(columns[place + 1]?.isNumber)}">${cell}</td>`,
  );
  return html`<tr>
    <th scope="row">${name}</th>
    ${rest}
  </tr> `;
}

function alignment(isNumber: boolean | undefined): string {
  return isNumber === true ? 'number' : 'text';
}
