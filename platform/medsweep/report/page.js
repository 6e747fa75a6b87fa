// Filters and sorts, decides by limits, and shows the values of the charts; without scripts every row is shown, every
// value stands in a table, and the browser shows a chart's values itself.
"use strict";
const form = document.getElementById("filter");
const choices = [...form.querySelectorAll("select")];

function chosen(names) {
  return choices.every(({ name, value }) => value === "" || !names[name] || names[name] === value);
}

function shown(row) {
  const labels = [...row.querySelectorAll("th")].map((cell) => cell.dataset.value);
  return choices.every(({ name, value }) => {
    const known = [...form.elements[name].options].map((option) => option.value);
    // A row that names none of the models is not about models, and stays.
    const named = labels.filter((label) => label && known.includes(label));
    return value === "" || named.length === 0 || named.includes(value);
  });
}

function apply() {
  for (const row of document.querySelectorAll("tbody tr")) row.hidden = !shown(row);
  for (const mark of document.querySelectorAll("svg [data-model]")) mark.classList.toggle("off", !chosen(mark.dataset));
  if (limits) choose();
}

// The choice is part of the address, so that it can be sent to somebody.
for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
  if (form.elements[name]) form.elements[name].value = value;
}
form.addEventListener("change", () => {
  const chosen = choices.filter(({ value }) => value !== "");
  history.replaceState(null, "", "#" + new URLSearchParams(chosen.map((each) => [each.name, each.value])));
  apply();
});

// A heading sorts its table: ascending, descending, and as it was. What is missing comes last.
function sort(heading) {
  const table = heading.closest("table"), body = table.tBodies[0];
  const next = { ascending: "descending", descending: null }[heading.ariaSort] ?? (heading.ariaSort ? null : "ascending");
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  if (next) heading.setAttribute("aria-sort", next);
  const sign = next === "descending" ? -1 : 1;
  const entry = (row) => {
    const text = row.cells[heading.cellIndex].firstChild?.textContent.trim() ?? "";
    const number = parseFloat(text.replaceAll(",", "").replace("\u2212", "-").replace("< ", ""));
    return { row, text, number: heading.className === "number" ? number : NaN, missing: text === "\u2013" || text === "" };
  };
  const compare = (one, other) =>
    one.missing - other.missing ||
    sign * (Number.isNaN(one.number - other.number) ? one.text.localeCompare(other.text, "en", { numeric: true }) : one.number - other.number);
  const entries = [...body.rows].map(entry);
  entries.sort(next ? compare : (one, other) => one.row.dataset.place - other.row.dataset.place);
  body.append(...entries.map(({ row }) => row));
}

for (const table of document.querySelectorAll("table")) {
  [...table.tBodies[0].rows].forEach((row, place) => { row.dataset.place = place; });
  table.tHead.addEventListener("click", ({ target }) => target.closest("button") && sort(target.closest("th")));
}

// What meets the reader's limits: the bounds that are certain were computed with the report.
const limits = document.getElementById("limits");
const options = limits ? JSON.parse(document.getElementById("options").textContent) : [];

// The probability that an option meets a limit, from its curve; null where it is unknown.
function probability(option, [name, bound]) {
  if (!option.limits[name]) return null;
  const [bounds, probabilities] = option.limits[name];
  const lax = name.startsWith("max-") ? bound : -bound;
  const at = bounds.findLastIndex((each) => each <= lax);
  if (at < 0) return probabilities[0];
  const [low, high] = [probabilities[at], probabilities[at + 1]];
  if (at === bounds.length - 1 || bounds[at] === lax) return low;
  return low === null || high === null ? null : low + ((high - low) * (lax - bounds[at])) / (bounds[at + 1] - bounds[at]);
}

// As in `recommend`: all limits are met with at least this, one is missed with at least this.
const SURE = 0.95;

function assess(option, set) {
  const each = set.map((limit) => probability(option, limit));
  const all = each.includes(null) ? null : Math.max(0, 1 - each.reduce((sum, one) => sum + 1 - one, 0));
  const met = all !== null && all >= SURE;
  const missed = each.some((one) => one !== null && one <= 1 - SURE);
  return { ...option, all, standing: met ? 0 : missed ? 2 : 1 };
}

function best(set) {
  const kept = new Map(); // of each configuration the load point that meets the limits with most room
  const suitability = ({ standing, all, requests_per_s }) => [standing === 0, standing === 0 ? 0 : all ?? 0, requests_per_s ?? 0];
  for (const each of options.filter(chosen).map((option) => assess(option, set))) {
    const known = kept.get(each.configuration);
    if (!known || larger(suitability(each), suitability(known))) kept.set(each.configuration, each);
  }
  const ranked = [...kept.values()];
  const unpriced = new Set(ranked.filter(({ usd_per_hour }) => usd_per_hour === null).map(({ standing }) => standing));
  const price = (each) => (set.length === 0 || unpriced.has(each.standing) ? 0 : -each.usd_per_hour);
  const rank = (each) => [-each.standing, price(each), each.token_f1 ?? 0, -(each.e2e_s ?? Infinity)];
  return ranked.sort((one, other) => (larger(rank(one), rank(other)) ? -1 : larger(rank(other), rank(one)) ? 1 : 0));
}

