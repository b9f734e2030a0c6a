
"use strict";
// A click on a heading, or Enter or Space on it, sorts the table. Without this script, the tables are complete.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const key = (row, column) => row.cells[column].dataset.key ?? row.cells[column].textContent;
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const opposite = { ascending: "descending", descending: "ascending" };
      const order = opposite[heading.getAttribute("aria-sort")] ?? heading.dataset.first;
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...body.rows].map((row) => ({ row, key: key(row, column) }));
      const isEmpty = ({ key }) => key === "";
      const areNumbers = rows.every((one) => isEmpty(one) || Number.isFinite(Number(one.key)));
      rows.sort((a, b) => {
        if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b); // empty cells come last in either order
        return sign * (areNumbers ? a.key - b.key : a.key.localeCompare(b.key, "en"));
      });
      body.append(...rows.map(({ row }) => row));
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", order);
    });
  });
}
