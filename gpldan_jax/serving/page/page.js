// The page of a collection. The address says what is shown, so every view can be bookmarked, and Back and Forward work:
//
//   /?words=red+heart            what is nearest to words
//   /?image=ID or ?text=ID       an item, what is nearest to it, and how it is compared with the nearest
//   /?picture#png=BASE64         the same for a picture of the user, as the model sees it (64 x 64 pixels)
//   /?words=...&image=ID         an item that a query has found, compared with the query
//   &k=48                        how many results

const KINDS = { image: "picture", text: "text" };
const BESIDE = 12; // results beside an item, unless the address says how many
const element = (id) => document.getElementById(id);
const main = element("results");
let about = null; // what the server says about the collection
let current = new AbortController(); // aborts what is being loaded

// ---- elements

/** Makes an element: `make("a", { href: "/" }, "text", child, ...)`; null and false are left out. */
function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== false));
  return made;
}

function bar(shares, whole) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 100 10");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  let x = 0;
  for (const [share, of] of shares) {
    const rect = document.createElementNS(space, "rect");
    const width = (100 * share) / whole;
    for (const [key, value] of Object.entries({ x, y: 0, width, height: 10, class: of })) rect.setAttribute(key, value);
    svg.append(rect);
    x += width;
  }
  return svg;
}

const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
const labelOf = (gallery) => `Nearest ${KINDS[gallery]}s`;
const captionsOf = (item) => (item.fields.text || "").split("\n").filter(Boolean);
const nameOf = (item) => captionsOf(item)[0] || item.id;
const shorten = (text) => (text.length > 60 ? `${text.slice(0, 57).trim()}…` : text);

// ---- addresses

/** What an address asks for: k and one or two sides. Of two, the first is the query; the last is shown. */
function viewOf(url) {
  const sides = [];
  for (const [kind, value] of url.searchParams) {
    if (["words", "image", "text"].includes(kind) && value.trim()) sides.push({ kind, value: value.trim() });
    if (kind === "picture") sides.push({ kind, value: /^#png=([\w+/=]+)$/.exec(url.hash)?.[1] ?? "" });
  }
  return { sides: sides.slice(0, 2), k: url.searchParams.get("k") };
}

function addressOf(sides, k = null) {
  const query = new URLSearchParams(sides.map(({ kind, value }) => [kind, kind === "picture" ? "" : value]));
  if (k) query.set("k", k);
  const picture = sides.find(({ kind }) => kind === "picture");
  return `/?${query}${picture ? `#png=${picture.value}` : ""}`;
}

// ---- the server

/** What went wrong, for the user; `isLasting` if it makes no sense to try again. */
class Failure extends Error {
  constructor(message, isLasting = false) {
    super(message);
    this.isLasting = isLasting;
  }
}

async function fetchJson(path, signal, body = null) {
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
    + (wait ? ` Try again in ${count(Number(wait), "second")}.` : ""), response.status < 500 && response.status !== 429);
}

/** Asks `/api/search` or `/api/pair` by one or two sides; the file of a picture is the body. */
function ask(what, sides, more, signal) {
  const named = sides.filter(({ kind }) => kind !== "picture").map(({ kind, value }) => [kind, value]);
  const query = new URLSearchParams([...named, ...Object.entries(more).filter(([, value]) => value)]);
  const picture = sides.find(({ kind }) => kind === "picture");
  return fetchJson(`/api/${what}?${query}`, signal, picture && pngOf(picture.value));
}

function pngOf(base64) {
  try {
    if (!base64) throw new Failure();
    return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type: "image/png" });
  } catch {
    throw new Failure("The address holds no whole picture. Choose the picture again.", true);
  }
}

// ---- views

/** Results as a list of links; each opens an item, compared with `query` if there is one. */
function list(results, query, label) {
  const texts = !results.some((item) => item.picture);
  const kind = texts ? "items texts" : about.photos ? "items photos" : "items";
  return make("ol", { class: kind, "aria-label": label },
    results.map((item) => make("li", {}, tile(item, query))));
}

