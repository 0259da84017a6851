// Addresses of the page, what they ask for, and the server.
//
//   /?words=red+heart            what is nearest to words
//   /?image=ID or ?text=ID       an item, what is nearest to it, and how it is compared with the nearest
//   /?picture                    the same for a picture of the user, which is kept in the history of this tab
//   /?words=...&image=ID         an item that a query has found, compared with the query
//   &and_words=... &not_image=ID more sides of the query, wanted or not: words, images or texts
//   &group=CLASS &split=test     only the items of this class, of this split
//   &k=48                        how many results

export const FIELDS = { group: "Class", split: "Split" };
export const MOST_SIDES = 8;
export const site = { about: null }; // what the server says about the collection

const SIDE = /^(and_|not_|)(words|image|text|picture)$/;

/** What an address asks for: one or two sides, of which the last is shown; or a side with more of them beside it. */
export function viewOf(url, picture = history.state?.picture) {
  const plain = [], more = [], filters = {};
  for (const [name, value] of url.searchParams) {
    const [, role, kind] = SIDE.exec(name) ?? [];
    const side = { kind, role, value: kind === "picture" ? picture ?? "" : value.trim() };
    if (kind && (side.value || kind === "picture")) (role ? more : plain).push(side);
    if (name in FIELDS && value) filters[name] = value;
  }
  if (!plain.length) {
    const first = more.findIndex(({ role }) => role === "and_");
    if (first >= 0) plain.push(...more.splice(first, 1));
  }
  const sides = more.length ? [...plain.slice(-1), ...more] : plain.slice(0, 2);
  return { sides: plain.length ? sides : [], isSeveral: more.length > 0 && plain.length > 0, filters, k: url.searchParams.get("k") };
}

/** The address that asks by these sides; the filters are those of the address that is shown, unless others are given. */
export function addressOf(sides, k = null, filters = viewOf(new URL(location)).filters) {
  const query = new URLSearchParams(sides.map(({ kind, role = "", value }) => [role + kind, kind === "picture" ? "" : value]));
  for (const [field, value] of Object.entries(filters)) if (value) query.set(field, value);
  if (k) query.set("k", k);
  const text = query.toString().replace(/(^|&)picture=/, "$1picture");
  return text ? `/?${text}` : "/";
}

/** The sides with another one; the first is plain, the others say whether they are wanted. */
export function withSide(sides, kind, value, role) {
  return [{ ...sides[0], role: "" }, ...sides.slice(1), { kind, value, role }];
}

/** The sides without one of them; the first that is wanted becomes the plain one. Null if none is wanted then. */
export function withoutSide(sides, removed) {
  const left = sides.filter((side) => side !== removed);
  const first = left.findIndex(({ role }) => role !== "not_");
  if (first < 0) return null;
  return [{ ...left[first], role: "" }, ...left.filter((_, i) => i !== first)];
}

/** What went wrong, for the user; `isLasting` if it makes no sense to try again. */
export class Failure extends Error {
  constructor(message, isLasting = false) {
    super(message);
    this.isLasting = isLasting;
  }
}

export async function fetchJson(path, signal, body = null) {
  let response;
  const options = body ? { method: "POST", body, headers: { "Content-Type": body.type } } : {};
  try {
    response = await fetch(path, { signal, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server does not answer. It may have been stopped, or the connection is lost.");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return answer;
  const wait = response.headers.get("Retry-After");
  const message = answer?.error ?? `the server answered ${response.status} ${response.statusText}`;
  throw new Failure(`${message[0].toUpperCase()}${message.slice(1)}.`
    + (wait ? ` Try again in ${wait} second${wait === "1" ? "" : "s"}.` : ""), response.status < 500 && response.status !== 429);
}

/** Asks `/api/search` or `/api/pair` by some sides; the file of a picture is the body. */
export function ask(what, sides, more, signal) {
  const named = sides.filter(({ kind }) => kind !== "picture")
    .map(({ kind, role, value }) => [role === "not_" ? role + kind : kind, value]);
  const query = new URLSearchParams([...named, ...Object.entries(more).filter(([, value]) => value)]);
  const picture = sides.find(({ kind }) => kind === "picture");
  return fetchJson(`/api/${what}?${query}`, signal, picture && pngOf(picture.value));
}

function pngOf(base64) {
  try {
    if (!base64) throw new Failure();
    return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type: "image/png" });
  } catch {
    throw new Failure("A picture is kept only in the tab where it was chosen. Choose the picture again.", true);
  }
}
