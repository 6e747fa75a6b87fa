// Filters the tables and shows the values of the charts; without scripts every row is shown, every
// value stands in a table, and the browser shows a chart's values itself.
"use strict";
const form = document.getElementById("filter");
const choices = [...form.querySelectorAll("select")];

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
apply();

// What meets the reader's limits: the bounds that are certain were computed with the report.
const limits = document.getElementById("limits");
const options = limits ? JSON.parse(document.getElementById("options").textContent) : [];

function standing(option, set) {
  const certain = set.map(([name]) => option.limits[name]);
  const upper = (name) => name.startsWith("max-");
  const within = (name, value, bound) => value !== null && (upper(name) ? value <= bound : value >= bound);
  if (set.some(([name, bound], at) => within(name, bound, certain[at][0].missed ?? NaN))) return 2;
  return set.every(([name, bound], at) => within(name, certain[at][set.length - 1].met, bound)) ? 0 : 1;
}

function best(set) {
  const judged = options.map((option) => ({ ...option, standing: standing(option, set) }));
  const kept = new Map(); // of each configuration the load point that meets the limits with most room
  for (const each of judged) {
    const known = kept.get(each.configuration);
    const room = ({ standing, requests_per_s }) => [-standing, requests_per_s ?? 0];
    if (!known || larger(room(each), room(known))) kept.set(each.configuration, each);
  }
  const ranked = [...kept.values()];
  const priced = ranked.every(({ standing, usd_per_hour }) => standing !== 0 || usd_per_hour !== null);
  const rank = (each) => [-each.standing, priced ? -(each.usd_per_hour ?? 0) : 0, each.token_f1 ?? 0, -(each.e2e_s ?? Infinity)];
  return ranked.sort((one, other) => (larger(rank(one), rank(other)) ? -1 : 1));
}

function larger(one, other) {
  const at = one.findIndex((value, place) => value !== other[place]);
  return at >= 0 && one[at] > other[at];
}

function told({ configuration, load_point, shown }) {
  const figures = Object.entries(shown).map(([name, value]) => `${name} ${value}`);
  return `${configuration} at ${load_point} (${figures.join(", ")})`;
}

function choose() {
  const set = [...limits.elements].filter(({ value }) => value !== "").map(({ name, value }) => [name, Number(value)]);
  const text = document.getElementById("chosen");
  if (set.length === 0) return void (text.textContent = "");
  const ranked = best(set);
  const first = ranked[0];
  const open = ranked.filter((each) => each.standing === 1);
  if (first.standing === 0) text.textContent = `Take ${told(first)}: it meets ${set.length === 1 ? "the limit" : "all limits"} with a probability of at least 95 %.`;
  else if (open.length) text.textContent = `No configuration is known to meet the limits. Measure more repeats or questions of ${told(open[0])}.`;
  else text.textContent = "Every configuration misses a limit.";
}

limits?.addEventListener("input", choose);
limits?.addEventListener("submit", (event) => event.preventDefault());

const box = document.getElementById("tip");
const MOST_LINES = 6;
let lit = [];

function light(marks, x, y) {
  for (const mark of lit) mark.classList.remove("on");
  lit = marks;
  for (const mark of lit) mark.classList.add("on");
  const lines = lit.map((mark) => mark.dataset.tip);
  const more = lines.length - MOST_LINES;
  box.textContent = [...lines.slice(0, MOST_LINES), ...(more > 0 ? [`and ${more} more`] : [])].join("\n");
  box.style.left = Math.max(8, Math.min(x + 12, innerWidth - box.offsetWidth - 8)) + "px";
  const above = y - box.offsetHeight - 12;
  box.style.top = (above > 8 ? above : y + 16) + "px";
}

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
    light([...new Set(under.filter((mark) => mark && card.contains(mark)))], clientX, clientY);
  };
  card.addEventListener("pointermove", point);
  card.addEventListener("pointerdown", point);
  card.addEventListener("pointerleave", () => light([], 0, 0));
  card.addEventListener("blur", () => light([], 0, 0));
  card.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") light([], 0, 0);
    if (step === undefined || marks.length === 0) return;
    event.preventDefault();
    walk(card, marks, step);
  });
}
addEventListener("scroll", () => lit.length && !document.activeElement.closest(".card") && light([], 0, 0), { passive: true });