function tile(item, query) {
  const href = addressOf([...(query ? [query] : []), { kind: item.modality, value: item.id }]);
  const others = captionsOf(item).length - 1;
  const about = [item.fields.text ? item.id : null, item.fields.group, others > 0 && `${count(others, "more caption")}`];
  return make("a", { href },
    item.picture ? make("img", { src: item.picture, alt: "", width: 84, height: 84, loading: "lazy" }) : null,
    make("span", { class: item.fields.text ? "name prose" : "name" }, nameOf(item)),
    make("span", { class: "more" },
      make("span", {}, about.filter(Boolean).join(" · ")),
      item.distance === undefined ? null
        : make("data", { class: "distance", value: item.distance },
          make("span", { class: "unseen" }, "distance "), item.distance.toFixed(3))));
}

const linkTo = (words) => make("a", { href: addressOf([{ kind: "words", value: words }]) }, words);

function homeView() {
  const [[first, total]] = Object.entries(about.galleries);
  const kinds = Object.entries(about.galleries).map(([modality, n]) => count(n, KINDS[modality])).join(" and ");
  return {
    title: "", said: `${kinds} to search`, nodes: [
      make("h1", { tabindex: -1 }, `${kinds} to search`),
      about.phrases.length ? make("ul", { class: "phrases", "aria-label": "Words to begin with" },
        about.phrases.map((words) => make("li", {}, linkTo(words)))) : null,
      make("section", {},
        make("h2", {}, `${about.phrases.length ? "Or begin" : "Begin"} with one of the ${KINDS[first]}s`),
        list(about.shelf, null, `${about.shelf.length} of ${count(total, KINDS[first])}`)),
    ],
  };
}

async function wordsView(words, k, signal) {
  const side = { kind: "words", value: words };
  const answer = await ask("search", [side], { k }, signal);
  const { known, unknown } = answer.query;
  const isNothing = !known;
  const kind = KINDS[answer.gallery];
  const heading = isNothing ? "Nothing to search by" : `Nearest ${kind}s to “${shorten(words)}”`;
  const nodes = [make("h1", { tabindex: -1 }, heading)];
  if (unknown.length) {
    const never = unknown.length > 1 ? "the model has never seen them" : "the model has never seen it";
    nodes.push(make("p", { class: "warning" }, "Not in the vocabulary: ", make("strong", {}, unknown.join(", ")),
      `; ${never}${isNothing ? "." : " and searched by the other words."}`));
  } else if (isNothing) {
    nodes.push(make("p", { class: "warning" }, "A word has two or more letters or digits."));
  }
  if (isNothing) {
    if (answer.exact.length) nodes.push(exactSection(answer, side));
    if (about.phrases.length) nodes.push(make("p", {}, "Try ", about.phrases.slice(0, 3).flatMap((phrase, i) =>
      [i ? ", " : "", linkTo(phrase)]), "."));
    return { title: words, said: `No results. ${nodes[1].textContent}`, nodes };
  }
  if (answer.exact.length) nodes.push(exactSection(answer, side), make("h2", { class: "ranked" }, labelOf(answer.gallery)));
  nodes.push(list(answer.results, side, labelOf(answer.gallery)), moreLink(answer, [side]));
  const n = answer.results.length;
  const missing = unknown.length ? ` Not in the vocabulary: ${unknown.join(", ")}.` : "";
  return { title: words, said: `${count(n, kind)}, the nearest: ${nameOf(answer.results[0])}.${missing}`, nodes };
}

/** The items that are called what the user typed; the model may rank others before them. */
function exactSection({ exact, gallery }, side) {
  const label = `${KINDS[gallery][0].toUpperCase()}${KINDS[gallery].slice(1)}s called “${shorten(side.value)}”`;
  return make("section", { class: "exact" }, make("h2", {}, label), list(exact, side, label));
}

function moreLink(answer, sides) {
  const shown = answer.results.length;
  const next = Math.min(shown * 2, about.most_results);
  if (next <= shown || shown >= answer.total) return null;
  const where = { "data-from": shown, "data-list": labelOf(answer.gallery) };
  return make("a", { class: "further", href: addressOf(sides, next), ...where }, `Show ${next - shown} more`);
}

