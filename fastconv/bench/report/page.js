"use strict";

// A tap on a heading sorts its table: numbers by value, the rest by the alphabet; another tap turns the order round.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = heading.closest("table");
    const column = [...heading.parentNode.children].indexOf(heading);
    const descending = heading.getAttribute("aria-sort") === "ascending";
    const rows = [...table.tBodies[0].rows];
    const value = (row) => row.cells[column].textContent;
    const compare = (a, b) => {
      const difference = parseFloat(value(a)) - parseFloat(value(b));
      return Number.isNaN(difference) ? value(a).localeCompare(value(b)) : difference;
    };
    rows.sort((a, b) => (descending ? compare(b, a) : compare(a, b)));
    table.tBodies[0].append(...rows);
    for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  });
}
