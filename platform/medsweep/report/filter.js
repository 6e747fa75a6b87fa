// Shows the rows of one model, one profile or both; without scripts every row is shown.
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
form.hidden = false;
apply();
