/** What an operation of the API's document asks for: `public`, `admin`, `tenant` or a scope. */
export function accessOf({ security: [first] }: { security: { apiKey?: string[] }[] }): string {
  // The first credential that opens it says whose call it is.
  if (first === undefined) return 'public';
  return first.apiKey === undefined ? 'admin' : (first.apiKey[0] ?? 'tenant');
}
