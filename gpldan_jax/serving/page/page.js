// The page of a collection. The address says what is shown (see asking.js), so every view can be bookmarked, and Back and
// Forward work. The history keeps with each address what is no part of it: a picture of the user, the place of scrolling,
// and what had the focus.

import { Failure, addressOf, ask, fetchJson, site, viewOf } from "./asking.js";
import { KINDS, attentionTable, count, describe, labelOf, list, make, nameOf, originalLink, quoteName, shorten, tile }
  from "./drawing.js";
import { refineForm, sidesList } from "./refining.js";

const BESIDE = 12; // results beside an item, unless the address says how many
const SETTLED = 150; // milliseconds after which scrolling or typing has paused
const element = (id) => document.getElementById(id);
const main = element("results");
const further = new WeakMap(); // for each link to more results, what it asks for
let current = new AbortController(); // aborts what is being loaded
let scrolling = 0, typing = 0; // timers
let isWatching = false; // whether the user has scrolled in this view

// ---- views

const linkTo = (words) => make("a", { href: addressOf([{ kind: "words", value: words }]) }, words);

function homeView() {
  const { galleries, phrases, shelf } = site.about;
  const [[first, total]] = Object.entries(galleries);
  const kinds = Object.entries(galleries).map(([modality, n]) => count(n, KINDS[modality])).join(" and ");
  return {
    title: "", said: `${kinds} to search`, nodes: [
      make("h1", { tabindex: -1 }, `${kinds} to search`),
      phrases.length ? make("ul", { class: "phrases", "aria-label": "Words to begin with" },
        phrases.map((words) => make("li", {}, linkTo(words)))) : null,
      make("section", {},
        make("h2", {}, `${phrases.length ? "Or begin" : "Begin"} with one of the ${KINDS[first]}s`),
        list(shelf, `${shelf.length} of ${count(total, KINDS[first])}`)),
    ],
  };
}

async function wordsView({ sides, filters, k }, signal) {
  const [side] = sides;
  const answer = await ask("search", sides, { k, ...filters }, signal);
  const { known, unknown } = answer.query;
  const kind = KINDS[answer.gallery];
  const heading = known ? `Nearest ${kind}s to “${shorten(side.value)}”` : "Nothing to search by";
  const nodes = [make("h1", { tabindex: -1 }, heading), vocabularyWarning(answer.query)];
  if (!known) {
    const said = `No results. ${nodes[1].textContent}`;
    if (answer.exact.length) nodes.push(exactSection(answer, side));
    const { phrases } = site.about;
    if (phrases.length) nodes.push(make("p", {}, "Try ", phrases.slice(0, 3).flatMap((phrase, i) =>
      [i ? ", " : "", linkTo(phrase)]), "."));
    return { title: side.value, said, nodes };
  }
  nodes.push(refineForm(sides));
  if (answer.exact.length) nodes.push(exactSection(answer, side), make("h2", { class: "ranked" }, labelOf(answer.gallery)));
  nodes.push(...resultsOf(answer, sides, sides, { query: side, sides }, "Nothing passes the filters."));
  return { title: side.value, said: summary(answer), nodes };
}

/** Several sides: what they are, with links that take each away, and what is nearest to all of them together. */
async function severalView({ sides, filters, k }, signal) {
  const ordered = [...sides.filter(({ role }) => role !== "not_"), ...sides.filter(({ role }) => role === "not_")];
  const answer = await ask("search", ordered, { k, ...filters }, signal);
  const described = answer.query.sides;
  const [wanted, unwanted] = [true, false].map((is) =>
    described.filter((side) => side.wanted === is).map((side) => quoteName(side, 40)));
  const title = `${wanted.join(" and ")}${unwanted.length ? `, not ${unwanted.join(", not ")}` : ""}`;
  const { known } = answer.query;
  return {
    title, said: known ? summary(answer) : "No results.", nodes: [
      make("h1", { tabindex: -1 }, known ? `Nearest ${KINDS[answer.gallery]}s to ${title}` : "Nothing to search by"),
      vocabularyWarning(answer.query),
      sidesList(ordered, described),
      known ? make("p", { class: "faint" }, "The number of a result is its mean distance to what you want, minus half its "
        + "mean distance to what you do not want. The smallest is the best.") : null,
      refineForm(ordered),
      ...(known ? resultsOf(answer, ordered, ordered, { sides: ordered }, "Nothing else passes the filters.") : []),
    ],
  };
}