/** An item or a picture of the user: what it is, what is nearest to it, and how the two are compared. */
async function itemView(sides, k, signal) {
  const shown = sides.at(-1);
  const search = (gallery, n) => gallery in about.galleries ? ask("search", [shown], { gallery, k: n }, signal) : null;
  const [texts, images, pair] = await Promise.all([search("text", BESIDE), search("image", k ?? BESIDE),
    sides.length > 1 ? ask("pair", sides, {}, signal) : null]);
  const item = (texts ?? images).query;
  const name = item.kind === "picture" ? "Your picture" : item.id;
  const nearest = (item.modality === "image" ? texts ?? images : images ?? texts).results[0];
  const compared = pair ?? (nearest && { query: item, item: { kind: "item", ...nearest }, distance: nearest.distance });
  const lists = [texts && nearestSection(texts, null), images && nearestSection(images, moreLink(images, sides))].filter(Boolean);
  if (item.modality === "text") lists.reverse();
  const counts = [texts, images].filter(Boolean).map(({ gallery, results }) => count(results.length, KINDS[gallery]));
  const itself = make("div", { class: "subject" },
      item.picture ? originalLink(item, make("img", { src: item.picture, alt: name, ...(about.photos ? {} : { width: 152, height: 152 }) })) : null,
      make("div", {},
        make("h1", { tabindex: -1 }, name),
        describe(item),
        ...(pair ? [
          make("p", {}, `Distance to ${quoteName(pair.query)}: `,
            make("strong", { class: "distance" }, pair.distance.toFixed(3))),
          make("p", {}, make("a", { href: addressOf(sides.slice(0, 1)) }, `Back to ${quoteName(pair.query)}`)),
        ] : [])));
  const other = pair ? quoteName(pair.query) : nearest && `the nearest ${KINDS[nearest.modality]}`;
  const nodes = [
    make("div", { class: "beside" }, itself, compared ? attentionTable(compared, other) : null),
    ...lists,
  ];
  return { title: name, said: `${name}: ${counts.join(" and ")} nearest to it.`, nodes };
}

/** The picture, as a link to its file where the server may send it. */
function originalLink(item, picture) {
  if (!item.original) return picture;
  return make("a", { href: item.original, target: "_blank", rel: "noopener", class: "original",
    "aria-label": `${nameOf(item)}, the original in a new tab` }, picture);
}

function nearestSection({ gallery, results }, more) {
  return make("section", {},
    make("h2", {}, gallery === "image" ? "Nearest pictures" : "Nearest texts"),
    results.length ? list(results, null, labelOf(gallery)) : make("p", { class: "faint" }, "There are no others."),
    more);
}

const ORIGINS = {
  train: "the model was trained on it", validation: "the model was chosen by it", test: "the model was not trained on it",
};

function describe(item) {
  if (item.kind === "picture") return [make("p", { class: "faint" }, "As the model sees it: 64 × 64 pixels, on white.")];
  const { group, split } = item.fields;
  return [
    make("p", { class: "faint" }, [KINDS[item.modality], group].filter(Boolean).join(" · ")),
    split ? make("p", { class: "faint" }, `${split} split${split in ORIGINS ? `: ${ORIGINS[split]}` : ""}`) : null,
    ...captionsOf(item).map((caption) => make("p", { class: "caption" }, caption)),
  ];
}

function quoteName(side) {
  if (side.kind === "picture") return "your picture";
  return `“${shorten(side.kind === "words" ? side.words : nameOf(side))}”`;
}