function larger(one, other) {
  const at = one.findIndex((value, place) => value !== other[place]);
  return at >= 0 && one[at] > other[at];
}

function told({ configuration, load, shown }) {
  const figures = Object.entries(shown).map(([name, value]) => `${name} ${value}`);
  return `${configuration} at ${load} (${figures.join(", ")})`;
}

function choose() {
  const set = [...limits.elements].filter(({ value }) => value !== "").map(({ name, value, dataset }) => [name, value / dataset.perUnit]);
  const text = document.getElementById("chosen");
  const filtered = choices.some(({ value }) => value !== "");
  if (set.length === 0 && !filtered) return void (text.textContent = "");
  const ranked = best(set);
  const first = ranked[0];
  if (!first) return void (text.textContent = "The filter leaves no configuration that can be chosen.");
  if (set.length === 0) return void (text.textContent = `Of what the filter leaves, ${told(first)} has the highest token F1.`);
  const open = ranked.filter((each) => each.standing === 1);
  if (first.standing === 0) text.textContent = `Take ${told(first)}: it meets ${set.length === 1 ? "the limit" : "all limits"} with a probability of at least 95 %.`;
  else if (open.length) text.textContent = `No configuration is known to meet the limits. Measure more repeats or questions of ${told(open[0])}.`;
  else text.textContent = "Every configuration misses a limit.";
}

limits?.addEventListener("input", choose);
limits?.addEventListener("submit", (event) => event.preventDefault());
apply();

// On a phone contents and filter are behind a button.
const menu = document.getElementById("menu");
menu.addEventListener("click", () => menu.setAttribute("aria-expanded", menu.ariaExpanded !== "true"));
document.querySelector("nav").addEventListener("click", () => menu.setAttribute("aria-expanded", "false"));

const box = document.getElementById("tip");
const MOST_LINES = 6;
let lit = [];

function light(marks, x, y, meaning) {
  for (const mark of lit) mark.classList.remove("on");
  lit = marks;
  for (const mark of lit) mark.classList.add("on");
  const lines = lit.map((mark) => mark.dataset.tip);
  const more = lines.length - MOST_LINES;
  box.textContent = meaning ?? [...lines.slice(0, MOST_LINES), ...(more > 0 ? [`and ${more} more`] : [])].join("\n");
  box.style.left = Math.max(8, Math.min(x + 12, innerWidth - box.offsetWidth - 8)) + "px";
  const above = y - box.offsetHeight - 12;
  box.style.top = (above > 8 ? above : y + 16) + "px";
}

const off = (mark) => mark.classList.contains("off");

function walk(card, marks, step) {
  const at = marks.indexOf(lit[0]);
  const next = marks[(at + step + marks.length + (at < 0 && step < 0 ? 1 : 0)) % marks.length];
  next.scrollIntoView({ block: "nearest", inline: "nearest" });
  const { right, top } = next.getBoundingClientRect();
  light([next], right, top);
}

for (const card of document.querySelectorAll(".card")) {
  const marks = [...card.querySelectorAll(".tip")];
  for (const mark of marks) {
    const title = mark.querySelector("title");
    mark.dataset.tip = title.textContent;
    title.remove(); // else the browser shows the same a second time
  }
  const point = ({ clientX, clientY }) => {
    const under = document.elementsFromPoint(clientX, clientY).map((each) => each.closest(".tip"));
    light([...new Set(under.filter((mark) => mark && card.contains(mark) && !off(mark)))], clientX, clientY);
  };
  card.addEventListener("pointermove", point);
  card.addEventListener("pointerdown", point);
  card.addEventListener("pointerleave", () => light([], 0, 0));
  card.addEventListener("blur", () => light([], 0, 0));
  card.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") light([], 0, 0);
    if (step === undefined || marks.every(off)) return;
    event.preventDefault();
    walk(card, marks.filter((mark) => !off(mark)), step);
  });
}
addEventListener("scroll", () => lit.length && !document.activeElement.closest(".card") && light([], 0, 0), { passive: true });

// What a term means is told on focus too: a title alone is shown to a mouse only.
addEventListener("focusin", ({ target }) => {
  if (!target.matches("thead button")) return;
  const { left, top } = target.getBoundingClientRect();
  light([], left, top, target.title);
});
addEventListener("focusout", ({ target }) => target.matches("thead button") && light([], 0, 0));