function vocabularyWarning({ known, unknown }) {
  if (unknown.length) {
    const never = unknown.length > 1 ? "the model has never seen them" : "the model has never seen it";
    return make("p", { class: "warning" }, "Not in the vocabulary: ", make("strong", {}, unknown.join(", ")),
      `; ${never}${known ? " and searched by the other words." : "."}`);
  }
  return known ? null : make("p", { class: "warning" }, "A word has two or more letters or digits.");
}

function summary({ query, results, gallery }) {
  const missing = query.unknown?.length ? ` Not in the vocabulary: ${query.unknown.join(", ")}.` : "";
  if (!results.length) return `No results.${missing}`;
  return `${count(results.length, KINDS[gallery])}, the nearest: ${nameOf(results[0])}.${missing}`;
}

/** The items that are called what the user typed; the model may rank others before them. */
function exactSection({ exact, gallery }, side) {
  const label = `${KINDS[gallery][0].toUpperCase()}${KINDS[gallery].slice(1)}s called “${shorten(side.value)}”`;
  return make("section", { class: "exact" }, make("h2", {}, label), list(exact, label, { query: side }));
}

/** A list of results with a link to more, or a line that there are none. */
function resultsOf(answer, asked, sides, options, nothing) {
  if (!answer.results.length) return [make("p", { class: "faint" }, nothing)];
  const results = list(answer.results, labelOf(answer.gallery), options);
  return [results, moreLink(answer, { asked, sides, options, results })];
}

/** `asked` are the sides that found the results, `sides` those of the address. */
function moreLink({ results: { length: shown }, total, gallery }, more) {
  const k = Math.min(shown * 2, site.about.most_results);
  if (k <= shown || shown >= total) return null;
  const link = make("a", { class: "further", href: addressOf(more.sides, k) }, `Show ${k - shown} more`);
  further.set(link, { ...more, k, shown, gallery, isLoading: false, takesFocus: false });
  return link;
}

/** Adds the results of a link to more after those that are shown; the address changes, Back goes to the view before. */
async function loadMore(link, takesFocus) {
  const more = further.get(link);
  more.takesFocus ||= takesFocus;
  if (more.isLoading) return;
  more.isLoading = true;
  const { signal } = current;
  const { filters } = viewOf(new URL(location));
  try {
    const answer = await ask("search", more.asked, { gallery: more.gallery, k: more.k, ...filters }, signal);
    if (signal.aborted) return;
    more.results.append(...answer.results.slice(more.shown).map((item) => tile(item, more.options)));
    const next = moreLink(answer, more);
    link.replaceWith(...[next].filter(Boolean));
    history.replaceState(history.state, "", addressOf(more.sides, more.k));
    element("status").textContent = `${count(answer.results.length, KINDS[more.gallery])} are shown.`;
    if (more.takesFocus) more.results.children[more.shown]?.querySelector("a").focus();
    watchEnd();
  } catch (error) {
    if (signal.aborted) return;
    more.isLoading = false;
    if (!more.takesFocus) return; // the link stays, and says what is wrong when it is used
    link.after(make("p", { class: "warning", role: "alert" }, error.message));
    more.takesFocus = false;
  }
}