/** Which of the views of a pair decided, in words, with a table of bars; the equations are for those who open them. */
function attentionTable({ query, item, distance }, other) {
  const kinds = [query, item].map((side) => (side.kind === "words" ? "words" : KINDS[side.modality]));
  const heads = kinds[0] === kinds[1] ? [`first ${kinds[0]}`, `second ${kinds[1]}`] : kinds;
  const together = query.attention.map((weight, i) => weight + item.attention[i]);
  if (together.length < 2) return null; // a single view decides alone
  const whole = Math.max(1, ...together);
  const strongest = together.indexOf(Math.max(...together));
  const number = (value) => make("td", {}, value.toFixed(3));
  return make("section", { class: "attention" },
    make("h2", {}, `How it is compared with ${other}`),
    make("p", {}, `The model looks at everything in ${count(together.length, "way")}. For these two, view ${strongest + 1} counts `
      + `most: ${Math.round(50 * together[strongest])} %. Their distance is ${distance.toFixed(3)}.`),
    make("table", {},
      make("caption", {}, `How much each view counts for ${quoteName(query)} and ${quoteName(item)}`),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, make("span", { class: "unseen" }, "view")),
        make("th", { scope: "col" }, make("span", { class: "of-query" }, heads[0])),
        make("th", { scope: "col" }, make("span", { class: "of-item" }, heads[1])),
        make("th", { scope: "col" }, "together"), make("td", { class: "bar" }))),
      make("tbody", {}, together.map((weight, i) => make("tr", {},
        make("th", { scope: "row" }, String(i + 1)), number(query.attention[i]), number(item.attention[i]), number(weight),
        make("td", { class: "bar" }, bar([[query.attention[i], "of-query"], [item.attention[i], "of-item"]], whole)))))),
    make("details", {}, make("summary", {}, "For researchers"),
      make("p", {}, "A view is one of the k representations of an item. The attention of an item sums to 1 (Eq. 1). The "
        + "attentions of both sides, added up, weigh the representations of either side (Eq. 2 and 3). The distance of the "
        + "two weighted sums is 1 minus their cosine (Eq. 4 and 5): 0 is alike, 1 unrelated, 2 opposite.")));
}

function failureView(error) {
  const again = make("button", { type: "button" }, "Try again");
  again.addEventListener("click", () => show({ focus: "h1" }));
  return {
    title: "Error", said: "", nodes: [
      make("h1", { tabindex: -1 }, "That did not work"),
      make("p", { class: "warning", role: "alert" }, error.message),
      error.isLasting ? make("a", { href: "/" }, "Back to the start") : again,
    ],
  };
}

// ---- what is shown

/** Shows what the address asks for; then focuses `focus`, a selector or the address of a link. */
async function show({ focus = null, scroll = 0 } = {}) {
  current.abort();
  const mine = current = new AbortController();
  main.setAttribute("aria-busy", "true");
  const { sides, k } = viewOf(new URL(location));
  let view;
  try {
    about ?? introduce(await fetchJson("/api/about", mine.signal));
    const last = sides.at(-1);
    if (!last) view = homeView();
    else if (last.kind === "words") view = await wordsView(last.value, k, mine.signal);
    else view = await itemView(sides, k, mine.signal);
  } catch (error) {
    if (mine.signal.aborted) return;
    if (!(error instanceof Failure)) console.error(error);
    view = failureView(error instanceof Failure ? error : new Failure("This page failed. Please reload it."));
  }
  if (mine.signal.aborted) return;
  fill(sides);
  main.replaceChildren(...view.nodes.filter(Boolean));
  main.setAttribute("aria-busy", "false");
  document.title = [view.title, element("title").textContent].filter(Boolean).join(" – ");
  element("status").textContent = view.said;
  scrollTo(0, scroll);
  if (focus) find(focus)?.focus({ preventScroll: scroll > 0 });
}

function find(focus) {
  const links = [...main.querySelectorAll("a")];
  const link = links.find((one) => one.getAttribute("href") === focus);
  return link ?? main.querySelector(focus.startsWith("/") ? "h1" : focus);
}

/** Puts the words of the address into the form, unless there are none and the user is typing there. */
function fill(sides) {
  const words = sides.find(({ kind }) => kind === "words")?.value ?? "";
  if (document.activeElement !== element("words") || words) element("words").value = words;
}

/** Sets up the parts of the page that depend on the collection. */
function introduce(answer) {
  about = answer;
  const galleries = Object.keys(about.galleries);
  element("title").textContent = `Search ${about.title}`.trim();
  element("about").textContent = "Found by GPLDAN, trained " + (about.dataset ? `on ${about.dataset}` : "")
    + (about.epoch ? `, epoch ${about.epoch}.` : ".")
    + (about.candidates ? ` Ranked are the ${count(about.candidates, "nearest candidate")} of a vector index.` : "");
  element("synthetic").hidden = !about.synthetic;
  element("by-words").hidden = !about.asks.words;
  element("by-picture").hidden = !about.asks.picture;
  element("by-item").hidden = false;
  element("by-item").open = !about.asks.words;
  element("modalities").hidden = galleries.length < 2;
  document.querySelector(`[name=modality][value=${galleries[0]}]`).checked = true;
  for (const input of [element("words"), element("id")]) input.maxLength = about.limits.characters;
}

