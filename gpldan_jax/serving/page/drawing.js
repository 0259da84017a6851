// Elements of the page, made of what the server has answered. Texts of users are always text, never markup.

import { MOST_SIDES, addressOf, site, withSide } from "./asking.js";

export const KINDS = { image: "picture", text: "text" };
const ROLES = { and_: "And", not_: "Not" };

/** Makes an element: `make("a", { href: "/" }, "text", child, ...)`; null and false are left out. */
export function make(name, attributes = {}, ...children) {
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

export const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
export const labelOf = (gallery) => `Nearest ${KINDS[gallery]}s`;
export const captionsOf = (item) => (item.fields.text || "").split("\n").filter(Boolean);
export const nameOf = (item) => captionsOf(item)[0] || item.id;
export const shorten = (text, most = 60) => (text.length > most ? `${text.slice(0, most - 3).trim()}…` : text);

/** Results as a list of links; each opens an item, compared with `query` if there is one, or is added to `sides`. */
export function list(results, label, options = {}) {
  const texts = !results.some((item) => item.picture);
  const kind = texts ? "items texts" : site.about.photos ? "items photos" : "items";
  return make("ol", { class: kind, "aria-label": label }, results.map((item) => tile(item, options)));
}

export function tile(item, { query = null, sides = null } = {}) {
  const href = addressOf([...(query ? [query] : []), { kind: item.modality, value: item.id }]);
  const others = captionsOf(item).length - 1;
  const about = [item.fields.text ? item.id : null, item.fields.group, others > 0 && `${count(others, "more caption")}`];
  const measure = "score" in item ? "score" : "distance";
  return make("li", {},
    make("a", { href, class: "tile" },
      item.picture ? make("img", { src: item.picture, alt: "", width: 84, height: 84, loading: "lazy" }) : null,
      make("span", { class: item.fields.text ? "name prose" : "name" }, nameOf(item)),
      make("span", { class: "more" },
        make("span", {}, about.filter(Boolean).join(" · ")),
        item[measure] === undefined ? null
          : make("data", { class: "distance", value: item[measure] },
            make("span", { class: "unseen" }, `${measure} `), item[measure].toFixed(3).replace("-", "−")))),
    addLinks(item, sides));
}

/** Links beside a result that add it to the query, as wanted or as not wanted. */
function addLinks(item, sides) {
  if (!sides || sides.length >= MOST_SIDES) return null;
  return make("span", { class: "adding" }, Object.entries(ROLES).map(([role, word]) =>
    make("a", { href: addressOf(withSide(sides, item.modality, item.id, role)) }, `${word} this `,
      make("span", { class: "unseen" }, nameOf(item)))));
}

/** The picture, as a link to its file where the server may send it. */
export function originalLink(item, picture) {
  if (!item.original) return picture;
  return make("a", { href: item.original, target: "_blank", rel: "noopener", class: "original",
    "aria-label": `${nameOf(item)}, the original in a new tab` }, picture);
}

const ORIGINS = {
  train: "the model was trained on it", validation: "the model was chosen by it", test: "the model was not trained on it",
};

export function describe(item) {
  if (item.kind === "picture") return [make("p", { class: "faint" }, "As the model sees it: 64 × 64 pixels, on white.")];
  const { group, split } = item.fields;
  return [
    make("p", { class: "faint" }, [KINDS[item.modality], group].filter(Boolean).join(" · ")),
    split ? make("p", { class: "faint" }, `${split} split${split in ORIGINS ? `: ${ORIGINS[split]}` : ""}`) : null,
    ...captionsOf(item).map((caption) => make("p", { class: "caption" }, caption)),
  ];
}

export function quoteName(side, most = 60) {
  if (side.kind === "picture") return "your picture";
  return `“${shorten(side.kind === "words" ? side.words : nameOf(side), most)}”`;
}

/** Which of the views of a pair decided, in words, with a table of bars; the equations are for those who open them. */
export function attentionTable({ query, item, distance }, other) {
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
