const STYLE = `
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: #151a21; color: #e3e8ef;
         font: 16px/1.5 system-ui, sans-serif; }
  main { width: min(24rem, 90vw); }
  h1 { font-size: 1.4rem; }
  label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit; }
  input { margin: .4rem 0 1rem; padding: .6rem; border: 1px solid #4a5666; border-radius: .4rem; background: #1e252f;
          color: inherit; }
  button { padding: .6rem; border: 0; border-radius: .4rem; background: #e0a526; color: #151a21; cursor: pointer; }
  [role=alert] { color: #ff9d8a; }`;

/** The login page. `message` is our own text, never a caller's. */
export function loginPage(path: string, message = ''): string {
  return page(
    'Log in',
    `${message === '' ? '' : `<p role="alert">${message}</p>`}
    <form method="post" action="${path}/login">
      <label for="token">Admin token</label>
      <input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
      <button type="submit">Log in</button>
    </form>`,
  );
}

/** Asks before logging out: a link alone would let any page do it. */
export function logoutPage(path: string): string {
  return page(
    'Log out',
    `<form method="post" action="${path}/logout"><button type="submit">Log out</button></form>
    <p><a href="${path}" style="color: inherit">Back to the dashboard</a></p>`,
  );
}

function page(title: string, content: string): string {
  return `<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>${title} · Waggle</title>
  <style>${STYLE}
  </style>
</head>
<body>
  <main>
    <h1>Waggle dashboard</h1>
    ${content}
  </main>
</body>
</html>
`;
}
