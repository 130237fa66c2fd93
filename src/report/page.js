"use strict";

// How does the page answer the pointer and the keyboard: tooltips of marks,
// hidden series, sorted tables, hints where something is wider than the window?

(() => {
  const tooltip = document.getElementById("tooltip");
  const live = document.getElementById("live");
  // The greatest distance from the pointer to a mark, in pixels.
  const NEAR = 14;

  const middle = (mark) => {
    const box = (mark.querySelector(".shape") ?? mark).getBoundingClientRect();
    return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  };

  // Shows the tooltip near a point, inside the window.
  const show = (text, x, y) => {
    tooltip.textContent = text;
    tooltip.hidden = false;
    const { width, height } = tooltip.getBoundingClientRect();
    const right = document.documentElement.clientWidth;
    const left = x + 14 + width > right ? x - 14 - width : x + 14;
    const top = y - 14 - height < 0 ? y + 18 : y - 14 - height;
    tooltip.style.left = `${Math.max(4, Math.min(left, right - width - 4))}px`;
    tooltip.style.top = `${top}px`;
  };

  const figure = (plot) => {
    const svg = plot.querySelector("svg");
    let current = null;

    const visible = () => [...svg.querySelectorAll(".mark")].filter((mark) => !mark.closest(".off"));

    const leave = () => {
      current?.classList.remove("current");
      current = null;
      tooltip.hidden = true;
    };

    const enter = (mark, x, y) => {
      if (mark !== current) {
        leave();
        current = mark;
        mark.classList.add("current");
      }
      show(mark.dataset.text, x, y);
    };

    const nearest = (x, y) => {
      let [best, distance] = [null, NEAR];
      for (const mark of visible()) {
        const at = middle(mark);
        const away = Math.hypot(at.x - x, at.y - y);
        if (away < distance) {
          [best, distance] = [mark, away];
        }
      }
      return best;
    };

    // Scrolling sends pointermove events although the pointer does not move on
    // the screen: ignore those.
    let last = "";
    const point = (event) => {
      const place = `${event.screenX} ${event.screenY}`;
      if (event.type === "pointermove" && place === last) {
        return;
      }
      last = place;
      const mark = event.target.closest(".mark") ?? nearest(event.clientX, event.clientY);
      if (mark) {
        enter(mark, event.clientX, event.clientY);
      } else {
        leave();
      }
    };

    // Rows of marks from left to right: a series, or a row of a matrix.
    const rows = () => {
      const found = new Map();
      for (const mark of visible()) {
        const row = Number(mark.dataset.row);
        found.set(row, [...(found.get(row) ?? []), { mark, ...middle(mark) }]);
      }
      const sorted = [...found].sort((one, other) => one[0] - other[0]);
      return sorted.map(([, marks]) => marks.sort((one, other) => one.x - other.x));
    };

    const target = (key) => {
      const all = rows();
      if (all.length === 0) {
        return null;
      }
      const row = all.findIndex((marks) => marks.some(({ mark }) => mark === current));
      if (row < 0) {
        return all[0][0];
      }
      const place = all[row].findIndex(({ mark }) => mark === current);
      const last = all[row].length - 1;
      // The mark of another row that is nearest in x.
      const closest = (other) => {
        const { x } = all[row][place];
        const marks = all[Math.max(0, Math.min(other, all.length - 1))];
        return marks.reduce((best, mark) => (Math.abs(mark.x - x) < Math.abs(best.x - x) ? mark : best));
      };
      switch (key) {
        case "ArrowLeft": return all[row][Math.max(0, place - 1)];
        case "ArrowRight": return all[row][Math.min(last, place + 1)];
        case "ArrowUp": return closest(row - 1);
        case "ArrowDown": return closest(row + 1);
        case "Home": return all[row][0];
        default: return all[row][last];
      }
    };

    const press = (event) => {
      if (event.key === "Escape") {
        leave();
        return;
      }
      const keys = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
      if (!keys.includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) {
        return;
      }
      event.preventDefault();
      const next = target(event.key);
      if (next) {
        next.mark.scrollIntoView({ block: "nearest", inline: "nearest" });
        const { x, y } = middle(next.mark);
        enter(next.mark, x, y);
        live.textContent = next.mark.dataset.text;
      }
    };

    // An entry of the legend hides or shows its series.
    const toggle = (entry) => {
      const on = entry.getAttribute("aria-pressed") === "false";
      entry.setAttribute("aria-pressed", String(on));
      const label = entry.getAttribute("aria-label");
      for (const series of svg.querySelectorAll(".series")) {
        if (entry.series.has(series.dataset.series)) {
          series.classList.toggle("off", !on);
        }
      }
      leave();
      live.textContent = `${label}: ${on ? "shown" : "hidden"}`;
    };

    const prepareLegend = () => {
      const entries = [...svg.querySelectorAll(".entry")];
      const own = new Set(entries.map((entry) => entry.dataset.series));
      for (const entry of entries) {
        const label = entry.textContent;
        // Shaded ranges with the same name share an entry.
        const same = [...svg.querySelectorAll(".series")].filter((series) =>
          !own.has(series.dataset.series) && series.querySelector(".shade > title")?.textContent === label);
        entry.series = new Set([entry.dataset.series, ...same.map((series) => series.dataset.series)]);
        entry.setAttribute("role", "button");
        entry.setAttribute("tabindex", "0");
        entry.setAttribute("aria-pressed", "true");
        entry.setAttribute("aria-label", label);
        entry.addEventListener("click", () => toggle(entry));
        entry.addEventListener("keydown", (event) => {
          if (event.key === "Enter" || event.key === " ") {
            event.preventDefault();
            toggle(entry);
          }
        });
      }
    };

    // The browser would show titles as a second tooltip: replace them by labels
    // for screen readers.
    const dropTitles = () => {
      svg.setAttribute("aria-label", svg.querySelector("title").textContent);
      svg.removeAttribute("aria-labelledby");
      svg.setAttribute("role", "group");
      for (const title of svg.querySelectorAll(":scope > title, .mark > title, .shade > title")) {
        if (title.parentElement.matches(".mark")) {
          title.parentElement.setAttribute("role", "img");
          title.parentElement.setAttribute("aria-label", title.textContent);
        }
        title.remove();
      }
    };

    prepareLegend();
    dropTitles();
    // Only with this role do screen readers pass the arrow keys to the page.
    plot.setAttribute("role", "application");
    plot.setAttribute("aria-roledescription", "interactive figure");
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("pointerleave", leave);
    plot.addEventListener("blur", leave);
    plot.addEventListener("keydown", press);
  };

  const sortable = (table) => {
    const [head] = table.tHead.rows;
    const [body] = table.tBodies;

    const compare = (one, other) => {
      const numbers = [one, other].map((cell) => ("value" in cell.dataset ? Number(cell.dataset.value) : null));
      if (numbers[0] !== null && numbers[1] !== null) {
        return numbers[0] - numbers[1];
      }
      return one.textContent.localeCompare(other.textContent, "en", { numeric: true });
    };

    const sort = (column, header) => {
      const up = header.getAttribute("aria-sort") !== "ascending";
      for (const cell of head.cells) {
        cell.removeAttribute("aria-sort");
      }
      header.setAttribute("aria-sort", up ? "ascending" : "descending");
      const empty = (row) => row.cells[column].textContent === "–";
      const rows = [...body.rows].sort((one, other) => {
        // Rows without a value come last in both orders.
        if (empty(one) || empty(other)) {
          return Number(empty(one)) - Number(empty(other));
        }
        const order = compare(one.cells[column], other.cells[column]);
        return up ? order : -order;
      });
      body.append(...rows);
      live.textContent = `sorted by ${header.textContent}, ${up ? "ascending" : "descending"}`;
    };

    [...head.cells].forEach((header, column) => {
      header.querySelector("button").addEventListener("click", () => sort(column, header));
    });
  };

  // Says that a figure or table is wider than the window, and fades its edge.
  const scrollable = (box) => {
    const hint = box.previousElementSibling;
    const update = () => {
      const wider = box.scrollWidth > box.clientWidth + 1;
      hint.hidden = !wider;
      box.classList.toggle("wider", wider);
      box.classList.toggle("at-end", box.scrollLeft + box.clientWidth >= box.scrollWidth - 2);
    };
    box.addEventListener("scroll", update, { passive: true });
    new ResizeObserver(update).observe(box);
    update();
  };

  document.querySelectorAll(".hint + .plot, .hint + .scroll").forEach(scrollable);
  document.querySelectorAll(".plot").forEach(figure);
  document.querySelectorAll("table.sortable").forEach(sortable);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      tooltip.hidden = true;
    }
  });
})();
