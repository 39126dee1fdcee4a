/** The page itself: everything on it comes from files of this server, as its policy wants it. */
export function docsPage(base: string, { styles, scripts }: { styles: string; scripts: string[] }): string {
  return `<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>API · Waggle</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="${base}/${styles}">
</head>
<body>
  <main id="api"></main>
${scripts.map((script) => `  <script src="${base}/${script}"></script>`).join('\n')}
</body>
</html>
`;
}

/** Starts Swagger UI. It asks nobody else whether the document is valid, and keeps a credential for this visit only. */
export function startScript(documentPath: string): string {
  const options = {
    url: documentPath,
    dom_id: '#api',
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    docExpansion: 'list',
    displayOperationId: true,
    validatorUrl: null,
  };
  return `SwaggerUIBundle(${JSON.stringify(options)});\n`;
}
