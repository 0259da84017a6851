// What changes a query: the sides that it has, words to add, and filters. All of it is links and addresses.

import { FIELDS, MOST_SIDES, addressOf, site, viewOf, withSide, withoutSide } from "./asking.js";
import { make, quoteName } from "./drawing.js";

/** A form that adds words to the query, and selects of the filters. */
export function refineForm(sides) {
  const fields = Object.keys(FIELDS).map(filterOf).filter(Boolean);
  const hasWords = site.about.asks.words && sides.length < MOST_SIDES;
  if (!hasWords && !fields.length) return null;
  const form = make("form", { class: "refine", "aria-label": "Change the search" },
    hasWords ? make("div", { class: "add" },
      make("label", { for: "also" }, "Add words"),
      make("input", { id: "also", required: "", autocomplete: "off", autocapitalize: "none", spellcheck: "false",
        maxlength: site.about.limits.characters }),
      make("button", { class: "quiet" }, "And"),
      make("button", { class: "quiet", value: "not_" }, "But not")) : null,
    ...fields);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const words = form.querySelector("#also").value.trim();
    if (words) move(form, addressOf(withSide(sides, "words", words, event.submitter?.value || "and_")), "#also");
  });
  form.addEventListener("change", ({ target }) => {
    if (!target.dataset.field) return;
    const filters = { ...viewOf(new URL(location)).filters, [target.dataset.field]: target.value };
    move(form, addressOf(viewOf(new URL(location)).sides, null, filters), `#${target.id}`);
  });
  return form;
}

/** Asks the page to go to an address and to focus an element there. */
function move(from, href, focus) {
  from.dispatchEvent(new CustomEvent("move", { bubbles: true, detail: { href, focus } }));
}

function filterOf(field) {
  const { filters, galleries } = site.about;
  const gallery = Object.keys(galleries).find((modality) => filters[modality]?.[field]);
  const counts = Object.entries(filters[gallery]?.[field] ?? {});
  const chosen = viewOf(new URL(location)).filters[field] ?? "";
  if (counts.length < 2 && !chosen) return null;
  if (chosen && !counts.some(([value]) => value === chosen)) counts.push([chosen, 0]);
  const option = (value, text) => make("option", { value, ...(value === chosen ? { selected: "" } : {}) }, text);
  return make("div", { class: "filter" }, make("label", { for: `by-${field}` }, FIELDS[field]),
    make("select", { id: `by-${field}`, "data-field": field, autocomplete: "off" }, option("", "all"),
      counts.map(([value, n]) => option(value, `${value} (${n.toLocaleString("en")})`))));
}

/** The sides of a query with links that take them away; `described` are the same sides as the server knows them. */
export function sidesList(sides, described) {
  return make("ul", { class: "sides", "aria-label": "The sides of this search" }, sides.map((side, i) => {
    const name = quoteName(described[i], 40), left = withoutSide(sides, side);
    return make("li", { class: side.role === "not_" ? "unwanted" : null },
      described[i].picture ? make("img", { src: described[i].picture, alt: "", width: 28, height: 28 }) : null,
      make("span", {}, side.role === "not_" ? `not ${name}` : name),
      left ? make("a", { href: addressOf(left), "aria-label": `Remove ${name}` }, "×") : null);
  }));
}
