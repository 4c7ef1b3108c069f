// What a page does without charts: the choice of colours, and tables that can be sorted.
"use strict";
(() => {
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const button = document.querySelector("[data-theme-button]");
  const name = document.querySelector("[data-theme-name]");
  let theme = 0;
  const show = () => {
    if (theme === 0) delete root.dataset.theme;
    else root.dataset.theme = themes[theme];
    name.textContent = ["Auto", "Light", "Dark"][theme];
    button.setAttribute("aria-label", `Colours: ${themes[theme]}; change`);
  };
  if (button) {
    button.hidden = false;
    show();
    button.addEventListener("click", () => {
      theme = (theme + 1) % themes.length;
      show();
      document.dispatchEvent(new Event("theme"));
    });
  }

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const value = cell && cell.dataset.value;
    return value === undefined ? (cell ? cell.textContent : "") : value === "" ? NaN : Number(value);
  };
  const compare = (a, b, down) => {
    if (typeof a === "number" || typeof b === "number") {
      const [aMissing, bMissing] = [Number.isNaN(Number(a)), Number.isNaN(Number(b))];
      // What is unknown stands last, whichever way it is sorted.
      if (aMissing || bMissing) return aMissing - bMissing;
      return down ? b - a : a - b;
    }
    const order = a.localeCompare(b, "en", { numeric: true });
    return down ? -order : order;
  };
  const sort = (table, column, heading) => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const values = new Map(rows.map((row) => [row, valueOf(row, column)]));
    rows.sort((a, b) => compare(values.get(a), values.get(b), down));
    body.append(...rows);
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      if (!heading.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(table, column, heading));
    });
  }

  // A grid shows one number at a time; the numbers of all kinds are in its cells.
  for (const group of document.querySelectorAll("[data-choice]")) {
    group.hidden = false;
    const grid = document.getElementById(group.dataset.choice);
    group.addEventListener("click", (event) => {
      const chosen = event.target.closest("button");
      if (!chosen) return;
      for (const other of group.querySelectorAll("button")) {
        other.setAttribute("aria-pressed", String(other === chosen));
      }
      const kind = chosen.dataset.kind;
      for (const cell of grid.querySelectorAll("[data-" + kind + "]")) {
        const text = cell.dataset[kind];
        cell.querySelector(".main").textContent = text;
        const value = cell.dataset[kind + "Value"];
        cell.closest("td").dataset.value = value === undefined ? "" : value;
      }
    });
  }
})();