/** An item or a picture of the user: what it is, what is nearest to it, and how the two are compared. */
async function itemView({ sides, filters, k }, signal) {
  const shown = sides.at(-1);
  const search = (gallery, n) =>
    gallery in site.about.galleries ? ask("search", [shown], { gallery, k: n, ...filters }, signal) : null;
  const [texts, images, pair] = await Promise.all([search("text", BESIDE), search("image", k ?? BESIDE),
    sides.length > 1 ? ask("pair", sides, {}, signal) : null]);
  const item = (texts ?? images).query;
  const name = item.kind === "picture" ? "Your picture" : item.id;
  const nearest = (item.modality === "image" ? texts ?? images : images ?? texts).results[0];
  const compared = pair ?? (nearest && { query: item, item: { kind: "item", ...nearest }, distance: nearest.distance });
  const lists = [texts, images].filter(Boolean).map((answer) => nearestSection(answer, shown, sides));
  if (item.modality === "text") lists.reverse();
  const counts = [texts, images].filter(Boolean).map(({ gallery, results }) => count(results.length, KINDS[gallery]));
  const size = site.about.photos ? {} : { width: 152, height: 152 };
  const itself = make("div", { class: "subject" },
    item.picture ? originalLink(item, make("img", { src: item.picture, alt: name, ...size })) : null,
    make("div", {},
      make("h1", { tabindex: -1 }, name),
      describe(item),
      ...(pair ? [
        make("p", {}, `Distance to ${quoteName(pair.query)}: `, make("strong", { class: "distance" }, pair.distance.toFixed(3))),
        make("p", {}, make("a", { href: addressOf(sides.slice(0, 1)) }, `Back to ${quoteName(pair.query)}`)),
      ] : [])));
  const other = pair ? quoteName(pair.query) : nearest && `the nearest ${KINDS[nearest.modality]}`;
  return {
    title: name, said: `${name}: ${counts.join(" and ")} nearest to it.`, nodes: [
      make("div", { class: "beside" }, itself, compared ? attentionTable(compared, other) : null),
      refineForm([shown]),
      ...lists,
    ],
  };
}

/** What is nearest to an item; an address has one number of results, which is that of the pictures. */
function nearestSection(answer, shown, sides) {
  const [results, more] = resultsOf(answer, [shown], sides, { sides: [shown] }, "There are no others.");
  return make("section", {},
    make("h2", {}, labelOf(answer.gallery)), results, ...(answer.gallery === "image" && more ? [more] : []));
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
  isWatching = false;
  end.disconnect();
  adoptPicture();
  const asked = viewOf(new URL(location));
  let view;
  try {
    site.about ?? introduce(await fetchJson("/api/about", mine.signal));
    const last = asked.sides.at(-1);
    if (!last) view = homeView();
    else if (asked.isSeveral) view = await severalView(asked, mine.signal);
    else if (last.kind === "words") view = await wordsView({ ...asked, sides: [last] }, mine.signal);
    else view = await itemView(asked, mine.signal);
  } catch (error) {
    if (mine.signal.aborted) return;
    if (!(error instanceof Failure)) console.error(error);
    view = failureView(error instanceof Failure ? error : new Failure("This page failed. Please reload it."));
  }
  if (mine.signal.aborted) return;
  fill(asked);
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
function fill({ sides }) {
  const words = sides.find(({ kind, role }) => kind === "words" && !role)?.value ?? "";
  if (document.activeElement !== element("words") || words) element("words").value = words;
}

/** Sets up the parts of the page that depend on the collection. */
function introduce(answer) {
  const about = site.about = answer;
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

/** Addresses of before held the picture itself; it moves into the history. */
function adoptPicture() {
  const png = /^#png=([\w+/=]+)$/.exec(location.hash)?.[1];
  if (png) history.replaceState({ ...history.state, picture: png }, "", location.pathname + location.search);
}

/** Goes to an address of this page; the history keeps focus and place for Back, and the picture that it asks by. */
function go(href, focus, { from = null, picture = history.state?.picture } = {}) {
  clearTimeout(scrolling);
  history.replaceState({ ...history.state, focus: from, scroll: scrollY }, "");
  const asksByPicture = new URL(href, location).searchParams.has("picture");
  history.pushState(asksByPicture && picture ? { picture } : null, "", href);
  show({ focus });
}

/** Loads more results when the user comes to the end of the page; not under a focused link, which would take it away. */
const end = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting && target.isConnected && document.activeElement !== target) loadMore(target, false);
  }
}, { rootMargin: "0px 0px 200px 0px" });

