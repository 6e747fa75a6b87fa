"use strict";
const { review, axes, items } = JSON.parse(document.getElementById("data").textContent);
const part = (id) => document.getElementById(id);
const rater = part("rater");
const form = part("axes");
const kept = `medsweep-review-${review}`;
let ratings = {};
let at = 0;

try { // some browsers keep nothing for files
  const stored = JSON.parse(localStorage.getItem(kept) ?? "{}");
  ratings = stored.ratings ?? {};
  rater.value = stored.rater ?? "";
} catch { ratings = {}; }

function keep() {
  try { localStorage.setItem(kept, JSON.stringify({ rater: rater.value, ratings })); } catch { /* not kept */ }
}

function choose(axis, value) {
  (ratings[items[at].id] ??= {})[axis] = value;
  keep();
  progress();
}

for (const { name, title, options } of axes) {
  const group = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = title;
  group.append(legend);
  options.forEach((words, value) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name, value });
    input.addEventListener("change", () => choose(name, value));
    label.append(input, ` ${value + 1} ${words}`);
    group.append(label);
  });
  group.addEventListener("keydown", (event) => {
    const input = group.querySelectorAll("input")[Number(event.key) - 1];
    if (!input || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    input.checked = true;
    choose(name, Number(input.value));
    (group.nextElementSibling?.querySelector("input:checked, input") ?? part("next")).focus();
  });
  form.append(group);
}

function done(item) {
  return axes.every(({ name }) => ratings[item.id]?.[name] !== undefined);
}

function progress() {
  part("progress").textContent = `Answer ${at + 1} of ${items.length}; ${items.filter(done).length} rated in full`;
}

function show(place) {
  at = Math.min(Math.max(place, 0), items.length - 1);
  part("question").textContent = items[at].question;
  part("answer").textContent = items[at].answer || "(empty answer)";
  for (const input of form.querySelectorAll("input")) {
    input.checked = ratings[items[at].id]?.[input.name] === Number(input.value);
  }
  part("back").disabled = at === 0;
  part("next").disabled = at === items.length - 1;
  progress();
}

function go(step) {
  show(at + step);
  form.querySelector("input:checked, input").focus();
}

part("back").addEventListener("click", () => go(-1));
part("next").addEventListener("click", () => go(1));
rater.addEventListener("input", keep);
form.addEventListener("submit", (event) => event.preventDefault());
part("save").addEventListener("click", () => {
  if (!rater.reportValidity()) return;
  const text = JSON.stringify({ review, rater: rater.value, ratings }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `ratings-${rater.value.replace(/[^\w-]/g, "_")}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
});
show(0);