/** Goes to an address of this page; remembers focus and scroll position for Back. */
function go(href, focus, from = null) {
  history.replaceState({ focus: from, scroll: scrollY }, "");
  history.pushState(null, "", href);
  show({ focus });
}

// ---- what users do

function follow(event) {
  const link = event.target.closest("a");
  if (!link || link.target || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  if (link.className === "skip") return main.focus();
  const { from, list } = link.dataset;
  const first = from && `ol[aria-label="${list}"] li:nth-child(${Number(from) + 1}) a`; // the first new result
  go(link.getAttribute("href"), first ?? "h1", link.getAttribute("href"));
}

function searchWords(event) {
  event.preventDefault();
  const words = element("words").value.trim();
  if (!words) return;
  if (matchMedia("(pointer: coarse)").matches) element("words").blur(); // hides the screen keyboard
  go(addressOf([{ kind: "words", value: words }]), null);
}

function searchItem(event) {
  event.preventDefault();
  const { modality, id } = Object.fromEntries(new FormData(event.target));
  if (id.trim()) go(addressOf([{ kind: modality, value: id.trim() }]), "h1");
}

/** Sends a picture once and gets it as the model sees it, small enough for an address. */
async function searchPicture(file) {
  current.abort();
  const mine = current = new AbortController();
  main.setAttribute("aria-busy", "true");
  try {
    const most = about.limits.body_bytes;
    if (file.size > most) {
      throw new Failure(`The picture is too large: ${Math.ceil(file.size / 1e6)} MB, at most ${most / 1e6} MB.`, true);
    }
    const type = file.type.startsWith("image/") ? file.type : "image/unknown";
    const { query } = await fetchJson("/api/search?k=1", mine.signal, new Blob([file], { type }));
    go(addressOf([{ kind: "picture", value: query.picture.split(",")[1] }]), "h1");
  } catch (error) {
    if (mine.signal.aborted) return;
    const view = failureView(error instanceof Failure ? error : new Failure("The picture could not be sent."));
    main.replaceChildren(...view.nodes);
    main.setAttribute("aria-busy", "false");
    main.querySelector("h1").focus();
  }
}

const pictureIn = (data) => about?.asks.picture ? [...(data?.files ?? [])][0] : null;

function drag(event) {
  const isPicture = about?.asks.picture && event.dataTransfer?.types.includes("Files");
  if (isPicture) event.preventDefault();
  document.body.classList.toggle("dropping", isPicture && event.type === "dragover");
  if (isPicture && event.type === "drop" && pictureIn(event.dataTransfer)) searchPicture(pictureIn(event.dataTransfer));
}

let typing = 0;

function suggest(event) {
  clearTimeout(typing);
  const part = event.target.value.trim();
  if (!part) return;
  typing = setTimeout(async () => {
    const { modality } = Object.fromEntries(new FormData(event.target.form));
    const query = new URLSearchParams({ [modality]: part });
    const answer = await fetchJson(`/api/suggestions?${query}`).catch(() => ({ ids: [], captions: [] }));
    element("ids").replaceChildren(...answer.ids.map((id, i) => make("option", { value: id }, shorten(answer.captions[i]))));
  }, 120);
}

history.scrollRestoration = "manual";
document.addEventListener("click", follow);
addEventListener("popstate", () => show({ focus: history.state?.focus ?? "h1", scroll: history.state?.scroll }));
element("by-words").addEventListener("submit", searchWords);
element("by-item").querySelector("form").addEventListener("submit", searchItem);
element("id").addEventListener("input", suggest);
element("file").addEventListener("change", ({ target }) => {
  if (target.files[0]) searchPicture(target.files[0]);
  target.value = ""; // so that choosing the same file again is a change
});
for (const type of ["dragover", "dragleave", "drop"]) document.addEventListener(type, drag);
document.addEventListener("paste", (event) => {
  const picture = pictureIn(event.clipboardData);
  if (!picture) return;
  event.preventDefault();
  searchPicture(picture);
});
show({ scroll: history.state?.scroll });