/** Watches the link to more results, if nothing comes after it. */
function watchEnd() {
  end.disconnect();
  const link = [...main.querySelectorAll(".further")].at(-1);
  const isLast = link && !link.nextElementSibling && (link.parentElement === main || link.parentElement === main.lastElementChild);
  if (isLast) end.observe(link);
}

function scrolled() {
  if (main.getAttribute("aria-busy") === "true") return;
  if (!isWatching && scrollY > 0) {
    isWatching = true;
    watchEnd();
  }
  clearTimeout(scrolling);
  scrolling = setTimeout(() => history.replaceState({ ...history.state, scroll: scrollY }, ""), SETTLED);
}

// ---- what users do

function follow(event) {
  const link = event.target.closest("a");
  if (!link || link.target || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  if (link.className === "skip") return main.focus();
  if (further.has(link)) return loadMore(link, true);
  go(link.getAttribute("href"), "h1", { from: link.getAttribute("href") });
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

/** Sends a picture once and gets it as the model sees it, small enough for the history. */
async function searchPicture(file) {
  current.abort();
  const mine = current = new AbortController();
  main.setAttribute("aria-busy", "true");
  try {
    const most = site.about.limits.body_bytes;
    if (file.size > most) {
      throw new Failure(`The picture is too large: ${Math.ceil(file.size / 1e6)} MB, at most ${most / 1e6} MB.`, true);
    }
    const type = file.type.startsWith("image/") ? file.type : "image/unknown";
    const { query } = await fetchJson("/api/search?k=1", mine.signal, new Blob([file], { type }));
    go(addressOf([{ kind: "picture" }]), "h1", { picture: query.picture.split(",")[1] });
  } catch (error) {
    if (mine.signal.aborted) return;
    const view = failureView(error instanceof Failure ? error : new Failure("The picture could not be sent."));
    main.replaceChildren(...view.nodes);
    main.setAttribute("aria-busy", "false");
    main.querySelector("h1").focus();
  }
}

const pictureIn = (data) => site.about?.asks.picture ? [...(data?.files ?? [])][0] : null;

function drag(event) {
  const isPicture = site.about?.asks.picture && event.dataTransfer?.types.includes("Files");
  if (isPicture) event.preventDefault();
  document.body.classList.toggle("dropping", isPicture && event.type === "dragover");
  if (isPicture && event.type === "drop" && pictureIn(event.dataTransfer)) searchPicture(pictureIn(event.dataTransfer));
}

function suggest(event) {
  clearTimeout(typing);
  const part = event.target.value.trim();
  if (!part) return;
  typing = setTimeout(async () => {
    const { modality } = Object.fromEntries(new FormData(event.target.form));
    const query = new URLSearchParams({ [modality]: part });
    const answer = await fetchJson(`/api/suggestions?${query}`).catch(() => ({ ids: [], captions: [] }));
    element("ids").replaceChildren(...answer.ids.map((id, i) => make("option", { value: id }, shorten(answer.captions[i]))));
  }, SETTLED);
}

history.scrollRestoration = "manual";
document.addEventListener("click", follow);
document.addEventListener("move", ({ detail: { href, focus } }) => go(href, focus));
addEventListener("scroll", scrolled, { passive: true });
addEventListener("popstate", () => {
  clearTimeout(scrolling);
  show({ focus: history.state?.focus ?? "h1", scroll: history.state?.scroll });
});
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
