// Keeping secrets out of what is printed. Passwords hide in URLs, and libraries put URLs into their messages; so text that
// leaves through a log or an error is swept, besides nobody putting secrets there.

/** Passwords in URLs and bearer tokens become ***. */
export function maskSecrets(text: string): string {
  return text
    .replace(/([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s/]*@/gi, "$1:***@")
    .replace(/\b(bearer\s+)[A-Za-z0-9._~+/=-]+/gi, "$1***");
}

/** For a URL that may be malformed: all that stands between the user's name and the last @. */
export function maskUrl(url: string): string {
  const at = url.lastIndexOf("@");
  if (at < 0) return url;
  const scheme = /^[a-z]*:?\/\//i.exec(url)?.[0].length ?? 0;
  const colon = url.indexOf(":", scheme);
  return colon < 0 || colon > at ? url : `${url.slice(0, colon)}:***${url.slice(at)}`;
}
